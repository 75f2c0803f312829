package event

// Memo gives what build made of the event the first time. There is one such place in an event, for the package that knows
// the rules (event/auth): what it reads out of power levels lives as long as the event. build may run more than once when
// several ask at the same moment; all get the same result.
func (e *Event) Memo(build func(*Event) any) any {
	if kept := e.memo.Load(); kept != nil {
		return *kept
	}
	made := build(e)
	if e.memo.CompareAndSwap(nil, &made) {
		return made
	}
	return *e.memo.Load()
}
