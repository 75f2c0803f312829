package account

import (
	"context"
	"sync"

	"maunium.net/go/mautrix/id"
)

const maxCachedUsers = 50_000

// userCache holds one thing about each of many users, until a change drops it.
type userCache[T any] struct {
	mu         sync.RWMutex
	entries    map[id.UserID]T
	generation uint64
}

// get gives the thing, read by load if it is not here. What load read before a drop is not kept.
func (c *userCache[T]) get(ctx context.Context, user id.UserID, load func(context.Context, id.UserID) (T, error)) (T, error) {
	c.mu.RLock()
	v, ok := c.entries[user]
	gen := c.generation
	c.mu.RUnlock()
	if ok {
		return v, nil
	}
	v, err := load(ctx, user)
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != gen {
		return v, nil
	}
	if c.entries == nil || len(c.entries) >= maxCachedUsers {
		c.entries = make(map[id.UserID]T)
	}
	c.entries[user] = v
	return v, nil
}

func (c *userCache[T]) drop(user id.UserID) {
	c.mu.Lock()
	c.generation++
	delete(c.entries, user)
	c.mu.Unlock()
}
