package federation

import (
	"encoding/json"
	"maps"

	"github.com/viaduc/viaduc/homeserver/e2ee"
)

// withoutName is the content of a device list EDU as other servers may see it.
func (f *Federation) withoutName(e e2ee.EDU) json.RawMessage {
	if !f.HideDeviceNames {
		return e.Content
	}
	return without(e.Content, "device_display_name")
}

// without is an object without a member; anything else stays as it is.
func without(raw json.RawMessage, name string) json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil || m[name] == nil {
		return raw
	}
	delete(m, name)
	out, err := json.Marshal(m)
	if err != nil {
		return raw
	}
	return out
}

// hideNames takes the names of devices out of device keys, by user.
func hideNames[K comparable](keys map[K]json.RawMessage) map[K]json.RawMessage {
	out := maps.Clone(keys)
	for user, raw := range keys {
		var devices map[string]map[string]json.RawMessage
		if json.Unmarshal(raw, &devices) != nil {
			continue
		}
		for _, d := range devices {
			if u := d["unsigned"]; u != nil {
				d["unsigned"] = without(u, "device_display_name")
			}
		}
		if hidden, err := json.Marshal(devices); err == nil {
			out[user] = hidden
		}
	}
	return out
}
