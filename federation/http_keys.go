package federation

import (
	"context"
	"encoding/json"
	"time"

	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/web"
)

const (
	// maxNotary bounds the servers that one question to us as a notary may name, notaryTimeout how long it may take.
	maxNotary     = 100
	notaryTimeout = 20 * time.Second
)

// OwnKeysIn may name one key, which older servers do; the answer holds all.
type OwnKeysIn struct {
	KeyID string `path:"keyId"`
}

// GetServerKeyOld is the older form of GetServerKeys. spec: ss#get_matrixkeyv2server
func (f *Federation) GetServerKeyOld(ctx context.Context, who web.Requester, _ OwnKeysIn) (web.Bytes, error) {
	return f.GetServerKeys(ctx, who, struct{}{})
}

// GetServerKeys publishes our keys. spec: ss#get_matrixkeyv2server
func (f *Federation) GetServerKeys(context.Context, web.Requester, struct{}) (web.Bytes, error) {
	doc, err := f.Keys.document()
	return web.Bytes(doc), err
}

// NotaryIn asks for keys of several servers: server, key ID, criteria.
type NotaryIn struct {
	ServerKeys map[string]map[string]struct {
		MinimumValidUntil int64 `json:"minimum_valid_until_ts"`
	} `json:"server_keys"`
}

// NotaryOut is a list of key documents with our signature added.
type NotaryOut struct {
	ServerKeys []json.RawMessage `json:"server_keys"`
}

// PostKeyQuery answers as a notary. spec: ss#post_matrixkeyv2query
func (f *Federation) PostKeyQuery(ctx context.Context, _ web.Requester, in NotaryIn) (NotaryOut, error) {
	want := map[string]int64{}
	for server, keys := range in.ServerKeys {
		until := int64(0)
		for _, c := range keys {
			until = max(until, c.MinimumValidUntil)
		}
		want[server] = until
	}
	return f.notary(ctx, want)
}

// NotaryServerIn asks for the keys of one server.
type NotaryServerIn struct {
	Server            string `path:"serverName"`
	MinimumValidUntil int64  `query:"minimum_valid_until_ts"`
}

// NotaryKeyIn asks for one key of one server, as older servers do.
type NotaryKeyIn struct {
	KeyID string `path:"keyId"`
	NotaryServerIn
}

// GetKeyQueryOld is the older form of GetKeyQuery. spec: ss#get_matrixkeyv2queryservername
func (f *Federation) GetKeyQueryOld(ctx context.Context, who web.Requester, in NotaryKeyIn) (NotaryOut, error) {
	return f.GetKeyQuery(ctx, who, in.NotaryServerIn)
}

// GetKeyQuery answers as a notary for one server. spec: ss#get_matrixkeyv2queryservername
func (f *Federation) GetKeyQuery(ctx context.Context, _ web.Requester, in NotaryServerIn) (NotaryOut, error) {
	return f.notary(ctx, map[string]int64{in.Server: in.MinimumValidUntil})
}

func (f *Federation) notary(ctx context.Context, want map[string]int64) (NotaryOut, error) {
	if len(want) > maxNotary {
		return NotaryOut{}, mautrix.MInvalidParam.WithMessage("At most %d servers in one question", maxNotary)
	}
	limited, cancel := context.WithTimeout(ctx, notaryTimeout)
	defer cancel()
	docs := make(chan json.RawMessage, len(want))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(keyFetches)
	for server, until := range want {
		g.Go(func() error {
			doc, err := f.Keys.documentOf(gctx, limited, server, until)
			if err == nil && doc != nil {
				docs <- doc
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return NotaryOut{}, err
	}
	close(docs)
	out := NotaryOut{ServerKeys: []json.RawMessage{}}
	for d := range docs {
		out.ServerKeys = append(out.ServerKeys, d)
	}
	return out, nil
}

// documentOf gives a server's document with our signature, refreshed at most once, as long as limited lasts, when it is not
// valid for as long as asked. An expired one is better than none.
func (k *KeyRing) documentOf(ctx, limited context.Context, server string, until int64) (json.RawMessage, error) {
	if server == k.o.ServerName {
		return k.document()
	}
	if !event.ValidServerName(server) {
		return nil, nil
	}
	raw, fetched, err := k.readDocument(ctx, server)
	if err != nil {
		return nil, err
	}
	if valid := min(validUntil(raw), fetched+event.MaxKeyValidity); limited.Err() == nil && (raw == nil || valid < max(until, nowMS())) {
		if err := k.refresh(limited, server); err == nil {
			if raw, _, err = k.readDocument(ctx, server); err != nil {
				return nil, err
			}
		}
	}
	if raw == nil {
		return nil, nil
	}
	s := k.o.Signers[0]
	return event.SignJSON(raw, s.Server, s.KeyID, s.Key)
}

func validUntil(doc json.RawMessage) int64 {
	var d struct {
		ValidUntil int64 `json:"valid_until_ts"`
	}
	if json.Unmarshal(doc, &d) != nil {
		return 0
	}
	return d.ValidUntil
}
