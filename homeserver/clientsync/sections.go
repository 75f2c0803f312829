package clientsync

import (
	"errors"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/policy"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// job is a room that may have something to say.
type job struct {
	room   id.RoomID
	member room.Member // at the end of the window
	kinds  stream.KindSet
	since  stream.Pos // what the client already has of this room; 0: nothing
	before string     // membership at the start of the window
	data   []account.AccountDatum

	counted bool // unread counts were changed
	viewer  *timeline.Viewer
	counts  Counts
	receipt []byte
}

// sections writes `rooms`.
func (a *answer) sections() error {
	jobs, err := a.plan()
	if err != nil {
		return err
	}
	a.buf = append(a.buf, `,"rooms":{`...)
	start := len(a.buf)
	for _, section := range []struct {
		name, membership string
		write            func(*job) error
	}{
		{"join", memberJoin, a.joinedRoom}, {"invite", memberInvite, a.invitedRoom},
		{"knock", memberKnock, a.knockedRoom}, {"leave", memberLeave, a.leftRoom},
	} {
		if err := a.section(section.name, jobs[section.membership], section.write); err != nil {
			return err
		}
	}
	if len(a.buf) == start {
		a.buf = a.buf[:start-len(`,"rooms":{`)]
		return nil
	}
	a.some = true
	a.buf = append(a.buf, '}')
	return nil
}

// section writes one member of `rooms`; rooms that turn out to have nothing to say are taken back.
func (a *answer) section(name string, jobs []*job, write func(*job) error) error {
	if len(jobs) == 0 {
		return nil
	}
	if name == memberJoin {
		if err := a.prepare(jobs); err != nil {
			return err
		}
	}
	mark := len(a.buf)
	if a.buf[mark-1] != '{' {
		a.buf = append(a.buf, ',')
	}
	a.buf = append(append(append(a.buf, '"'), name...), `":{`...)
	open := len(a.buf)
	for _, j := range jobs {
		before := len(a.buf)
		if before > open {
			a.buf = append(a.buf, ',')
		}
		a.buf = append(timeline.AppendString(a.buf, string(j.room)), ':')
		body := len(a.buf)
		err := write(j)
		if errors.Is(err, mautrix.MNotFound) { // the room was removed from this server meanwhile
			a.buf, err = a.buf[:body], nil
		}
		if err != nil {
			return err
		}
		if len(a.buf) == body {
			a.buf = a.buf[:before]
		}
	}
	if len(a.buf) == open {
		a.buf = a.buf[:mark]
		return nil
	}
	a.buf = append(a.buf, '}')
	return nil
}

// plan chooses the rooms, sorted into sections by membership at the end of the window.
func (a *answer) plan() (map[string][]*job, error) {
	jobs := map[string][]*job{}
	data := map[id.RoomID][]account.AccountDatum{}
	for _, d := range a.data {
		if d.RoomID != "" {
			data[d.RoomID] = append(data[d.RoomID], d)
		}
	}
	counted, err := a.countedRooms()
	if err != nil {
		return nil, err
	}
	all := a.req.initial || a.req.full
	for i, roomID := range a.view.joined {
		m := a.view.members[roomID]
		kinds := a.kinds(a.view.topics[i+1])
		if m.Pos <= a.upTo && (all || kinds != 0 || counted[roomID] || m.Pos > a.req.since || data[roomID] != nil) {
			if err := a.addJob(jobs, m, kinds, data[roomID]); err != nil {
				return nil, err
			}
		}
	}
	for _, j := range jobs[memberJoin] {
		j.counted = counted[j.room]
	}
	if !all && a.view.newest <= a.req.since {
		return jobs, nil
	}
	for _, m := range a.others() {
		if err := a.addJob(jobs, m, stream.KindSet(0), data[m.RoomID]); err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// countedRooms are those whose unread counts changed by something else than events and receipts.
func (a *answer) countedRooms() (map[id.RoomID]bool, error) {
	if !a.own().Has(stream.PushCount) {
		return nil, nil
	}
	changes, err := a.s.Stream.Changes(a.ctx, a.req.since, a.upTo, stream.Kinds(stream.PushCount), a.view.topics[:1])
	if err != nil {
		return nil, err
	}
	rooms := make(map[id.RoomID]bool, len(changes))
	for _, c := range changes {
		rooms[c.RoomID] = true
	}
	return rooms, nil
}

// others lists memberships that are not handled as joined rooms: other kinds of them, and what changed after the window.
func (a *answer) others() []room.Member {
	var out []room.Member
	for _, m := range a.view.members {
		switch {
		case m.Pos > a.upTo:
			out = append(out, m)
		case m.Membership == memberJoin:
		case m.Pos > a.req.since || a.req.initial:
			out = append(out, m)
		case a.req.full:
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(x, y room.Member) int { return int(x.Pos - y.Pos) })
	return out
}

// addJob settles the membership at both ends of the window.
func (a *answer) addJob(jobs map[string][]*job, m room.Member, kinds stream.KindSet, data []account.AccountDatum) error {
	if !a.req.filter.rooms.Room(m.RoomID) {
		return nil
	}
	if m.Pos > a.upTo {
		var err error
		if m, err = a.memberAt(m, a.upTo); err != nil || m.Membership == "" {
			return err
		}
	}
	j := &job{room: m.RoomID, member: m, kinds: kinds, data: data, before: m.Membership}
	if m.Pos > a.req.since {
		old, err := a.memberAt(m, a.req.since)
		if err != nil {
			return err
		}
		j.before = old.Membership
	}
	if a.req.initial {
		j.before = ""
	}
	section := m.Membership
	if section == memberBan {
		section = memberLeave
	}
	if section == memberLeave && !a.wantsLeft(j) {
		return nil
	}
	if j.before == memberJoin {
		j.since = a.req.since
	}
	j.viewer = a.s.Timelines.Viewer(m, a.ignored)
	jobs[section] = append(jobs[section], j)
	return nil
}

// wantsLeft: rooms left in the window always, older ones when everything is asked for with include_leave.
func (a *answer) wantsLeft(j *job) bool {
	if a.req.initial {
		// Whoever was put out of a room learns of it even by a first sync: it may be the first after the fact.
		removed := j.member.Membership == memberBan || j.member.Membership == memberLeave && j.member.Sender != a.req.user
		return (removed || a.req.filter.includeLeave) && !j.member.Forgotten
	}
	return j.member.Pos > a.req.since || a.req.full && a.req.filter.includeLeave && !j.member.Forgotten
}

// memberAt is the user's membership as the room's state had it at a position; Membership is empty if there was none.
func (a *answer) memberAt(m room.Member, at stream.Pos) (room.Member, error) {
	st, err := a.s.Rooms.StateAt(a.ctx, m.RoomID, at)
	if errors.Is(err, mautrix.MNotFound) {
		err = nil
	}
	if err != nil || st == nil {
		return room.Member{RoomID: m.RoomID, UserID: m.UserID}, err
	}
	ev, err := st.Event(a.ctx, typeMember, string(m.UserID))
	if err != nil || ev == nil {
		return room.Member{RoomID: m.RoomID, UserID: m.UserID}, err
	}
	return room.Member{RoomID: m.RoomID, UserID: m.UserID, Membership: ev.Membership(), EventID: ev.ID(), Sender: ev.Sender(), Pos: ev.Pos}, nil
}

// invitedRoom writes an invite with its stripped state, unless the user does not want to see it.
//
// spec: cs#server-behaviour-13
func (a *answer) invitedRoom(j *job) error {
	wishes, err := a.s.Policy.Invites(a.ctx, a.req.user)
	if err != nil || hidden(j.member, a.ignored, wishes) {
		return err
	}
	return a.stripped(j, `{"invite_state":`)
}

// hidden: an invite by somebody whom the user ignores, or that the user does not want.
//
// spec: cs#invite-permission
func hidden(m room.Member, ignored map[id.UserID]struct{}, wishes *policy.Invites) bool {
	if m.Membership != memberInvite {
		return false
	}
	_, ignore := ignored[m.Sender]
	return ignore || wishes.Of(m.Sender).Verdict != policy.Allow
}

func (a *answer) knockedRoom(j *job) error { return a.stripped(j, `{"knock_state":`) }

func (a *answer) stripped(j *job, open string) error {
	evs, err := a.s.Rooms.InviteState(a.ctx, j.room, a.req.user)
	if err != nil {
		return err
	}
	a.buf = append(appendEvents(append(a.buf, open...), evs), '}')
	return nil
}

// prepare fetches what is fetched for many rooms at once.
func (a *answer) prepare(jobs []*job) error {
	rooms := make([]id.RoomID, len(jobs))
	var fresh, known []id.RoomID
	for i, j := range jobs {
		rooms[i] = j.room
		switch {
		case j.since == 0:
			fresh = append(fresh, j.room)
		case j.kinds.Has(stream.Receipt):
			known = append(known, j.room)
		}
	}
	if a.s.PushCounts != nil {
		counts, err := a.s.PushCounts.Counts(a.ctx, a.req.user, rooms, a.upTo)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			j.counts = counts[j.room]
		}
	}
	if err := a.receipts(jobs, fresh, 0); err != nil {
		return err
	}
	if err := a.receipts(jobs, known, a.req.since); err != nil {
		return err
	}
	return a.roomData(jobs)
}

func (a *answer) receipts(jobs []*job, rooms []id.RoomID, since stream.Pos) error {
	if a.s.Receipts == nil || len(rooms) == 0 || !a.req.filter.ephemeral.Type("m.receipt") {
		return nil
	}
	evs, err := a.s.Receipts.ReceiptsSince(a.ctx, rooms, since, a.upTo, a.req.user)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if ev, ok := evs[j.room]; ok {
			j.receipt = ev
		}
	}
	return nil
}

// roomData gives rooms that are new to the client all their account data.
func (a *answer) roomData(jobs []*job) error {
	if a.req.initial || a.req.full {
		return nil
	}
	fresh := map[id.RoomID]*job{}
	var rooms []id.RoomID
	for _, j := range jobs {
		if j.since == 0 {
			j.data = nil
			fresh[j.room] = j
			rooms = append(rooms, j.room)
		}
	}
	if len(rooms) == 0 {
		return nil
	}
	all, err := a.s.Accounts.AccountDataOfRooms(a.ctx, a.req.user, rooms)
	if err != nil {
		return err
	}
	for _, d := range all {
		fresh[d.RoomID].data = append(fresh[d.RoomID].data, d)
	}
	return nil
}
