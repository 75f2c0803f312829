package event

import (
	"encoding/json"
	"strconv"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// MaxTransactionPDUs and MaxTransactionEDUs bound a transaction. spec: ss#transactions
const (
	MaxTransactionPDUs = 50
	MaxTransactionEDUs = 100
)

// Transaction is what servers send each other. spec: ss#transactions
type Transaction struct {
	Origin    string
	Timestamp int64
	PDUs      []json.RawMessage
	EDUs      []EDU
}

// EDU is a piece of news that is not kept. spec: ss#edus
type EDU struct {
	Type    string          `json:"edu_type"`
	Content json.RawMessage `json:"content"`
}

// ParseTransaction reads the body of a transaction. PDUs may still be anything, and are given as they were sent: what has
// no canonical form in their room must not get one here. EDUs without type or content are dropped.
// The error is a mautrix response error.
func ParseTransaction(body []byte) (Transaction, error) {
	var t Transaction
	obj, err := canonicalObject(body)
	if err != nil {
		return t, err
	}
	t.Origin, _ = findString(obj, "origin")
	t.Timestamp, _ = parseInt(find(obj, "origin_server_ts"))
	pdus := find(obj, "pdus")
	if len(pdus) == 0 || pdus[0] != '[' {
		return t, mautrix.MBadJSON.WithMessage("pdus must be a list")
	}
	if t.PDUs, err = rawPDUs(body); err != nil {
		return t, err
	}
	count := 0
	Items(find(obj, "edus"), func(edu json.RawMessage) bool {
		kind, ok := findString(edu, "edu_type")
		content := find(edu, "content")
		if ok && len(content) > 0 && content[0] == '{' {
			t.EDUs = append(t.EDUs, EDU{kind, json.RawMessage(content)})
		}
		count++
		return count <= MaxTransactionEDUs
	})
	if count > MaxTransactionEDUs {
		return t, mautrix.MBadJSON.WithMessage("More than %d EDUs", MaxTransactionEDUs)
	}
	return t, nil
}

// rawPDUs lists the elements of pdus as they stand in a valid body.
func rawPDUs(body []byte) (list []json.RawMessage, err error) {
	s := scanner{b: body}
	err = s.members(func(key []byte, _ int) error {
		if string(key) != "pdus" {
			return s.value()
		}
		s.i++ // the bracket
		for s.space(); s.peek() != ']'; s.space() {
			if s.peek() == ',' {
				s.i++
				s.space()
			}
			from := s.i
			if err := s.value(); err != nil {
				return err
			}
			if list = append(list, body[from:s.i:s.i]); len(list) > MaxTransactionPDUs {
				return mautrix.MBadJSON.WithMessage("More than %d PDUs", MaxTransactionPDUs)
			}
		}
		s.i++
		return nil
	})
	return list, err
}

// JSON writes the transaction. It is canonical if the PDUs and EDUs are, so that signing the request costs least.
func (t Transaction) JSON() []byte {
	size := 96 + len(t.Origin)
	for _, pdu := range t.PDUs {
		size += len(pdu) + 1
	}
	for _, edu := range t.EDUs {
		size += len(edu.Content) + len(edu.Type) + 32
	}
	b := append(make([]byte, 0, size), '{')
	if len(t.EDUs) > 0 {
		b = append(b, `"edus":[`...)
		for _, edu := range t.EDUs {
			b = append(append(separate(b), `{"content":`...), edu.Content...)
			b = append(appendString(append(b, `,"edu_type":`...), edu.Type), '}')
		}
		b = append(b, `],`...)
	}
	b = appendString(append(b, `"origin":`...), t.Origin)
	b = strconv.AppendInt(append(b, `,"origin_server_ts":`...), t.Timestamp, 10)
	b = append(b, `,"pdus":[`...)
	for _, pdu := range t.PDUs {
		b = append(separate(b), pdu...)
	}
	return append(b, `]}`...)
}

// Contents of EDUs. Readers must expect values of other servers to be nonsense.

// TypingEDU is the content of m.typing. spec: ss#typing-notifications
type TypingEDU struct {
	RoomID id.RoomID `json:"room_id"`
	UserID id.UserID `json:"user_id"`
	Typing bool      `json:"typing"`
}

// ReceiptEDU is the content of m.receipt: room, receipt type, user. spec: ss#receipts
type ReceiptEDU map[id.RoomID]map[string]map[id.UserID]ReceiptData

// ReceiptData is the receipt of one user.
type ReceiptData struct {
	EventIDs []id.EventID `json:"event_ids"`
	Data     struct {
		Timestamp int64  `json:"ts"`
		ThreadID  string `json:"thread_id,omitempty"`
	} `json:"data"`
}

// PresenceEDU is the content of m.presence. spec: ss#presence
type PresenceEDU struct {
	Push []PresenceData `json:"push"`
}

// PresenceData is the presence of one user.
type PresenceData struct {
	UserID          id.UserID `json:"user_id"`
	Presence        string    `json:"presence"`
	StatusMsg       string    `json:"status_msg,omitempty"`
	LastActiveAgo   int64     `json:"last_active_ago"`
	CurrentlyActive bool      `json:"currently_active,omitempty"`
}

// ToDeviceEDU is the content of m.direct_to_device. spec: ss#send-to-device-messaging
type ToDeviceEDU struct {
	Sender    id.UserID                                     `json:"sender"`
	Type      string                                        `json:"type"`
	MessageID string                                        `json:"message_id"`
	Messages  map[id.UserID]map[id.DeviceID]json.RawMessage `json:"messages"`
}

// DeviceListEDU is the content of m.device_list_update. spec: ss#device-management
type DeviceListEDU struct {
	UserID      id.UserID       `json:"user_id"`
	DeviceID    id.DeviceID     `json:"device_id"`
	DisplayName string          `json:"device_display_name,omitempty"`
	StreamID    int64           `json:"stream_id"`
	PrevID      []int64         `json:"prev_id,omitempty"`
	Deleted     bool            `json:"deleted,omitempty"`
	Keys        json.RawMessage `json:"keys,omitempty"`
}

// SigningKeyEDU is the content of m.signing_key_update. spec: ss#device-management
type SigningKeyEDU struct {
	UserID         id.UserID       `json:"user_id"`
	MasterKey      json.RawMessage `json:"master_key,omitempty"`
	SelfSigningKey json.RawMessage `json:"self_signing_key,omitempty"`
}
