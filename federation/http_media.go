package federation

import (
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"time"

	"github.com/viaduc/viaduc/homeserver/media"
	"github.com/viaduc/viaduc/homeserver/web"
)

// GetMedia gives a file of this server. spec: ss#get_matrixfederationv1mediadownloadmediaid
func (f *Federation) GetMedia(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	file, err := f.Media.Download(r.Context(), f.ServerName, r.PathValue("mediaId"), timeoutOf(r), false)
	if err != nil {
		return err
	}
	return writeMultipart(w, file)
}

// GetMediaThumbnail gives a small picture. spec: ss#get_matrixfederationv1mediathumbnailmediaid
func (f *Federation) GetMediaThumbnail(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	q := media.ThumbnailQuery(r)
	q.Remote = false
	file, err := f.Media.Thumbnail(r.Context(), f.ServerName, r.PathValue("mediaId"), q)
	if err != nil {
		return err
	}
	return writeMultipart(w, file)
}

func timeoutOf(r *http.Request) time.Duration {
	ms, err := strconv.ParseInt(r.URL.Query().Get("timeout_ms"), 10, 64)
	if err != nil || ms < 0 {
		return 20 * time.Second
	}
	return min(time.Duration(ms)*time.Millisecond, time.Minute)
}

// writeMultipart writes the two parts: an empty JSON object, then the file.
func writeMultipart(w http.ResponseWriter, file *media.File) error {
	defer file.Content.Close()
	mw := multipart.NewWriter(w)
	w.Header().Set("Content-Type", "multipart/mixed; boundary="+mw.Boundary())
	w.WriteHeader(http.StatusOK)
	part, err := mw.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json"}})
	if err == nil {
		err = json.NewEncoder(part).Encode(struct{}{})
	}
	if err == nil {
		part, err = mw.CreatePart(textproto.MIMEHeader{"Content-Type": {file.Type}, "Content-Disposition": {media.Disposition(file.Type, file.Name)}})
	}
	if err == nil {
		_, err = io.Copy(part, file.Content)
	}
	if err == nil {
		err = mw.Close()
	}
	if err != nil {
		// The header is out: the connection is all that can tell the peer.
		panic(http.ErrAbortHandler)
	}
	return nil
}
