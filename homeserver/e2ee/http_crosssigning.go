package e2ee

import (
	"context"
	"encoding/json"

	"github.com/viaduc/viaduc/homeserver/web"
)

// SigningIn is the body of keys/device_signing/upload.
type SigningIn struct {
	Auth           json.RawMessage `json:"auth"`
	MasterKey      json.RawMessage `json:"master_key"`
	SelfSigningKey json.RawMessage `json:"self_signing_key"`
	UserSigningKey json.RawMessage `json:"user_signing_key"`
}

// PostSigning stores cross-signing keys. Application services have nobody to ask, so they confirm nothing.
// spec: cs#post_matrixclientv3keysdevice_signingupload
// msc: 4190
func (k *Keys) PostSigning(ctx context.Context, who web.Requester, in SigningIn) (struct{}, error) {
	keys := SigningKeys{in.MasterKey, in.SelfSigningKey, in.UserSigningKey}
	return struct{}{}, k.UploadSigningKeys(ctx, who.UserID, keys, func(ctx context.Context) error {
		if who.AppService != nil {
			return nil
		}
		return k.accounts.ConfirmOwner(ctx, who.UserID, who.DeviceID, "upload cross-signing keys", in.Auth)
	})
}

// SignaturesIn is the body of keys/signatures/upload.
type SignaturesIn struct {
	Body json.RawMessage `body:"raw"`
}

// SignaturesOut is its answer.
type SignaturesOut struct {
	Failures SignatureFailures `json:"failures"`
}

// PostSignatures stores signatures.
// spec: cs#post_matrixclientv3keyssignaturesupload
func (k *Keys) PostSignatures(ctx context.Context, who web.Requester, in SignaturesIn) (SignaturesOut, error) {
	var signed SignedObjects
	if err := web.DecodeStrict(in.Body, false, &signed); err != nil {
		return SignaturesOut{}, err
	}
	failures, err := k.UploadSignatures(ctx, who.UserID, signed)
	return SignaturesOut{failures}, err
}
