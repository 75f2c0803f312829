package e2ee

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

const (
	maxQuery = 20_000 // users in one request
	// followInline is how many lists of one server are fetched whole before one common query is cheaper.
	followInline = 4
)

// Asked says whose keys are wanted: user → devices, none meaning all.
type Asked map[id.UserID][]id.DeviceID

// Answer is the answer to a key query, its parts encoded.
type Answer struct {
	DeviceKeys  map[id.UserID]json.RawMessage
	Master      map[id.UserID]json.RawMessage
	SelfSigning map[id.UserID]json.RawMessage
	UserSigning map[id.UserID]json.RawMessage
	Failures    Failures
}

func newAnswer() *Answer {
	return &Answer{
		DeviceKeys: map[id.UserID]json.RawMessage{}, Master: map[id.UserID]json.RawMessage{},
		SelfSigning: map[id.UserID]json.RawMessage{}, UserSigning: map[id.UserID]json.RawMessage{}, Failures: Failures{},
	}
}

// Encode writes the answer as clients get it.
func (a *Answer) Encode() []byte {
	size := 256
	for _, raw := range a.DeviceKeys {
		size += len(raw) + 64
	}
	out := make([]byte, 0, size)
	out = append(out, `{"device_keys":`...)
	out = appendObject(out, a.DeviceKeys)
	out = append(out, `,"master_keys":`...)
	out = appendObject(out, a.Master)
	out = append(out, `,"self_signing_keys":`...)
	out = appendObject(out, a.SelfSigning)
	out = append(out, `,"user_signing_keys":`...)
	out = appendObject(out, a.UserSigning)
	failures, err := json.Marshal(a.Failures)
	if err != nil {
		failures = []byte("{}")
	}
	out = append(out, `,"failures":`...)
	out = append(out, failures...)
	return append(out, '}')
}

// QueryKeys returns device and cross-signing keys as the requester may see them.
// spec: cs#post_matrixclientv3keysquery
func (k *Keys) QueryKeys(ctx context.Context, requester id.UserID, asked Asked, timeout time.Duration) (*Answer, error) {
	if len(asked) > maxQuery {
		return nil, mautrix.MTooLarge.WithMessage("Too many users in one query")
	}
	a := newAnswer()
	known := make([]id.UserID, 0, len(asked))
	var others []id.UserID
	for user := range asked {
		switch {
		case k.accounts.Local(user):
			known = append(known, user)
		case user.Homeserver() != "":
			others = append(others, user)
		}
	}
	shared, err := k.rooms.Sharing(ctx, requester, others)
	if err != nil {
		return nil, fmt.Errorf("looking for shared rooms: %w", err)
	}
	fresh, err := k.freshLists(ctx, others)
	if err != nil {
		return nil, err
	}
	keys, err := k.keysOf(ctx, append(known, others...))
	if err != nil {
		return nil, err
	}
	self := keys[requester]
	if self == nil {
		if self, err = k.keysOfOne(ctx, requester); err != nil {
			return nil, err
		}
	}
	v := view{requester, self}
	for _, user := range known {
		a.add(v, user, keys[user], asked[user])
	}
	ask := map[string]*serverQuery{}
	for _, user := range others {
		if shared[user] && fresh[user] {
			a.add(v, user, keys[user], asked[user])
			continue
		}
		server := user.Homeserver()
		if ask[server] == nil {
			ask[server] = &serverQuery{}
		}
		ask[server].add(user, shared[user], asked[user])
	}
	k.queryRemote(ctx, v, asked, ask, bounded(timeout), a)
	return a, nil
}

// freshLists tells which remote users' lists are kept up to date. It is asked before their keys are read.
func (k *Keys) freshLists(ctx context.Context, users []id.UserID) (map[id.UserID]bool, error) {
	fresh, err := k.usersWhere(ctx, selectFresh, users)
	if err != nil {
		return nil, fmt.Errorf("reading device lists: %w", err)
	}
	set := make(map[id.UserID]bool, len(fresh))
	for _, user := range fresh {
		set[user] = true
	}
	return set, nil
}

// view is who looks: signatures by others are shown to the user who made them alone.
type view struct {
	requester id.UserID
	self      *userKeys
}

