package e2e

import (
	"encoding/base64"

	"maunium.net/go/mautrix/crypto/ssss"
	"maunium.net/go/mautrix/event"
)

// storage is a user's secret storage on the server, opened with the recovery key.
type storage struct {
	p   *person
	key *ssss.Key
}

func (p *person) openStorage(recoveryKey string) storage {
	p.t.Helper()
	keyID, data, err := p.machine().SSSS.GetDefaultKeyData(p.ctx)
	must(p.t, err)
	key, err := data.VerifyRecoveryKey(keyID, recoveryKey)
	must(p.t, err)
	return storage{p, key}
}

func (s storage) set(kind event.Type, secret []byte) error {
	return s.p.machine().SSSS.SetEncryptedAccountData(s.p.ctx, kind, secret, s.key)
}

func (s storage) get(kind event.Type) ([]byte, error) {
	return s.p.machine().SSSS.GetDecryptedAccountData(s.p.ctx, kind, s.key)
}

func unpadded(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }
