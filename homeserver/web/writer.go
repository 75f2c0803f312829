package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"sync"
	"time"
)

// writeTimeout is how long a client may take to accept a piece of the answer.
const writeTimeout = 60 * time.Second

// responseWriter counts what is written, and gives slow readers a deadline.
type responseWriter struct {
	http.ResponseWriter
	ctl      *http.ResponseController
	status   int
	bytes    int64
	started  bool
	gzipOK   bool
	deadline time.Time
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *responseWriter) extend() {
	if now := time.Now(); now.After(w.deadline.Add(-writeTimeout * 3 / 4)) {
		w.deadline = now.Add(writeTimeout)
		_ = w.ctl.SetWriteDeadline(w.deadline)
	}
}

func (w *responseWriter) WriteHeader(status int) {
	if w.started {
		return
	}
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.started, w.status = true, status
	}
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	w.extend()
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// copyPiece is how much ReadFrom hands down before it extends the deadline.
const copyPiece = 4 << 20

// ReadFrom lets files go out without being copied through memory.
func (w *responseWriter) ReadFrom(r io.Reader) (total int64, err error) {
	rf, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	for {
		w.extend()
		n, err := rf.ReadFrom(io.LimitReader(r, copyPiece))
		w.bytes += n
		total += n
		if err != nil || n < copyPiece {
			return total, err
		}
	}
}

// Flush sends what is buffered.
func (w *responseWriter) Flush() {
	w.extend()
	_ = w.ctl.Flush()
}

// gzipMin is the size from which an answer is worth compressing.
const gzipMin = 8 << 10

var gzips = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	return z
}}

func (w *responseWriter) writeGzip(status int, body []byte) error {
	h := w.Header()
	h["Content-Type"] = headerJSON
	h.Set("Content-Encoding", "gzip")
	h.Add("Vary", "Accept-Encoding")
	w.WriteHeader(status)
	z := gzips.Get().(*gzip.Writer)
	defer gzips.Put(z)
	z.Reset(w)
	if _, err := z.Write(body); err != nil {
		return ignoreGone(err)
	}
	return ignoreGone(z.Close())
}
