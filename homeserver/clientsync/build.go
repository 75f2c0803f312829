package clientsync

import (
	"context"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// answer is one answer in the making.
type answer struct {
	s       *Syncs
	ctx     context.Context
	req     *request
	view    *view
	upTo    stream.Pos
	touched map[stream.Topic]stream.KindSet
	ignored map[id.UserID]struct{}
	dev     *device
	buf     []byte
	some    bool // there is something worth answering for

	data      []account.AccountDatum
	newcomers map[id.UserID]struct{} // people the user only now shares a room with
	sent      []sentMember
	fresh     []id.RoomID
}

func (s *Syncs) answer(ctx context.Context, req *request, v *view, upTo stream.Pos, touched map[stream.Topic]stream.KindSet) *answer {
	return &answer{s: s, ctx: ctx, req: req, view: v, upTo: upTo, touched: touched, buf: *buffers.Get().(*[]byte)}
}

// build answers for the window (req.since, upTo]; something is false if the answer says nothing.
func (s *Syncs) build(ctx context.Context, req *request, v *view, upTo stream.Pos, touched map[stream.Topic]stream.KindSet) (*Answer, bool, error) {
	a := s.answer(ctx, req, v, upTo, touched)
	messages, err := a.inbox()
	if err != nil {
		return nil, false, err
	}
	if a.ignored, err = s.Accounts.IgnoredUsers(ctx, req.user); err != nil {
		return nil, false, err
	}
	a.start()
	for _, part := range []func() error{
		a.accountData, a.sections, a.presence, func() error { return a.toDevice(messages) }, a.deviceLists, a.keyCounts,
	} {
		if err := part(); err != nil {
			return nil, false, err
		}
	}
	a.rememberMembers()
	return a.finish(), a.some, nil
}

func (a *answer) start() {
	a.buf = append(a.buf, `{"next_batch":"`...)
	a.buf = append(append(a.buf, stream.Token(a.upTo)...), '"')
}

func (a *answer) finish() *Answer {
	a.buf = append(a.buf, '}')
	return &Answer{a.buf}
}

// kinds is what happened to a topic in the window.
func (a *answer) kinds(t stream.Topic) stream.KindSet { return a.touched[t] }

// own is what happened to the user.
func (a *answer) own() stream.KindSet { return a.touched[a.view.topics[0]] }

// anywhere says whether some topic saw one of the kinds.
func (a *answer) anywhere(kinds ...stream.Kind) bool {
	for _, set := range a.touched {
		for _, k := range kinds {
			if set.Has(k) {
				return true
			}
		}
	}
	return false
}

// options says how timeline events are rendered.
func (a *answer) options() timeline.RenderOptions {
	return timeline.RenderOptions{ForUser: a.req.user, Device: a.req.device, Federation: a.req.filter.federation, NoRoomID: true,
		Fields: a.req.filter.fields, Ignored: a.ignored}
}
