// Package config holds the whole configuration as one typed tree.
//
// config.go is the manual: the comment of each field is what an operator reads
// in default.yaml, which is printed from it (a test compares). load.go reads the
// YAML file and the environment (VIADUC_SECTION_KEY), and reports every mistake
// at once with its place in the file. experimental.go has one switch per
// proposal that is not yet in the specification.
//
// The package is a leaf: it imports nothing of ours, and every package may read
// its own section. Values are read once at start; nothing is reloaded.
package config
