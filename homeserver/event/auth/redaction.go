package auth

import "github.com/viaduc/viaduc/homeserver/event"

// CanRedact tells whether the redaction, already accepted as an event, is to be applied to the target. The state is the one
// before the redaction. spec: rooms/v3#handling-redactions, rooms/v1#authorisation-rules (rule 11)
func CanRedact(redaction, target *event.Event, state State) bool {
	if redaction.Type() != typeRedaction || redaction.ID() == target.ID() || redaction.Redacts() != target.ID() ||
		redaction.RoomID() != target.RoomID() {
		return false
	}
	levels := PowerLevels(state)
	if levels.User(redaction.Sender()) >= levels.Redact {
		return true
	}
	if redaction.Version().RedactionsAuthorised() {
		return sameDomain(redaction.ID(), target.ID())
	}
	return sameDomain(redaction.Sender(), target.Sender())
}
