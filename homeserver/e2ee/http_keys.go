package e2ee

import (
	"context"
	"encoding/json"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

var errNoDevice = mautrix.MInvalidParam.WithMessage("This is for devices: the access token belongs to none")

// UploadIn is the body of keys/upload.
type UploadIn struct {
	DeviceKeys   json.RawMessage            `json:"device_keys"`
	OneTimeKeys  map[string]json.RawMessage `json:"one_time_keys"`
	FallbackKeys map[string]json.RawMessage `json:"fallback_keys"`
	OldFallback  map[string]json.RawMessage `json:"org.matrix.msc2732.fallback_keys"`
}

// UploadOut is the answer of keys/upload.
type UploadOut struct {
	Counts map[string]int `json:"one_time_key_counts"`
}

// PostUpload stores keys of the device that asks.
// spec: cs#post_matrixclientv3keysupload
func (k *Keys) PostUpload(ctx context.Context, who web.Requester, in UploadIn) (UploadOut, error) {
	if who.DeviceID == "" {
		return UploadOut{}, errNoDevice
	}
	if in.FallbackKeys == nil {
		in.FallbackKeys = in.OldFallback
	}
	counts, err := k.Upload(ctx, who.UserID, who.DeviceID, Upload{in.DeviceKeys, in.OneTimeKeys, in.FallbackKeys})
	return UploadOut{counts}, err
}

// QueryIn is the body of keys/query.
type QueryIn struct {
	Timeout    int64 `json:"timeout"`
	DeviceKeys Asked `json:"device_keys"`
}

// PostQuery returns keys of users.
// spec: cs#post_matrixclientv3keysquery
func (k *Keys) PostQuery(ctx context.Context, who web.Requester, in QueryIn) (web.Bytes, error) {
	if in.DeviceKeys == nil {
		return nil, mautrix.MBadJSON.WithMessage("Missing member \"device_keys\"")
	}
	a, err := k.QueryKeys(ctx, who.UserID, in.DeviceKeys, milliseconds(in.Timeout))
	if err != nil {
		return nil, err
	}
	return web.Bytes(a.Encode()), nil
}

func milliseconds(n int64) time.Duration {
	return time.Duration(max(0, min(n, maxTimeout.Milliseconds()))) * time.Millisecond
}

// ClaimIn is the body of keys/claim.
type ClaimIn struct {
	Timeout     int64  `json:"timeout"`
	OneTimeKeys Wanted `json:"one_time_keys"`
}

// ClaimOut is the answer of keys/claim.
type ClaimOut struct {
	OneTimeKeys Claimed  `json:"one_time_keys"`
	Failures    Failures `json:"failures"`
}

// PostClaim takes one-time keys.
// spec: cs#post_matrixclientv3keysclaim
func (k *Keys) PostClaim(ctx context.Context, _ web.Requester, in ClaimIn) (ClaimOut, error) {
	if in.OneTimeKeys == nil {
		return ClaimOut{}, mautrix.MBadJSON.WithMessage("Missing member \"one_time_keys\"")
	}
	claimed, failures, err := k.ClaimKeys(ctx, in.OneTimeKeys, milliseconds(in.Timeout))
	return ClaimOut{claimed, failures}, err
}

// ChangesIn are the parameters of keys/changes.
type ChangesIn struct {
	From string `query:"from"`
	To   string `query:"to"`
}

// ChangesOut is the answer of keys/changes.
type ChangesOut struct {
	Changed []id.UserID `json:"changed"`
	Left    []id.UserID `json:"left"`
}

// GetChanges returns whose device lists changed between two sync tokens.
// spec: cs#get_matrixclientv3keyschanges
func (k *Keys) GetChanges(ctx context.Context, who web.Requester, in ChangesIn) (ChangesOut, error) {
	from, err := stream.ParseToken(in.From)
	if err != nil {
		return ChangesOut{}, mautrix.MInvalidParam.WithMessage("from is not a sync token")
	}
	to := k.stream.Head()
	if in.To != "" {
		upTo, err := stream.ParseToken(in.To)
		if err != nil {
			return ChangesOut{}, mautrix.MInvalidParam.WithMessage("to is not a sync token")
		}
		to = min(to, upTo)
	}
	changed, left, err := k.DeviceListChanges(ctx, who.UserID, from, to)
	if changed == nil {
		changed = []id.UserID{}
	}
	if left == nil {
		left = []id.UserID{}
	}
	return ChangesOut{changed, left}, err
}
