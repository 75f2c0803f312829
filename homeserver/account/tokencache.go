package account

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"

	"maunium.net/go/mautrix/id"
)

const (
	maxCachedTokens = 200_000
	tokenShards     = 64
)

// known is a session as the cache holds it. All but seen is immutable.
type known struct {
	user                            id.UserID
	device                          id.DeviceID
	hash                            string
	expires                         int64
	admin, guest, locked, suspended bool
	seen                            atomic.Int64 // ms when the device was last noted as seen
}

type tokenKey [sha256.Size]byte

// tokenCache holds sessions by the hash of their token. Entries go when a change of kind Session says so.
type tokenCache struct {
	perShard int
	shards   [tokenShards]tokenShard
	// generation grows whenever something is dropped: what was read from the database before must not be kept.
	generation atomic.Uint64
	users      [tokenShards]userShard
}

type tokenShard struct {
	mu      sync.RWMutex
	entries map[tokenKey]*known
}

// userShard finds the tokens of a user.
type userShard struct {
	mu     sync.Mutex
	tokens map[id.UserID]map[tokenKey]struct{}
}

func newTokenCache(limit int) *tokenCache {
	c := &tokenCache{perShard: max(limit/tokenShards, 1)}
	for i := range c.shards {
		c.shards[i].entries = make(map[tokenKey]*known)
		c.users[i].tokens = make(map[id.UserID]map[tokenKey]struct{})
	}
	return c
}

func (c *tokenCache) get(key tokenKey) *known {
	s := &c.shards[key[0]%tokenShards]
	s.mu.RLock()
	k := s.entries[key]
	s.mu.RUnlock()
	return k
}

// put keeps a session read from the database when the generation was gen.
func (c *tokenCache) put(key tokenKey, k *known, gen uint64) {
	evicted, victim := c.insert(key, k, gen)
	if victim == nil {
		return
	}
	u, s := c.userShard(victim.user), &c.shards[evicted[0]%tokenShards]
	u.mu.Lock()
	defer u.mu.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.entries[evicted] == nil { // else it has come back meanwhile
		u.forget(victim.user, evicted)
	}
}

func (c *tokenCache) insert(key tokenKey, k *known, gen uint64) (evicted tokenKey, victim *known) {
	u, s := c.userShard(k.user), &c.shards[key[0]%tokenShards]
	u.mu.Lock()
	defer u.mu.Unlock()
	if c.generation.Load() != gen {
		return evicted, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) >= c.perShard {
		for evicted, victim = range s.entries { // any one: the order of a map is random
			delete(s.entries, evicted)
			break
		}
	}
	s.entries[key] = k
	if u.tokens[k.user] == nil {
		u.tokens[k.user] = make(map[tokenKey]struct{}, 2)
	}
	u.tokens[k.user][key] = struct{}{}
	return evicted, victim
}

func (u *userShard) forget(user id.UserID, key tokenKey) {
	delete(u.tokens[user], key)
	if len(u.tokens[user]) == 0 {
		delete(u.tokens, user)
	}
}

func (c *tokenCache) userShard(user id.UserID) *userShard {
	h := uint32(2166136261)
	for i := range len(user) {
		h = (h ^ uint32(user[i])) * 16777619
	}
	return &c.users[h%tokenShards]
}

// dropUser forgets all sessions of a user.
func (c *tokenCache) dropUser(user id.UserID) { c.drop(user, nil) }

// dropDevice forgets the sessions of one device.
func (c *tokenCache) dropDevice(user id.UserID, device id.DeviceID) {
	c.drop(user, func(k *known) bool { return k.device == device })
}

func (c *tokenCache) drop(user id.UserID, which func(*known) bool) {
	u := c.userShard(user)
	u.mu.Lock()
	defer u.mu.Unlock()
	c.generation.Add(1)
	for key := range u.tokens[user] {
		s := &c.shards[key[0]%tokenShards]
		s.mu.Lock()
		if k := s.entries[key]; k == nil || k.user != user {
			u.forget(user, key)
		} else if which == nil || which(k) {
			delete(s.entries, key)
			u.forget(user, key)
		}
		s.mu.Unlock()
	}
}
