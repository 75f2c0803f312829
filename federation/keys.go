package federation

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
)

const (
	keyFetches      = 16 // at one time, for one call
	keyFetchesInAll = 64
	keyFetchTimeout = 40 * time.Second
	keyRefetch      = time.Minute     // for a key that a fresh answer did not have
	keyRenew        = 5 * time.Second // for keys whose validity has ended since
	keyFailFirst    = 2 * time.Second
	keyFailLast     = 2 * time.Minute
	keysInMemory    = 50_000
	keysOfServer    = 64 // of each kind
	ownKeyLifetime  = 24 * time.Hour
)

// KeyOptions are what a KeyRing is built from.
type KeyOptions struct {
	ServerName string
	// Signers are our keys; the first one signs. Old are keys that we no longer sign with.
	Signers []event.Signer
	Old     map[string]event.OldKey
	Client  *Client
	DB      *database.DB
	// Notaries are asked for keys of servers that do not answer.
	Notaries []string
	// Blocked public keys (base64, unpadded) never verify anything.
	Blocked []string
}

// KeyRing holds the public keys of servers. It implements event.KeySource.
type KeyRing struct {
	o       KeyOptions
	blocked map[string]bool
	slots   chan struct{} // fetches under way

	mu      sync.Mutex
	keys    map[keyName]event.VerifyKey
	loaded  map[string]bool // servers whose rows are in keys
	tries   map[string]*keyTry
	flights map[string]chan struct{}
}

type keyName struct{ server, id string }

// keyTry remembers the last fetch of a server's keys.
type keyTry struct {
	at       time.Time
	failures int
	until    int64 // end of the validity of what was fetched
}

// pause is how long after the last fetch there shall be none.
func (t *keyTry) pause(now time.Time) time.Duration {
	switch {
	case t.failures > 0:
		return min(keyFailFirst<<min(t.failures-1, 12), keyFailLast)
	case now.UnixMilli() > t.until:
		return keyRenew
	}
	return keyRefetch
}

// NewKeyRing returns a key ring.
func NewKeyRing(o KeyOptions) *KeyRing {
	k := &KeyRing{o: o, blocked: map[string]bool{}, keys: map[keyName]event.VerifyKey{}, loaded: map[string]bool{},
		tries: map[string]*keyTry{}, flights: map[string]chan struct{}{}, slots: make(chan struct{}, keyFetchesInAll)}
	for _, b := range o.Blocked {
		k.blocked[strings.TrimRight(b, "=")] = true
	}
	return k
}

