package push

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
)

const (
	deliverers   = 256 // requests to gateways at a time
	perGateway   = 64
	firstPause   = 2 * time.Second
	longestPause = time.Hour
	gatewayPause = time.Minute // at most, for all pushers of a gateway that is down
	crowded      = 500 * time.Millisecond
	tooOld       = 24 * time.Hour
	keptQueued   = 100 // of a pusher that fails
	lookReplicas = 500 * time.Millisecond
	lookAlone    = 30 * time.Second
)

// kickDelivery tells the deliverer, if it is in this process, that there is something to do.
func (p *Push) kickDelivery() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// deliverLoop delivers while this replica holds the lease.
func (p *Push) deliverLoop(ctx context.Context) {
	for ctx.Err() == nil {
		lease := p.db.Lease("push/deliver")
		held, err := lease.Acquire(ctx)
		if err != nil {
			return
		}
		d := &delivery{p: p, routes: map[int64]*route{}, gateways: map[string]*gateway{}, slots: make(chan struct{}, deliverers), done: make(chan struct{}, 1)}
		d.run(held)
		lease.Release()
	}
}

// delivery is the work of one holder of the lease.
type delivery struct {
	p     *Push
	slots chan struct{}
	done  chan struct{} // capacity 1: somebody has finished
	wg    sync.WaitGroup

	mu       sync.Mutex
	routes   map[int64]*route
	gateways map[string]*gateway // by host
}

// gateway is one host that is told things. While it is down, one pusher at a time tries.
type gateway struct {
	running  int
	failures int
	until    time.Time
}

// route is the way to one pusher.
type route struct {
	busy     bool
	failures int
	until    time.Time // not to be tried before
	badge    int       // number told last, plus one; 0: not known
}

func (d *delivery) run(ctx context.Context) {
	defer d.wg.Wait()
	for ctx.Err() == nil {
		next, err := d.start(ctx)
		if err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("Looking for notifications failed")
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-d.p.wake:
		case <-d.done:
		case <-t.C:
		}
		t.Stop()
	}
}

// start sets those to work for whom something waits, and says when to look again at the latest.
func (d *delivery) start(ctx context.Context) (next time.Duration, err error) {
	next = lookAlone
	if d.p.db.Replicated() {
		next = lookReplicas
	}
	waiting, err := d.p.readWaiting(ctx)
	if err != nil {
		return next, err
	}
	now := d.p.now()
	for _, nid := range waiting {
		r := d.claim(nid, now)
		if r == nil {
			continue
		}
		if !r.busy {
			next = min(next, max(r.until.Sub(now), time.Millisecond))
			continue
		}
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
			return next, nil
		}
		d.wg.Go(func() {
			defer func() { <-d.slots; kick(d.done) }()
			d.work(ctx, nid, r)
		})
	}
	return next, nil
}

