package dbtest

import (
	"crypto/rand"
	"encoding/hex"
)

// unique is a name no other test uses.
func unique() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
