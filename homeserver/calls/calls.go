package calls

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
)

// Deps is what New needs.
type Deps struct {
	TURN config.TURN
	Now  func() time.Time
}

// Calls gives out credentials.
type Calls struct{ Deps }

// New builds the slice.
func New(d Deps) *Calls {
	if d.Now == nil {
		d.Now = time.Now
	}
	return &Calls{d}
}

// Relay is what a client needs to use a relay.
type Relay struct {
	Username string   `json:"username"`
	Password string   `json:"password"`
	URIs     []string `json:"uris"`
	TTL      int64    `json:"ttl"` // seconds
}

// Relay gives a user credentials; nil if there is no relay.
func (c *Calls) Relay(user id.UserID) *Relay {
	t := c.TURN
	if len(t.URIs) == 0 {
		return nil
	}
	r := &Relay{Username: t.Username, Password: t.Password, URIs: t.URIs, TTL: int64(t.Lifetime.D().Seconds())}
	if t.Secret != "" {
		r.Username = strconv.FormatInt(c.Now().Add(t.Lifetime.D()).Unix(), 10) + ":" + string(user)
		mac := hmac.New(sha1.New, []byte(t.Secret))
		mac.Write([]byte(r.Username))
		r.Password = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return r
}
