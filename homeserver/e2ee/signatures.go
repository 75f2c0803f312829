package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

const maxSignatureUpload = 2000 // signed objects in one upload

// SignedObjects are what signatures/upload takes: user → device or master key → signed object.
type SignedObjects map[id.UserID]map[string]json.RawMessage

// SignatureFailures says which signatures were not taken, and why.
type SignatureFailures map[id.UserID]map[string]*mautrix.RespError

// UploadSignatures stores signatures of the user on own devices, on the own master key, and on master keys of others.
// What is wrong is reported for each object; the rest is stored.
// spec: cs#post_matrixclientv3keyssignaturesupload
func (k *Keys) UploadSignatures(ctx context.Context, user id.UserID, signed SignedObjects) (SignatureFailures, error) {
	n := 0
	users := []id.UserID{user}
	for target, objects := range signed {
		n += len(objects)
		users = append(users, target)
	}
	if n > maxSignatureUpload {
		return nil, mautrix.MTooLarge.WithMessage("Too many signatures in one upload")
	}
	unlock, err := k.uploads.lock(ctx, user)
	if err != nil {
		return nil, err
	}
	defer unlock()
	keys, err := k.keysOf(ctx, users)
	if err != nil {
		return nil, err
	}
	if err := k.fetchMasters(ctx, user, signed, keys); err != nil {
		return nil, err
	}
	s := &signing{user: user, own: keys[user]}
	u := &stream.Unit{}
	failures := SignatureFailures{}
	for target, objects := range signed {
		for name, raw := range objects {
			rows, err := s.check(target, name, raw, keys[target])
			if err != nil {
				failures.add(target, name, err)
				continue
			}
			if len(rows) > 0 {
				s.announce(u, target, name, rows)
			}
		}
	}
	if len(u.Writes) == 0 {
		return failures, nil
	}
	if _, err := k.stream.Commit(ctx, u); err != nil {
		return nil, fmt.Errorf("storing signatures: %w", err)
	}
	return failures, nil
}

// fetchMasters looks up master keys of remote users, at their servers if need be.
func (k *Keys) fetchMasters(ctx context.Context, user id.UserID, signed SignedObjects, keys map[id.UserID]*userKeys) error {
	asked := Asked{}
	for target := range signed {
		if !k.accounts.Local(target) {
			asked[target] = nil
		}
	}
	if len(asked) == 0 {
		return nil
	}
	a, err := k.QueryKeys(ctx, user, asked, 0)
	if err != nil {
		return err
	}
	for target := range asked {
		if master := a.Master[target]; master != nil {
			keys[target] = &userKeys{signing: map[string]json.RawMessage{usageMaster: master}, masterID: signingPublic(master)}
		}
	}
	return nil
}

func (f SignatureFailures) add(user id.UserID, name string, err error) {
	var e mautrix.RespError
	if !errors.As(err, &e) {
		e = mautrix.MUnknown.WithMessage("The signature could not be checked")
	}
	if f[user] == nil {
		f[user] = map[string]*mautrix.RespError{}
	}
	f[user][name] = &e
}

// signing checks the signatures of one user.
type signing struct {
	user id.UserID
	own  *userKeys
}

// check returns the rows of one signed object: those signatures that are right and that are the user's to make.
func (s *signing) check(target id.UserID, name string, raw json.RawMessage, keys *userKeys) ([]signatureRow, error) {
	o, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	var sigs signatures
	if err := o.read("signatures", &sigs); err != nil {
		return nil, err
	}
	stored := keys.devices[id.DeviceID(name)]
	master := name == keys.masterID && keys.masterID != ""
	if master {
		stored = keys.signing[usageMaster]
	}
	if stored == nil || (target != s.user && !master) {
		return nil, mautrix.MNotFound.WithMessage("No such device or master key")
	}
	if !sameSigned(stored, o) {
		return nil, mautrix.MInvalidParam.WithMessage("The signed object differs from the stored one")
	}
	var rows []signatureRow
	for keyID, sig := range sigs[string(s.user)] {
		if s.isKnown(target, name, keyID, sig) || isOwnDevice(target == s.user && !master, name, keyID) {
			continue
		}
		public, err := s.signer(target, master, keyID)
		if err != nil {
			return nil, err
		}
		one := o.with("signatures", signatures{string(s.user): {keyID: sig}})
		if err := verify(one, s.user, keyID, public); err != nil {
			return nil, err
		}
		rows = append(rows, signatureRow{s.user, target, name, keyID, sig})
	}
	return rows, nil
}

// isOwnDevice tells whether a signature on a device is that of the device itself, which belongs to its keys.
func isOwnDevice(onDevice bool, name, keyID string) bool { return onDevice && keyID == "ed25519:"+name }

func (s *signing) isKnown(target id.UserID, name, keyID, sig string) bool {
	return s.own.made[target][name][keyID] == sig
}

// signer is the public key with which the signature must have been made: devices by the self-signing key, the own master
// key by own devices, master keys of others by the user-signing key.
func (s *signing) signer(target id.UserID, master bool, keyID string) (string, error) {
	name := publicPart(keyID)
	usage := usageSelfSigning
	switch {
	case target == s.user && master:
		var keys map[string]string
		o, err := parseObject(s.own.devices[id.DeviceID(name)])
		if err != nil || o.read("keys", &keys) != nil || keys[keyID] == "" {
			return "", mautrix.MNotFound.WithMessage("No such device has signed")
		}
		return keys[keyID], nil
	case master:
		usage = usageUserSigning
	}
	public := signingPublic(s.own.signing[usage])
	if public == "" || public != name {
		return "", errInvalidSignature.WithMessage("Signed by another key than the %s key", usage)
	}
	return public, nil
}

// sameSigned compares two objects without signatures and unsigned.
func sameSigned(stored json.RawMessage, given object) bool {
	o, err := parseObject(stored)
	if err != nil {
		return false
	}
	trimmed := object{}
	for name, raw := range given {
		trimmed[name] = raw
	}
	for _, x := range []object{o, trimmed} {
		delete(x, "signatures")
		delete(x, "unsigned")
	}
	a, errA := o.canonical()
	b, errB := trimmed.canonical()
	return errA == nil && errB == nil && string(a) == string(b)
}

// announce adds the rows and who shall hear of them: everyone about a user's own keys, the user alone about a signature
// on somebody else's key.
func (s *signing) announce(u *stream.Unit, target id.UserID, name string, rows []signatureRow) {
	for _, r := range rows {
		u.Writes = append(u.Writes, stream.Write{Table: tableSignatures, Row: []any{r.Signer, r.TargetUser, r.TargetID, r.KeyID, r.Signature}})
	}
	switch {
	case target != s.user:
		u.Changes = append(u.Changes, stream.Change{Kind: stream.DeviceList, UserID: s.user, Ref: string(target)})
	case name == s.own.masterID:
		announceDevice(u, s.user, "")
	default:
		announceDevice(u, s.user, id.DeviceID(name))
	}
}
