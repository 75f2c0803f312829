package media

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

// Options are what a Media is built from.
type Options struct {
	ServerName string
	DB         *database.DB
	Blobs      Blobs
	Remote     Remote       // nil: files of other servers are not found
	HTTP       *http.Client // for link previews; must refuse private addresses and follow no redirects
	// MaxUpload bounds one file in bytes; MaxRemote one file of another server.
	MaxUpload, MaxRemote int64
	// Previews turns link previews on.
	Previews bool
	// LegacyDownload serves the deprecated endpoints that need no access token.
	LegacyDownload bool
	// MaxPixels bounds an image before it is decoded.
	MaxPixels int
}

// Remote fetches files of other servers (spec: ss#get_matrixfederationv1mediadownloadmediaid).
type Remote interface {
	DownloadMedia(ctx context.Context, server, mediaID string, timeout time.Duration) (*RemoteFile, error)
}

// RemoteFile is a file as another server gives it. Body must be closed.
type RemoteFile struct {
	Body       io.ReadCloser
	Type, Name string
}

// File is something to be served.
type File struct {
	Content    io.ReadSeekCloser
	Type, Name string
	Size       int64
	Created    time.Time
	Hash       string // SHA-256, hexadecimal
}

// Media is the content repository.
type Media struct {
	o       Options
	fetches flights
	thumbs  chan struct{} // bounds images decoded at one time
	pending *pendingUploads
	preview *previewer
}

// Errors that people see.
var (
	errNotFound     = mautrix.MNotFound.WithMessage("No such media")
	errNotYet       = mautrix.RespError{ErrCode: "M_NOT_YET_UPLOADED", Err: "Media has not been uploaded yet", StatusCode: http.StatusGatewayTimeout}
	errOverwrite    = mautrix.RespError{ErrCode: "M_CANNOT_OVERWRITE_MEDIA", Err: "Media already exists", StatusCode: http.StatusConflict}
	errTooLarge     = mautrix.RespError{ErrCode: "M_TOO_LARGE", Err: "File is too large", StatusCode: http.StatusRequestEntityTooLarge}
	errNotYours     = mautrix.MForbidden.WithMessage("This media ID was created by someone else")
	errRemoteFailed = mautrix.RespError{ErrCode: "M_NOT_FOUND", Err: "Media could not be fetched from its server", StatusCode: http.StatusNotFound}
)

// unusedLifetime is how long an ID made ahead of its upload stays valid.
const unusedLifetime = 24 * time.Hour

// maxPending bounds IDs of one user that wait for their upload.
const maxPending = 64

// New returns a content repository.
func New(o Options) *Media {
	if o.MaxUpload <= 0 {
		o.MaxUpload = 100 << 20
	}
	if o.MaxRemote <= 0 {
		o.MaxRemote = o.MaxUpload
	}
	if o.MaxPixels <= 0 {
		o.MaxPixels = 40_000_000
	}
	m := &Media{o: o, thumbs: make(chan struct{}, 2), pending: newPendingUploads()}
	m.preview = newPreviewer(m)
	return m
}

