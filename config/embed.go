package config

import _ "embed"

// DefaultYAML is the manual: every key with its comment and default.
// `go test ./config -update` prints it from config.go.
//
//go:generate go test -run TestDefaultYAML_IsPrintedFromTheSource -update
//go:embed default.yaml
var DefaultYAML string
