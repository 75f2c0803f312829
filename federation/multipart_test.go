package federation

import (
	"io"
	"strings"
	"testing"
)

func FuzzFilePart(f *testing.F) {
	f.Add("multipart/mixed; boundary=b", "--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n")
	f.Add("multipart/mixed; boundary=b", "--b\r\n\r\n{}\r\n--b\r\nLocation: https://cdn.example/x\r\n\r\n\r\n--b--")
	f.Add("multipart/mixed; boundary=\"\"", "")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		part, err := filePart(contentType, strings.NewReader(body))
		if err != nil {
			return
		}
		if b, _ := io.ReadAll(part); len(b) > len(body) {
			t.Fatalf("%d bytes out of %d", len(b), len(body))
		}
		if name := dispositionName(part.Header.Get("Content-Disposition")); len(name) > len(body) {
			t.Fatalf("name %q", name)
		}
	})
}
