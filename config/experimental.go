package config

import "reflect"

// Experimental has one switch per proposal. The comment says when it goes.
type Experimental struct {
	// Sliding sync under its unstable path, which current clients use (MSC4186).
	// Goes when the specification has it and clients use the stable path.
	MSC4186 bool `yaml:"msc4186"`
	// Delayed events, used by calls (MSC4140). Goes when it is in the specification.
	MSC4140 bool `yaml:"msc4140"`
	// Sticky events, used by calls (MSC4354). Goes when it is in the specification.
	MSC4354 bool `yaml:"msc4354"`
	// Relays for group calls are announced (MSC4143). Goes when it is in the specification.
	MSC4143 bool `yaml:"msc4143"`
	// Thread subscriptions (MSC4306). Goes when it is in the specification.
	MSC4306 bool `yaml:"msc4306"`
	// Dehydrated devices (MSC3814). Goes when it is in the specification.
	MSC3814 bool `yaml:"msc3814"`
	// State that its owner may always change (MSC3757). Goes when it is in a room version.
	MSC3757 bool `yaml:"msc3757"`
	// Local notification settings go with their device (MSC3890). Goes when it is in the specification.
	MSC3890 bool `yaml:"msc3890"`
	// Membership of the asking user on events as the server sees it (MSC4115 is stable; the old name is still sent).
	// Goes when no supported client reads the old name.
	MSC4115Unstable bool `yaml:"msc4115_unstable"`
	// Devices of bridges' users (MSC3202): one-time key counts and device lists for application services.
	// Goes when it is in the specification.
	MSC3202 bool `yaml:"msc3202"`
	// Joining a room sends its state later (MSC3706). Goes when it is in the specification or dropped.
	MSC3706 bool `yaml:"msc3706"`
	// Reports of users and rooms under their unstable names (MSC4151, MSC4260).
	// Goes when no supported client uses them.
	ReportsUnstable bool `yaml:"reports_unstable"`
}

// EnableAll turns everything on, for test suites.
func (e *Experimental) EnableAll() {
	v := reflect.ValueOf(e).Elem()
	for i := range v.NumField() {
		v.Field(i).SetBool(true)
	}
}
