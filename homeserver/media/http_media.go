package media

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

const (
	defaultWait = 20 * time.Second
	maxWait     = time.Minute
)

// PostUpload takes a file. spec: cs#post_matrixmediav3upload
func (m *Media) PostUpload(w http.ResponseWriter, r *http.Request, who web.Requester) error {
	if r.ContentLength > m.o.MaxUpload {
		return errTooLarge
	}
	mxc, err := m.Upload(r.Context(), who.UserID, uploadType(r), r.URL.Query().Get("filename"), http.MaxBytesReader(w, r.Body, m.o.MaxUpload+1))
	if err != nil {
		return clientFault(err)
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{"content_uri": mxc})
}

// PutUpload takes a file for an ID made before. spec: cs#put_matrixmediav3uploadservernamemediaid
func (m *Media) PutUpload(w http.ResponseWriter, r *http.Request, who web.Requester) error {
	if r.ContentLength > m.o.MaxUpload {
		return errTooLarge
	}
	err := m.UploadTo(r.Context(), who.UserID, r.PathValue("serverName"), r.PathValue("mediaId"), uploadType(r),
		r.URL.Query().Get("filename"), http.MaxBytesReader(w, r.Body, m.o.MaxUpload+1))
	if err != nil {
		return clientFault(err)
	}
	return web.WriteJSON(w, http.StatusOK, struct{}{})
}

func uploadType(r *http.Request) string {
	if t := r.Header.Get("Content-Type"); t != "" {
		return t
	}
	return "application/octet-stream"
}

// clientFault turns a body that broke off into the client's fault.
func clientFault(err error) error {
	var respErr mautrix.RespError
	if errors.As(err, &respErr) {
		return err
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return errTooLarge
	}
	return err
}

// CreateOut answers PostCreate.
type CreateOut struct {
	ContentURI id.ContentURIString `json:"content_uri"`
	Expires    int64               `json:"unused_expires_at"`
}

// PostCreate makes an ID for a later upload. spec: cs#post_matrixmediav1create
func (m *Media) PostCreate(ctx context.Context, who web.Requester, _ struct{}) (CreateOut, error) {
	mxc, expires, err := m.Create(ctx, who.UserID)
	return CreateOut{mxc, expires}, err
}

// ConfigOut answers GetConfig.
type ConfigOut struct {
	UploadSize int64 `json:"m.upload.size"`
}

// GetConfig tells limits. spec: cs#get_matrixclientv1mediaconfig
func (m *Media) GetConfig(context.Context, web.Requester, struct{}) (ConfigOut, error) {
	return ConfigOut{m.o.MaxUpload}, nil
}

// GetDownload serves a file. spec: cs#get_matrixclientv1mediadownloadservernamemediaid
func (m *Media) GetDownload(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	f, err := m.Download(r.Context(), r.PathValue("serverName"), r.PathValue("mediaId"), waitOf(r), remoteAllowed(r))
	if err != nil {
		return err
	}
	defer f.Content.Close()
	if name := cleanName(r.PathValue("fileName")); name != "" {
		f.Name = name
	}
	serve(w, r, f)
	return nil
}

// GetThumbnail serves a small picture. spec: cs#get_matrixclientv1mediathumbnailservernamemediaid
func (m *Media) GetThumbnail(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	q := ThumbnailQuery(r)
	q.Remote = remoteAllowed(r)
	f, err := m.Thumbnail(r.Context(), r.PathValue("serverName"), r.PathValue("mediaId"), q)
	if err != nil {
		return err
	}
	defer f.Content.Close()
	serve(w, r, f)
	return nil
}

// ThumbnailQuery reads the query of the client's and the servers' thumbnail endpoints.
func ThumbnailQuery(r *http.Request) ThumbnailRequest {
	v := r.URL.Query()
	width, _ := strconv.Atoi(v.Get("width"))
	height, _ := strconv.Atoi(v.Get("height"))
	return ThumbnailRequest{Width: width, Height: height, Method: v.Get("method"), Animated: v.Get("animated") == "true", Timeout: waitOf(r)}
}

// legacy wraps a handler of the deprecated endpoints, which need no access token.
func (m *Media) legacy(fn func(http.ResponseWriter, *http.Request, web.Requester) error) func(http.ResponseWriter, *http.Request, web.Requester) error {
	return func(w http.ResponseWriter, r *http.Request, who web.Requester) error {
		if !m.o.LegacyDownload {
			return errNotFound
		}
		return fn(w, r, who)
	}
}

// GetDownloadLegacy serves a file without authentication. spec: cs#get_matrixmediav3downloadservernamemediaid
func (m *Media) GetDownloadLegacy(w http.ResponseWriter, r *http.Request, who web.Requester) error {
	return m.legacy(m.GetDownload)(w, r, who)
}

// GetThumbnailLegacy serves a picture without authentication. spec: cs#get_matrixmediav3thumbnailservernamemediaid
func (m *Media) GetThumbnailLegacy(w http.ResponseWriter, r *http.Request, who web.Requester) error {
	return m.legacy(m.GetThumbnail)(w, r, who)
}

// GetPreview describes a link. spec: cs#get_matrixclientv1mediapreview_url
func (m *Media) GetPreview(w http.ResponseWriter, r *http.Request, who web.Requester) error {
	link := r.URL.Query().Get("url")
	if link == "" {
		return web.MMissingParam.WithMessage("url is missing")
	}
	body, err := m.Preview(r.Context(), who.UserID, link)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, body)
}

func waitOf(r *http.Request) time.Duration {
	ms, err := strconv.ParseInt(r.URL.Query().Get("timeout_ms"), 10, 64)
	if err != nil || ms < 0 {
		return defaultWait
	}
	return min(time.Duration(ms)*time.Millisecond, maxWait)
}

func remoteAllowed(r *http.Request) bool { return r.URL.Query().Get("allow_remote") != "false" }

// serve writes a file with the headers that keep a browser from running anything in it
// (spec: cs#content-repository, "Serving content" and "Content security").
func serve(w http.ResponseWriter, r *http.Request, f *File) {
	h := w.Header()
	h.Set("Content-Type", f.Type)
	h.Set("Content-Disposition", Disposition(f.Type, f.Name))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; media-src 'self'; object-src 'self';")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	h.Set("ETag", `"`+f.Hash+`"`)
	if t, _, err := mime.ParseMediaType(f.Type); err != nil || t == "" {
		h.Set("Content-Type", "application/octet-stream")
	}
	http.ServeContent(w, r, "", time.Time{}, f.Content)
}
