package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/viaduc/viaduc/homeserver/media"
)

// DownloadMedia implements media.Remote: the authenticated endpoint first (spec: ss#get_matrixfederationv1mediadownloadmediaid),
// then the deprecated one for servers that lack it.
func (c *Client) DownloadMedia(ctx context.Context, server, mediaID string, timeout time.Duration) (*media.RemoteFile, error) {
	d := &download{c: c, server: server, mediaID: mediaID}
	d.ctx, d.cancel = context.WithTimeout(ctx, timeout+mediaTimeout)
	waiting := time.AfterFunc(timeout+c.o.Timeout, d.cancel) // for the beginning of an answer
	defer waiting.Stop()
	file, err := d.open(timeout)
	if err != nil {
		d.cancel()
		return nil, mediaError(err)
	}
	return file, nil
}

// mediaTimeout is how long a file may take.
const mediaTimeout = 5 * time.Minute

// download is one file on its way. Its context ends when the file is closed.
type download struct {
	c               *Client
	ctx             context.Context
	cancel          func()
	server, mediaID string
}

func (d *download) open(timeout time.Duration) (*media.RemoteFile, error) {
	q := request{Method: http.MethodGet, Server: d.server, Path: v1 + "/media/download/" + esc(d.mediaID),
		Query: url.Values{"timeout_ms": {strconv.FormatInt(timeout.Milliseconds(), 10)}}}
	res, err := d.c.send(d.ctx, q)
	if err == nil {
		return d.openMultipart(res)
	}
	var refused *Error
	if !errors.As(err, &refused) || (!unsupported(err) && refused.ErrCode != "") {
		return nil, err
	}
	q.Path, q.Unsigned = "/_matrix/media/v3/download/"+esc(d.server)+"/"+esc(d.mediaID), true
	q.Query.Set("allow_remote", "false")
	if res, err = d.c.send(d.ctx, q); err != nil {
		return nil, err
	}
	return d.file(res.Header, res.Body, res.Body), nil
}

func (d *download) file(h interface{ Get(string) string }, r io.Reader, c io.Closer) *media.RemoteFile {
	return &media.RemoteFile{Body: cancelBody{readCloser{r, c}, d.cancel}, Type: h.Get("Content-Type"), Name: dispositionName(h.Get("Content-Disposition"))}
}

func mediaError(err error) error {
	var e *Error
	if errors.As(err, &e) && (e.ErrCode == "M_NOT_YET_UPLOADED" || e.ErrCode == "M_TOO_LARGE") {
		return tellable(e.RespError)
	}
	return fmt.Errorf("download media: %w", err)
}

func (d *download) openMultipart(res *http.Response) (*media.RemoteFile, error) {
	part, err := filePart(res.Header.Get("Content-Type"), res.Body)
	if err != nil {
		res.Body.Close()
		return nil, fmt.Errorf("media answer: %w", err)
	}
	if loc := part.Header.Get("Location"); loc != "" {
		res.Body.Close()
		return d.follow(loc)
	}
	return d.file(part.Header, part, res.Body), nil
}

// filePart finds the second part of an answer: after JSON of no meaning yet, the file or a Location.
func filePart(contentType string, r io.Reader) (*multipart.Part, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/mixed" || params["boundary"] == "" {
		return nil, errors.New("not multipart/mixed")
	}
	mr := multipart.NewReader(r, params["boundary"])
	first, err := mr.NextRawPart()
	if err != nil {
		return nil, err
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(first, errorBytes+1)); err != nil || n > errorBytes {
		return nil, errors.Join(errors.New("the part before the file is too long"), err)
	}
	return mr.NextRawPart()
}

// follow fetches from a content delivery address, through the same dialer, without signing.
func (d *download) follow(loc string) (*media.RemoteFile, error) {
	u, err := url.Parse(loc)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errors.New("media answer names no https address")
	}
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	res, err := d.c.plain.Do(req)
	if err != nil {
		return nil, fmt.Errorf("follow media: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, fmt.Errorf("follow media: HTTP %d", res.StatusCode)
	}
	return d.file(res.Header, res.Body, res.Body), nil
}

func dispositionName(header string) string {
	if header == "" {
		return ""
	}
	_, params, err := mime.ParseMediaType(header)
	if err != nil {
		return ""
	}
	return params["filename"]
}

type readCloser struct {
	io.Reader
	io.Closer
}

type cancelBody struct {
	io.ReadCloser
	cancel func()
}

func (b cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
