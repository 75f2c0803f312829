package media

import (
	"mime"
	"path"
	"strings"
	"unicode/utf8"
)

// inlineTypes are the types that browsers may show in place (spec: cs#serving-inline-content).
var inlineTypes = map[string]bool{
	"text/css": true, "text/plain": true, "text/csv": true, "application/json": true, "application/ld+json": true,
	"image/jpeg": true, "image/gif": true, "image/png": true, "image/apng": true, "image/webp": true, "image/avif": true,
	"video/mp4": true, "video/webm": true, "video/ogg": true, "video/quicktime": true,
	"audio/mp4": true, "audio/webm": true, "audio/aac": true, "audio/mpeg": true, "audio/ogg": true, "audio/wave": true,
	"audio/wav": true, "audio/x-wav": true, "audio/x-pn-wav": true, "audio/flac": true, "audio/x-flac": true,
}

// Disposition is the Content-Disposition of a file: inline for safe types only.
func Disposition(contentType, name string) string {
	kind := "attachment"
	if t, _, err := mime.ParseMediaType(contentType); err == nil && inlineTypes[t] {
		kind = "inline"
	}
	if name == "" {
		return kind
	}
	if plainName(name) {
		return kind + `; filename=` + name
	}
	return mime.FormatMediaType(kind, map[string]string{"filename": name})
}

// plainName tells whether a name needs no quoting in a header.
func plainName(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}%'*`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// cleanType keeps a content type only if it is one.
func cleanType(s string) string {
	if len(s) > 255 {
		return "application/octet-stream"
	}
	if _, _, err := mime.ParseMediaType(s); err != nil {
		return "application/octet-stream"
	}
	return s
}

// cleanName bounds a file name and takes away path separators and control characters.
func cleanName(s string) string {
	if !utf8.ValidString(s) {
		return ""
	}
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return -1
		}
		return r
	}, s)
	s = path.Base(strings.ReplaceAll(s, `\`, "/"))
	if s == "." || s == "/" {
		return ""
	}
	for len(s) > 255 {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

func extension(contentType string) string {
	switch contentType {
	case "image/jpeg":
		return ".jpg"
	case "image/gif":
		return ".gif"
	default:
		return ".png"
	}
}
