package calls

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/web"
)

func answer(t *testing.T, turn config.TURN, who web.Requester) (string, error) {
	t.Helper()
	c := New(Deps{TURN: turn, Now: func() time.Time { return time.Unix(1443779631-86400, 0) }})
	out, err := c.GetTurnServer(t.Context(), who, struct{}{})
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw), nil
}

// The password was made with: printf 1443779631:@user:example.com | openssl dgst -sha1 -hmac secret -binary | base64
func TestTurnServer_GivesCredentialsThatEnd(t *testing.T) {
	turn := config.TURN{URIs: []string{"turn:turn.example.com:3478?transport=udp"}, Secret: "secret", Lifetime: config.Duration(24 * time.Hour)}
	got, err := answer(t, turn, web.Requester{UserID: "@user:example.com"})
	want := `{"username":"1443779631:@user:example.com","password":"Xm0lErj7sx/fpxQLH9q1I3FF0uw=","uris":["turn:turn.example.com:3478?transport=udp"],"ttl":86400}`
	if err != nil || got != want {
		t.Fatalf("%s %v", got, err)
	}
}

func TestTurnServer_FixedUser(t *testing.T) {
	turn := config.TURN{URIs: []string{"turns:x"}, Username: "u", Password: "p", Lifetime: config.Duration(time.Hour)}
	if got, err := answer(t, turn, web.Requester{}); err != nil || got != `{"username":"u","password":"p","uris":["turns:x"],"ttl":3600}` {
		t.Fatalf("%s %v", got, err)
	}
}

func TestTurnServer_NoneAndGuests(t *testing.T) {
	if got, err := answer(t, config.TURN{}, web.Requester{}); err != nil || got != `{}` {
		t.Fatalf("%s %v", got, err)
	}
	if got, err := answer(t, config.TURN{}, web.Requester{Guest: true}); !errors.Is(err, mautrix.RespError{ErrCode: "M_GUEST_ACCESS_FORBIDDEN"}) {
		t.Fatalf("%s %v", got, err)
	}
	if got, err := answer(t, config.TURN{Guests: true}, web.Requester{Guest: true}); err != nil || got != `{}` {
		t.Fatalf("%s %v", got, err)
	}
}