// master adds the requester's own signatures to the master key of another user.
func (v view) master(user id.UserID, key json.RawMessage) json.RawMessage {
	if v.self == nil || user == v.requester || len(v.self.made[user]) == 0 {
		return key
	}
	return withSignatures(key, signedBy(v.requester, v.self.made[user][signingPublic(key)]))
}

func (a *Answer) add(v view, user id.UserID, keys *userKeys, devices []id.DeviceID) {
	a.DeviceKeys[user] = keys.pick(devices)
	if key := keys.signing[usageMaster]; key != nil {
		a.Master[user] = v.master(user, key)
	}
	if key := keys.signing[usageSelfSigning]; key != nil {
		a.SelfSigning[user] = key
	}
	if key := keys.signing[usageUserSigning]; key != nil && user == v.requester {
		a.UserSigning[user] = key
	}
}

// serverQuery is what is to be asked of one server.
type serverQuery struct {
	follow []id.UserID // users who share a room with the requester: their lists are worth keeping
	query  Asked
}

func (q *serverQuery) add(user id.UserID, shares bool, devices []id.DeviceID) {
	if shares {
		q.follow = append(q.follow, user)
	}
	if q.query == nil {
		q.query = Asked{}
	}
	q.query[user] = devices
}

// queryRemote asks the servers. A few users that share a room with the requester are fetched with their whole lists,
// which are kept from then on; many are asked for together, and their lists are left to the worker.
func (k *Keys) queryRemote(ctx context.Context, v view, asked Asked, ask map[string]*serverQuery, timeout time.Duration, a *Answer) {
	a.Failures = k.eachServer(ctx, len(ask), timeout, func(ctx context.Context, g *errgroup.Group, done func(string, error, func())) {
		for server, q := range ask {
			if len(q.follow) <= followInline {
				for _, user := range q.follow {
					delete(q.query, user)
					g.Go(func() error {
						keys, err := k.follow(ctx, user)
						done(server, err, func() { a.add(v, user, keys, asked[user]) })
						return nil
					})
				}
			} else if err := k.followLater(ctx, q.follow); err != nil {
				k.log.Warn().Err(err).Str("server", server).Msg("Cannot note device lists to follow")
			}
			if len(q.query) == 0 {
				continue
			}
			g.Go(func() error {
				got, err := k.remote.QueryUserKeys(ctx, server, q.query)
				done(server, err, func() { a.addRemote(v, q.query, got) })
				return nil
			})
		}
	})
}

// addRemote takes over what was asked for, and nothing else.
func (a *Answer) addRemote(v view, asked Asked, got *UserKeys) {
	if got == nil {
		return
	}
	for user := range asked {
		devices := map[id.DeviceID]json.RawMessage{}
		for device, raw := range got.DeviceKeys[user] {
			if keys, name, err := checkRemoteDevice(user, device, raw); err == nil && len(devices) < maxRemoteDevices {
				devices[device] = withDisplayName(keys, name)
			}
		}
		a.DeviceKeys[user] = appendObject(nil, devices)
		if key, err := checkSigningKey(user, usageMaster, got.MasterKeys[user]); err == nil {
			a.Master[user] = v.master(user, key)
		}
		if key, err := checkSigningKey(user, usageSelfSigning, got.SelfSigningKeys[user]); err == nil {
			a.SelfSigning[user] = key
		}
	}
}

// FederationQuery answers another server: only our own users, only their own signatures.
// spec: ss#post_matrixfederationv1userkeysquery
func (k *Keys) FederationQuery(ctx context.Context, asked Asked) (*Answer, error) {
	if len(asked) > maxQuery {
		return nil, mautrix.MTooLarge.WithMessage("Too many users in one query")
	}
	var users []id.UserID
	for user := range asked {
		if k.accounts.Local(user) {
			users = append(users, user)
		}
	}
	keys, err := k.keysOf(ctx, users)
	if err != nil {
		return nil, err
	}
	a := newAnswer()
	for _, user := range users {
		a.add(view{}, user, keys[user], asked[user])
	}
	return a, nil
}

// EncodeFederation writes the answer as other servers get it.
func (a *Answer) EncodeFederation() []byte {
	out := append([]byte(nil), `{"device_keys":`...)
	out = appendObject(out, a.DeviceKeys)
	out = append(out, `,"master_keys":`...)
	out = appendObject(out, a.Master)
	out = append(out, `,"self_signing_keys":`...)
	out = appendObject(out, a.SelfSigning)
	return append(out, '}')
}