func newMediaID() string {
	var b [15]byte
	_, _ = rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// MaxUpload is the size limit of one upload in bytes.
func (m *Media) MaxUpload() int64 { return m.o.MaxUpload }

// Upload stores a file of a local user and returns its URI.
func (m *Media) Upload(ctx context.Context, user id.UserID, contentType, name string, body io.Reader) (id.ContentURIString, error) {
	key, size, err := m.store(ctx, body, m.o.MaxUpload)
	if err != nil {
		return "", err
	}
	r := row{Origin: m.o.ServerName, MediaID: newMediaID(), UserID: string(user), Type: cleanType(contentType), Name: cleanName(name),
		Size: size, Blob: key, Created: now(), State: stateDone}
	if err := m.insert(ctx, r); err != nil {
		return "", err
	}
	return uri(r.Origin, r.MediaID), nil
}

// Create makes an ID for a later upload (spec: cs#post_matrixmediav1create). The second result is the time in ms at
// which it ends unused.
func (m *Media) Create(ctx context.Context, user id.UserID) (id.ContentURIString, int64, error) {
	n, err := m.countPending(ctx, user)
	if err != nil {
		return "", 0, err
	}
	if n >= maxPending {
		return "", 0, mautrix.MLimitExceeded.WithMessage("Too many media IDs wait for their upload")
	}
	r := row{Origin: m.o.ServerName, MediaID: newMediaID(), UserID: string(user), Created: now(), State: statePending}
	if err := m.insert(ctx, r); err != nil {
		return "", 0, err
	}
	return uri(r.Origin, r.MediaID), r.Created + unusedLifetime.Milliseconds(), nil
}

// UploadTo uploads to an ID that Create gave to the same user.
func (m *Media) UploadTo(ctx context.Context, user id.UserID, server, mediaID, contentType, name string, body io.Reader) error {
	if server != m.o.ServerName {
		return mautrix.MForbidden.WithMessage("Media of another server cannot be uploaded here")
	}
	r, err := m.find(ctx, server, mediaID)
	switch {
	case err != nil:
		return err
	case r == nil:
		return errNotFound
	case r.State != statePending:
		return errOverwrite
	case r.UserID != string(user):
		return errNotYours
	case r.Created+unusedLifetime.Milliseconds() < now():
		return errNotFound
	}
	key, size, err := m.store(ctx, body, m.o.MaxUpload)
	if err != nil {
		return err
	}
	done, err := m.finish(ctx, mediaID, cleanType(contentType), cleanName(name), key, size)
	if err != nil {
		return err
	}
	if !done {
		return errOverwrite
	}
	m.pending.done(mediaID)
	return nil
}

func (m *Media) store(ctx context.Context, body io.Reader, limit int64) (string, int64, error) {
	key, size, err := m.o.Blobs.Put(ctx, body, limit)
	var tooLarge *http.MaxBytesError
	if errors.Is(err, ErrTooLarge) || errors.As(err, &tooLarge) {
		return "", 0, errTooLarge
	}
	return key, size, err
}

// Local opens a file that was uploaded here, waiting up to timeout for one whose upload is pending.
func (m *Media) Local(ctx context.Context, mediaID string, timeout time.Duration) (*File, error) {
	deadline := time.Now().Add(timeout)
	for {
		r, err := m.find(ctx, m.o.ServerName, mediaID)
		if err != nil {
			return nil, err
		}
		if r == nil || r.Quarantined || (r.State == statePending && r.Created+unusedLifetime.Milliseconds() < now()) {
			return nil, errNotFound
		}
		if r.State == stateDone {
			return m.open(ctx, r)
		}
		if !m.pending.wait(ctx, mediaID, time.Until(deadline)) {
			return nil, errNotYet
		}
	}
}

// Download opens a file, fetching it from its server when it is not here and remote is allowed.
func (m *Media) Download(ctx context.Context, server, mediaID string, timeout time.Duration, remote bool) (*File, error) {
	if !validID(mediaID) {
		return nil, errNotFound
	}
	if server == m.o.ServerName {
		return m.Local(ctx, mediaID, timeout)
	}
	r, err := m.find(ctx, server, mediaID)
	if err != nil {
		return nil, err
	}
	if r == nil {
		if !remote || m.o.Remote == nil {
			return nil, errNotFound
		}
		if err := m.fetches.do(ctx, server+"/"+mediaID, func(ctx context.Context) error { return m.fetch(ctx, server, mediaID, timeout) }); err != nil {
			return nil, err
		}
		if r, err = m.find(ctx, server, mediaID); err != nil {
			return nil, err
		}
	}
	if r == nil || r.Quarantined {
		return nil, errNotFound
	}
	return m.open(ctx, r)
}

func (m *Media) fetch(ctx context.Context, server, mediaID string, timeout time.Duration) error {
	rf, err := m.o.Remote.DownloadMedia(ctx, server, mediaID, timeout)
	if err != nil {
		var respErr mautrix.RespError
		if errors.As(err, &respErr) && respErr.ErrCode != "" && respErr.ErrCode != mautrix.MUnknown.ErrCode && respErr.StatusCode != 0 {
			return respErr
		}
		return errRemoteFailed
	}
	defer rf.Body.Close()
	key, size, err := m.store(ctx, rf.Body, m.o.MaxRemote)
	if errors.Is(err, errTooLarge) {
		return mautrix.RespError{ErrCode: "M_TOO_LARGE", Err: "Remote file is too large", StatusCode: http.StatusBadGateway}
	}
	if err != nil {
		return errRemoteFailed
	}
	return m.insert(ctx, row{Origin: server, MediaID: mediaID, Type: cleanType(rf.Type), Name: cleanName(rf.Name), Size: size,
		Blob: key, Created: now(), State: stateDone})
}

func (m *Media) open(ctx context.Context, r *row) (*File, error) {
	content, err := m.o.Blobs.Open(ctx, r.Blob)
	if errors.Is(err, ErrNoBlob) {
		return nil, errNotFound
	}
	if err != nil {
		return nil, err
	}
	return &File{Content: content, Type: r.Type, Name: r.Name, Size: r.Size, Created: time.UnixMilli(r.Created), Hash: r.Blob}, nil
}

func uri(origin, mediaID string) id.ContentURIString {
	return id.ContentURIString("mxc://" + origin + "/" + mediaID)
}

func now() int64 { return time.Now().UnixMilli() }

// validID accepts the opaque media IDs of the specification (cs#matrix-content-mxc-uris).
func validID(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// flights makes parallel fetches of one thing into one.
type flights struct {
	mu sync.Mutex
	m  map[string]*flight
}

type flight struct {
	done chan struct{}
	err  error
}

func (f *flights) do(ctx context.Context, key string, fn func(context.Context) error) error {
	f.mu.Lock()
	if f.m == nil {
		f.m = map[string]*flight{}
	}
	if c, ok := f.m[key]; ok {
		f.mu.Unlock()
		select {
		case <-c.done:
			return c.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c := &flight{done: make(chan struct{}), err: errRemoteFailed}
	f.m[key] = c
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.m, key)
		f.mu.Unlock()
		close(c.done)
	}()
	// One requester going away must not spoil the others' download.
	c.err = fn(context.WithoutCancel(ctx))
	return c.err
}