// Keys implements event.KeySource: memory, then the database, then the server itself, then notaries.
func (k *KeyRing) Keys(ctx context.Context, want []event.KeyRequest) (map[event.KeyRequest]event.VerifyKey, error) {
	out := make(map[event.KeyRequest]event.VerifyKey, len(want))
	ask := map[string]bool{}
	for _, q := range want {
		if key, ok := k.find(ctx, q); ok {
			out[q] = key
			if q.At == 0 || key.ValidAt(q.At) {
				continue
			}
		}
		ask[q.Server] = true
	}
	if len(ask) == 0 {
		return out, nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(keyFetches)
	for server := range ask {
		g.Go(func() error {
			if err := k.refresh(gctx, server); err != nil {
				zerolog.Ctx(ctx).Debug().Err(err).Str("server", server).Msg("keys not fetched")
			}
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, q := range want {
		if key, ok := k.find(ctx, q); ok {
			out[q] = key
		}
	}
	return out, nil
}

func (k *KeyRing) find(ctx context.Context, q event.KeyRequest) (event.VerifyKey, bool) {
	if q.Server == k.o.ServerName {
		return k.own(q.KeyID)
	}
	k.mu.Lock()
	key, ok := k.keys[keyName{q.Server, q.KeyID}]
	loaded := k.loaded[q.Server]
	k.mu.Unlock()
	if ok || loaded {
		return key, ok
	}
	if err := k.load(ctx, q.Server); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str("server", q.Server).Msg("read keys")
		return event.VerifyKey{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok = k.keys[keyName{q.Server, q.KeyID}]
	return key, ok
}

func (k *KeyRing) own(keyID string) (event.VerifyKey, bool) {
	for _, s := range k.o.Signers {
		if s.KeyID == keyID {
			return event.VerifyKey{Key: s.Public(), ValidUntil: time.Now().Add(ownKeyLifetime).UnixMilli()}, true
		}
	}
	if old, ok := k.o.Old[keyID]; ok {
		return event.VerifyKey{Key: old.Key, ValidUntil: old.Expired, Expired: old.Expired}, true
	}
	return event.VerifyKey{}, false
}

func (k *KeyRing) load(ctx context.Context, server string) error {
	rows, err := k.readKeys(ctx, server)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) > keysInMemory {
		clear(k.keys)
		clear(k.loaded)
	}
	for _, r := range rows {
		name := keyName{server, r.keyID}
		if _, ok := k.keys[name]; !ok && !k.isBlocked(r.key.Key) {
			k.keys[name] = r.key
		}
	}
	k.loaded[server] = true
	return nil
}

var errKeyWait = errors.New("keys of this server were asked for a moment ago")

// refresh fetches a server's keys, once for all who ask at the same time, and not too often.
func (k *KeyRing) refresh(ctx context.Context, server string) error {
	k.mu.Lock()
	if wait, busy := k.flights[server]; busy {
		k.mu.Unlock()
		select {
		case <-wait:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if t := k.tries[server]; t != nil && time.Since(t.at) < t.pause(time.Now()) {
		k.mu.Unlock()
		return errKeyWait
	}
	done := make(chan struct{})
	k.flights[server] = done
	k.mu.Unlock()
	until, err := int64(0), errors.New("keys were not fetched")
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.flights, server)
		close(done)
		k.tried(server, until, err)
	}()
	// Whoever asked first may be gone before others who wait.
	end := time.Now().Add(keyFetchTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	limited, cancel := context.WithDeadline(context.WithoutCancel(ctx), end)
	defer cancel()
	select {
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
		until, err = k.fetch(limited, server)
	case <-limited.Done():
		err = limited.Err()
	}
	return err
}

// tried remembers how a fetch ended. It is called under mu.
func (k *KeyRing) tried(server string, until int64, err error) {
	if len(k.tries) > keysInMemory {
		clear(k.tries)
	}
	t := k.tries[server]
	if t == nil {
		t = &keyTry{}
		k.tries[server] = t
	}
	t.at, t.until = time.Now(), until
	if err != nil {
		t.failures++
	} else {
		t.failures = 0
	}
}

// fetch asks the server itself, then the notaries. It returns how long the keys are valid. Notaries answer for others, not for
// each other.
func (k *KeyRing) fetch(ctx context.Context, server string) (until int64, err error) {
	if k.o.Client == nil {
		return 0, errors.New("federation is off")
	}
	raw, err := k.o.Client.serverKeys(ctx, server)
	if err == nil {
		var doc *event.ServerKeys
		if doc, err = event.ParseServerKeys(raw, server, time.Now().UnixMilli()); err == nil {
			return doc.ValidUntil, k.keep(ctx, doc, true)
		}
	}
	if slices.Contains(k.o.Notaries, server) {
		return 0, err
	}
	for _, notary := range k.o.Notaries {
		if until, nerr := k.fetchFrom(ctx, notary, server); nerr == nil {
			return until, nil
		}
	}
	return 0, err
}

// fetchFrom asks a notary. A document counts only with the signatures of the server itself and of the notary.
func (k *KeyRing) fetchFrom(ctx context.Context, notary, server string) (until int64, err error) {
	docs, err := k.o.Client.notaryKeys(ctx, notary, map[string]map[string]map[string]int64{server: {}})
	if err != nil {
		return 0, err
	}
	err = errors.New("the notary has no keys")
	for _, raw := range docs[:min(len(docs), keysOfServer)] {
		doc, perr := event.ParseServerKeys(raw, server, time.Now().UnixMilli())
		if perr == nil {
			perr = k.signedBy(ctx, raw, notary)
		}
		if perr == nil {
			perr = k.keep(ctx, doc, false)
		}
		if err = perr; err == nil {
			return doc.ValidUntil, nil
		}
	}
	return 0, err
}

func (k *KeyRing) signedBy(ctx context.Context, raw json.RawMessage, notary string) error {
	sigs, err := event.SignaturesOf(raw)
	if err != nil {
		return err
	}
	for keyID := range sigs[notary] {
		keys, err := k.Keys(ctx, []event.KeyRequest{{Server: notary, KeyID: keyID}})
		if err != nil {
			return err
		}
		for _, key := range keys {
			if key.Expired != 0 {
				continue
			}
			return event.VerifyJSON(raw, notary, keyID, key.Key)
		}
	}
	return errors.New("not signed by the notary")
}

// keep stores what a fresh, checked document says. Keys that it no longer names stay as they are: events signed with
// them remain verifiable until their validity ends. A notary's word adds keys, and time to those that are known; it does not
// replace what the server said itself.
func (k *KeyRing) keep(ctx context.Context, doc *event.ServerKeys, direct bool) error {
	known, err := k.readKeys(ctx, doc.Server)
	if err != nil {
		return err
	}
	before := make(map[string]event.VerifyKey, len(known))
	for _, r := range known {
		before[r.keyID] = r.key
	}
	var kept []keyRow
	for _, r := range rowsOf(doc) {
		old, had := before[r.keyID]
		switch {
		case k.isBlocked(r.key.Key):
			continue
		case !had:
		case !direct && (!old.Key.Equal(r.key.Key) || old.Expired != 0 || r.key.Expired == 0 && r.key.ValidUntil <= old.ValidUntil):
			continue
		case !old.Key.Equal(r.key.Key):
			zerolog.Ctx(ctx).Info().Str("server", doc.Server).Str("key_id", r.keyID).Msg("a server has another key of the same name")
		}
		kept = append(kept, r)
	}
	if err := k.writeKeys(ctx, doc.Server, kept, doc.Raw); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range kept {
		k.keys[keyName{doc.Server, r.keyID}] = r.key
	}
	return nil
}

// rowsOf lists the keys of a document: those in use by name, and of the older ones those that ended last.
func rowsOf(doc *event.ServerKeys) []keyRow {
	current := make([]keyRow, 0, len(doc.VerifyKeys))
	for keyID, key := range doc.VerifyKeys {
		current = append(current, keyRow{keyID, event.VerifyKey{Key: key, ValidUntil: doc.ValidUntil}})
	}
	slices.SortFunc(current, func(a, b keyRow) int { return strings.Compare(a.keyID, b.keyID) })
	old := make([]keyRow, 0, len(doc.OldVerifyKeys))
	for keyID, o := range doc.OldVerifyKeys {
		if _, inUse := doc.VerifyKeys[keyID]; !inUse {
			old = append(old, keyRow{keyID, event.VerifyKey{Key: o.Key, ValidUntil: o.Expired, Expired: o.Expired}})
		}
	}
	slices.SortFunc(old, func(a, b keyRow) int {
		return cmp.Or(cmp.Compare(b.key.Expired, a.key.Expired), strings.Compare(a.keyID, b.keyID))
	})
	return append(current[:min(len(current), keysOfServer)], old[:min(len(old), keysOfServer)]...)
}

func (k *KeyRing) isBlocked(key ed25519.PublicKey) bool { return k.blocked[encodeKey(key)] }

// document is our own key document.
func (k *KeyRing) document() (json.RawMessage, error) {
	return event.BuildServerKeys(k.o.Signers, k.o.Old, time.Now().Add(ownKeyLifetime).UnixMilli())
}
