package main

import (
	"context"
	"syscall"
	"time"
)

// clock asks the kernel whether a time service keeps it right. Signatures and
// leases rest on the time.
func (d *doctor) clock(context.Context) []finding {
	const fix = "run a time service such as chrony or systemd-timesyncd"
	var t syscall.Timex
	const timeError, unsynchronised = 5, 0x40
	state, err := syscall.Adjtimex(&t)
	switch {
	case err != nil:
		return hint(fix, "the kernel does not tell whether the clock is kept right (%v)", err)
	case state == timeError || t.Status&unsynchronised != 0:
		return hint(fix, "no time service keeps the clock right (now %s)", d.now().UTC().Format(time.DateTime))
	}
	return ok("kept right by a time service")
}
