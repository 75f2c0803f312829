package stream

import (
	"strconv"

	"maunium.net/go/mautrix"
)

// Token is the sync token of a position.
//
// spec: cs#syncing
func Token(p Pos) string { return "s" + strconv.FormatInt(int64(p), 10) }

// ParseToken reads a sync token.
func ParseToken(token string) (Pos, error) {
	if len(token) > 1 && len(token) < 21 && token[0] == 's' && (token[1] != '0' || len(token) == 2) {
		if n, err := strconv.ParseUint(token[1:], 10, 63); err == nil {
			return Pos(n), nil
		}
	}
	return 0, mautrix.MInvalidParam.WithMessage("This is not a sync token of this server")
}