func kick(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// claim takes a pusher; nil if somebody is at work already, a route that is not busy if it has to rest.
func (d *delivery) claim(nid int64, now time.Time) *route {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.routes[nid]
	if r == nil {
		r = &route{}
		d.routes[nid] = r
	}
	if r.busy {
		return nil
	}
	if r.until.After(now) {
		return &route{until: r.until}
	}
	r.busy = true
	return r
}

// work delivers what waits for a pusher, in order, until nothing is left or something fails.
func (d *delivery) work(ctx context.Context, nid int64, r *route) {
	rest, err := d.visit(ctx, nid, r)
	if err != nil && ctx.Err() == nil {
		zerolog.Ctx(ctx).Debug().Err(err).Int64("pusher", nid).Int("failures", r.failures+1).Msg("Telling a push gateway failed")
		if _, err := d.p.db.Exec(ctx, shortenQueue, nid, keptQueued); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("Shortening the queue of a pusher failed")
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r.busy = false
	switch {
	case err != nil:
		r.until = d.p.now().Add(min(d.p.pause<<min(r.failures, 20), longestPause))
		r.failures++
	case !rest.IsZero():
		r.until = rest
	default:
		r.failures, r.until = 0, time.Time{}
	}
}

// visit finds the pusher and its gateway, and delivers. rest: the gateway is not to be bothered before.
func (d *delivery) visit(ctx context.Context, nid int64, r *route) (rest time.Time, err error) {
	list, err := d.p.listPushers(ctx, onePusher, nid)
	if err != nil {
		return rest, err
	}
	if len(list) == 0 || !list[0].Enabled {
		d.forget(nid)
		_, err := d.p.db.Exec(ctx, deleteQueue, nid)
		return rest, err
	}
	address, _, _, _ := list[0].gateway()
	u, err := url.Parse(address)
	if err != nil {
		return rest, fmt.Errorf("address of a push gateway: %w", err)
	}
	if rest = d.enter(u.Host); !rest.IsZero() {
		return rest, nil
	}
	err = d.drain(ctx, list[0], r)
	d.leave(u.Host, err)
	return rest, err
}

func (d *delivery) forget(nid int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.routes, nid)
}

// enter says until when a gateway has to be left alone; zero: it may be told now, until leave is called.
func (d *delivery) enter(host string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.gateways[host]
	if g == nil {
		g = &gateway{}
		d.gateways[host] = g
	}
	limit := perGateway
	if g.failures > 0 {
		limit = 1
	}
	now := d.p.now()
	if g.until.After(now) {
		return g.until
	}
	if g.running >= limit {
		return now.Add(crowded)
	}
	g.running++
	return time.Time{}
}

func (d *delivery) leave(host string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.gateways[host]
	g.running--
	fault, ok := errors.AsType[*gatewayError](err)
	switch {
	case ok && fault.down():
		g.until = d.p.now().Add(min(d.p.pause<<min(g.failures, 20), gatewayPause))
		g.failures++
	case err == nil:
		g.failures, g.until = 0, time.Time{}
		if g.running == 0 {
			delete(d.gateways, host)
		}
	}
}

func (d *delivery) drain(ctx context.Context, to *Pusher, r *route) error {
	for ctx.Err() == nil {
		rows, err := d.p.readQueue(ctx, to.NID, 20)
		if err != nil || len(rows) == 0 {
			return err
		}
		for i := range rows {
			gone, err := d.deliver(ctx, to, &rows[i], r)
			if err != nil || gone {
				return err
			}
			if _, err := d.p.db.Exec(ctx, deleteQueued, to.NID, int64(rows[i].pos)); err != nil {
				return fmt.Errorf("removing a notification: %w", err)
			}
		}
	}
	return ctx.Err()
}

// deliver tells a gateway of one thing, unless it is settled already. gone: the gateway wants no more.
func (d *delivery) deliver(ctx context.Context, to *Pusher, q *queued, r *route) (gone bool, err error) {
	p := d.p
	if p.now().UnixMilli()-q.ts > tooOld.Milliseconds() {
		metricSent.WithLabelValues("too old").Inc()
		return false, nil
	}
	if err := p.stream.Reach(ctx, q.pos); err != nil {
		return false, err
	}
	address, data, countless, idOnly := to.gateway()
	n := &notification{}
	if q.event == "" && countless {
		return false, nil
	}
	if q.event != "" {
		ev, err := p.toTell(ctx, to.User, q.event)
		if err != nil || ev == nil {
			return false, err
		}
		if err := p.describe(ctx, n, to.User, ev, q.tweaks, idOnly); err != nil {
			return false, err
		}
	}
	badge, err := p.badge(ctx, to.User)
	if err != nil {
		return false, err
	}
	if q.event == "" && r.badge == badge+1 {
		return false, nil
	}
	if !countless {
		n.Counts = map[string]int{"unread": badge}
	}
	n.Devices = []device{{AppID: to.AppID, Pushkey: to.Pushkey, PushkeyTS: to.Updated / 1000, Data: data, Tweaks: []byte(q.tweaks)}}
	if q.tweaks == "" {
		n.Devices[0].Tweaks = []byte("{}")
	}
	rejected, err := p.post(ctx, address, to.Pushkey, n)
	if err != nil {
		metricSent.WithLabelValues("failed").Inc()
		return false, err
	}
	r.badge = badge + 1
	if rejected {
		metricSent.WithLabelValues("rejected").Inc()
		return true, p.removePusher(ctx, to.User, to.AppID, to.Pushkey)
	}
	metricSent.WithLabelValues("told").Inc()
	return false, nil
}

// toTell is the event of a notification if it is still news: unread, or an invitation that stands. Nil otherwise.
func (p *Push) toTell(ctx context.Context, user id.UserID, eventID id.EventID) (*room.Stored, error) {
	ev, err := p.rooms.Event(ctx, eventID)
	if err != nil || ev == nil || ev.RedactedBy != "" {
		return nil, err
	}
	m, ok, err := p.rooms.Member(ctx, ev.RoomID(), user)
	if err != nil || !ok {
		return nil, err
	}
	if ev.Is(typeMember, string(user)) {
		if m.Membership == invited && m.EventID == eventID {
			return ev, nil
		}
		return nil, nil
	}
	if m.Membership != joined {
		return nil, nil
	}
	unread, err := p.unread(ctx, user, []*room.Stored{ev})
	if err != nil || !unread[eventID] {
		return nil, err
	}
	return ev, nil
}

// unread tells which of these notifying events the user has not read yet.
func (p *Push) unread(ctx context.Context, user id.UserID, evs []*room.Stored) (map[id.EventID]bool, error) {
	ctx = p.outside(ctx)
	var rooms []id.RoomID
	seen := map[id.RoomID]bool{}
	for _, ev := range evs {
		if !seen[ev.RoomID()] {
			seen[ev.RoomID()] = true
			rooms = append(rooms, ev.RoomID())
		}
	}
	if _, err := p.Counts(ctx, user, rooms, p.stream.Head()); err != nil {
		return nil, err
	}
	u := p.person(user)
	u.mu.Lock()
	defer u.mu.Unlock()
	out := map[id.EventID]bool{}
	for _, ev := range evs {
		if c := u.cells[ev.RoomID()]; c != nil && c.unread(ev.Order) {
			out[ev.ID()] = true
		}
	}
	return out, nil
}

// badge is the number of unread events in all rooms of the user.
func (p *Push) badge(ctx context.Context, user id.UserID) (int, error) {
	rooms, err := p.rooms.JoinedRooms(ctx, user)
	if err != nil {
		return 0, fmt.Errorf("rooms of a badge: %w", err)
	}
	counts, err := p.Counts(ctx, user, rooms, p.stream.Head())
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, c := range counts {
		n, _ := c.Total()
		sum += n
	}
	return sum, nil
}
