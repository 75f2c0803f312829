package federation

import "maunium.net/go/mautrix/id"

// pduResult is the answer for one event of a transaction.
type pduResult struct {
	Error string `json:"error,omitempty"`
}

type sendOut struct {
	PDUs map[id.EventID]pduResult `json:"pdus"`
}
