package web

import (
	"net/url"
	"strings"

	"maunium.net/go/mautrix"
)

var errBadQuery = mautrix.MInvalidParam.WithMessage("The query is badly escaped")

func unescapeQuery(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, nil
	}
	return url.QueryUnescape(s)
}

// Query returns the first value of a query parameter, for Raw handlers; a
// badly escaped one counts as absent. It does not parse the others.
func Query(rawQuery, name string) (string, bool) {
	for rawQuery != "" {
		var pair string
		pair, rawQuery, _ = strings.Cut(rawQuery, "&")
		key, value, _ := strings.Cut(pair, "=")
		if key, err := unescapeQuery(key); err != nil || key != name {
			continue
		}
		value, err := unescapeQuery(value)
		if err != nil || !cleanText(value) {
			return "", false
		}
		return value, true
	}
	return "", false
}
