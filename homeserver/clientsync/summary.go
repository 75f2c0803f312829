package clientsync

import (
	"slices"
	"strconv"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// summary is what a client names a room after, and how many people are in it.
//
// spec: cs#get_matrixclientv3sync_response-200_roomsummary
type summary struct {
	heroes          []id.UserID
	named           bool
	joined, invited int
}

type heroKey struct {
	room  id.RoomID
	state int64
}

const maxHeroes = 5

// summary gives the numbers when they may have changed: members did, or the client is new to the room.
func (a *answer) summary(j *job, w *window, all bool) (*summary, error) {
	if !all && !j.kinds.Has(stream.Membership) {
		return nil, nil
	}
	sum := &summary{}
	var err error
	if sum.joined, sum.invited, err = a.s.Rooms.Counts(a.ctx, j.room); err != nil {
		return nil, err
	}
	st, err := a.s.Rooms.StateAt(a.ctx, j.room, a.upTo)
	if err != nil {
		return nil, err
	}
	for _, named := range [][2]string{{typeName, "name"}, {typeAlias, "alias"}} {
		ev, err := st.Event(a.ctx, named[0], "")
		if err != nil {
			return nil, err
		}
		if ev == nil || ev.RedactedBy != "" {
			continue
		}
		if name, _ := ev.FieldString(named[1]); name != "" {
			sum.named = true
			return sum, nil
		}
	}
	heroes, err := a.s.roomHeroes(a, j.room, st)
	if err != nil {
		return nil, err
	}
	for _, u := range heroes {
		if u != a.req.user && len(sum.heroes) < maxHeroes {
			sum.heroes = append(sum.heroes, u)
		}
	}
	return sum, nil
}

// roomHeroes are the first members of a nameless room, or the last ones if all have left; the same for all who ask.
func (s *Syncs) roomHeroes(a *answer, roomID id.RoomID, st *room.State) ([]id.UserID, error) {
	key := heroKey{roomID, st.ID()}
	if h, ok := s.heroes.Get(key); ok {
		return h, nil
	}
	var heroes []id.UserID
	for _, memberships := range [][]string{{memberJoin, memberInvite}, {memberLeave, memberBan}} {
		var members []room.Member
		for _, m := range memberships {
			some, err := s.Rooms.Members(a.ctx, roomID, m)
			if err != nil {
				return nil, err
			}
			members = append(members, some...)
		}
		slices.SortFunc(members, func(x, y room.Member) int {
			if x.Pos != y.Pos {
				return int(x.Pos - y.Pos)
			}
			if x.UserID < y.UserID {
				return -1
			}
			return 1
		})
		for _, m := range members[:min(len(members), maxHeroes+1)] {
			heroes = append(heroes, m.UserID)
		}
		if len(heroes) > 1 {
			break
		}
	}
	s.heroes.Put(key, heroes, 1)
	return heroes, nil
}

func (a *answer) writeSummary(sum *summary) {
	if sum == nil {
		return
	}
	a.buf = append(a.buf, `,"summary":{`...)
	if !sum.named {
		a.buf = append(appendUsers(append(a.buf, `"m.heroes":`...), sum.heroes), ',')
	}
	a.buf = strconv.AppendInt(append(a.buf, `"m.joined_member_count":`...), int64(sum.joined), 10)
	a.buf = strconv.AppendInt(append(a.buf, `,"m.invited_member_count":`...), int64(sum.invited), 10)
	a.buf = append(a.buf, '}')
}
