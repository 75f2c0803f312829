package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

// Pos is a position in the log. The first change has position 1.
type Pos int64

// Kind says what changed.
type Kind uint8

// The kinds. Event and Membership are kept for ever; of the others only the newest of a room, user and ref is. The ref of a
// change says which of several things changed, for example the type of account data.
const (
	Event         Kind = iota + 1 // an event other than a membership; ref is its ID
	Membership                    // a membership event of UserID; ref is its ID
	Receipt                       // room, and who has read
	Typing                        // room
	Presence                      // user
	AccountData                   // user, room or none, type
	DeviceList                    // user whose devices or keys changed
	ToDevice                      // user, device
	KeyCount                      // user, device: one-time and fallback keys
	PushCount                     // user, room
	Profile                       // user
	Session                       // user whose sessions changed or ended
	UserDirectory                 // user
	ServerACL                     // room
	RoomDirectory                 // room published or not
	PushRules                     // user
	Pusher                        // user
	Deactivation                  // user
	AppService                    // ref is the ID of the service
	Policy                        // rules changed
	Delayed                       // user: delayed events
	Redaction                     // room; ref is the ID of the event that got redacted
	Forgotten                     // user, room that the user no longer wants to see
	kinds
)

// Change is a row of the log.
type Change struct {
	Pos    Pos
	Kind   Kind
	RoomID id.RoomID
	UserID id.UserID
	Ref    string
}

// KindSet is a set of kinds.
type KindSet uint64

// All has every kind.
const All = KindSet(1<<kinds - 2)

// Kinds makes a set.
func Kinds(list ...Kind) (s KindSet) {
	for _, k := range list {
		s |= 1 << k
	}
	return s
}

// Has says whether k is in the set.
func (s KindSet) Has(k Kind) bool { return s&(1<<k) != 0 }

func (s KindSet) list() []int64 {
	var out []int64
	for k := Kind(1); k < kinds; k++ {
		if s.Has(k) {
			out = append(out, int64(k))
		}
	}
	return out
}

// Topic is what one can wait for: a room or a user.
type Topic string

// RoomTopic is touched by changes of a room.
func RoomTopic(room id.RoomID) Topic { return Topic(room) }

// UserTopic is touched by changes of a user.
func UserTopic(user id.UserID) Topic { return Topic(user) }

// private are kinds whose room is only a detail of a user's own data; public those whose user is only a detail of the room.
const (
	private = KindSet(1<<AccountData | 1<<PushCount | 1<<ToDevice | 1<<KeyCount | 1<<Session | 1<<PushRules | 1<<Pusher | 1<<Delayed | 1<<Forgotten)
	public  = KindSet(1<<Event | 1<<Receipt | 1<<Typing)
)

// topics are those of the change itself; "" stands for none.
func (c *Change) topics() (room, user Topic) {
	if !private.Has(c.Kind) {
		room = Topic(c.RoomID)
	}
	if !public.Has(c.Kind) {
		user = Topic(c.UserID)
	}
	return room, user
}

// Options tune a Stream.
type Options struct {
	Tail  int           // changes kept in memory; 0 means 200,000
	Group int           // units committed together at most; 0 means 500
	Queue int           // units waiting at most; 0 means 20,000
	Poll  time.Duration // how often the log is looked at if no notification comes; 0 means 5 seconds
}

// AudienceFunc gives further topics that a change touches.
type AudienceFunc func(ctx context.Context, c Change) []Topic

// Stream is the log. It is built by New, told about audiences, observers and followers, and then Run.
type Stream struct {
	db   *database.DB
	opts Options
	born error // why New could not read the head

	audiences [kinds]AudienceFunc
	audience  KindSet // the kinds that have one
	observers []observer

	publisher
	tail
	committer
	followers

	notify chan struct{} // capacity 1: there is something to tell other replicas
	greet  chan struct{} // capacity 1: another replica is new
	heard  atomic.Int64  // when another replica was heard of last
	behind chan struct{} // capacity 1: there may be something to learn
	head   atomic.Int64
	blind  sync.RWMutex // held while positions are committed before they are known here
	run    sync.Mutex   // held while Run runs
	scan   Pos          // scanWindow, but for tests
}

type observer struct {
	kinds KindSet
	fn    func(changes []Change)
}

// ErrClosed says that Run has ended.
var ErrClosed = errors.New("stream: closed")

// New makes the stream of a database.
func New(db *database.DB, options ...Options) *Stream {
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	o.Tail, o.Group, o.Queue = defaulted(o.Tail, 200_000), defaulted(o.Group, 500), defaulted(o.Queue, 20_000)
	o.Poll = defaulted(o.Poll, 5*time.Second)
	s := &Stream{db: db, opts: o, scan: scanWindow, notify: make(chan struct{}, 1), greet: make(chan struct{}, 1), behind: make(chan struct{}, 1)}
	s.publisher.init()
	s.committer.init()
	s.followers.init()
	head, err := s.readHead(context.Background())
	if err != nil {
		s.born = fmt.Errorf("reading the head of the stream: %w", err)
	}
	s.tail.init(o.Tail, head)
	s.head.Store(int64(head))
	return s
}

func defaulted[T int | time.Duration](v, other T) T {
	if v <= 0 {
		return other
	}
	return v
}

// Audience registers a function that tells who else a change of this kind touches. It may read the database. Before Run.
func (s *Stream) Audience(k Kind, fn func(ctx context.Context, c Change) []Topic) {
	s.audiences[k] = fn
	s.audience |= 1 << k
}

// Observe registers a function that is told of every change of these kinds, on every replica, in order, before anybody who
// waits for it wakes: caches drop what is no longer true. It must not block. Before Run.
func (s *Stream) Observe(of KindSet, fn func(changes []Change)) {
	s.observers = append(s.observers, observer{of, fn})
}

// Head is the newest position known here.
func (s *Stream) Head() Pos { return Pos(s.head.Load()) }

// Reach waits until Head is at least pos: a token may come from a replica that is ahead.
func (s *Stream) Reach(ctx context.Context, pos Pos) error {
	for s.Head() < pos {
		kick(s.behind)
		w := s.watch(All)
		if s.Head() < pos {
			select {
			case <-w.ch:
			case <-ctx.Done():
			case <-time.After(s.opts.Poll):
			}
		}
		s.unwatch(w)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Run commits units, runs followers and learns from other replicas until ctx ends and all that has begun is finished.
func (s *Stream) Run(ctx context.Context) error {
	if s.born != nil {
		return s.born
	}
	if !s.run.TryLock() {
		return errors.New("stream: runs already")
	}
	defer s.run.Unlock()
	s.preload(ctx)
	var early, late sync.WaitGroup
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	late.Go(func() { s.commitLoop(working) })
	if s.db.Replicated() {
		early.Go(func() { s.notifyLoop(ctx) })
		early.Go(func() { s.listenLoop(ctx) })
	}
	early.Go(func() { s.learnLoop(ctx) })
	s.followers.start(ctx, s, &early)
	<-ctx.Done()
	early.Wait()
	stop()
	late.Wait()
	return nil
}

// kick leaves a sign in a channel of capacity 1.
func kick(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
