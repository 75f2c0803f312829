package media

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/charset"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

const (
	previewPageBytes  = 1 << 20
	previewImageBytes = 10 << 20
	previewRedirects  = 5
	previewTimeout    = 20 * time.Second
	previewKept       = time.Hour
	previewMax        = 2000
	previewText       = 1000 // characters of one value
)

var (
	errPreviewOff    = mautrix.RespError{ErrCode: "M_UNRECOGNIZED", Err: "Link previews are turned off", StatusCode: http.StatusNotFound}
	errPreviewURL    = mautrix.MInvalidParam.WithMessage("Only http and https links can be previewed")
	errPreviewFailed = mautrix.MNotFound.WithMessage("The page could not be fetched")
)

// previewer fetches pages for link previews. Its client refuses private addresses at connect time.
type previewer struct {
	m       *Media
	fetches flights
	slots   chan struct{}

	mu   sync.Mutex
	kept map[string]keptPreview
}

type keptPreview struct {
	body json.RawMessage
	at   time.Time
}

func newPreviewer(m *Media) *previewer {
	return &previewer{m: m, slots: make(chan struct{}, 8), kept: map[string]keptPreview{}}
}

// Preview describes the page behind a link with OpenGraph properties (spec: cs#get_matrixclientv1mediapreview_url).
func (m *Media) Preview(ctx context.Context, user id.UserID, link string) (json.RawMessage, error) {
	if !m.o.Previews || m.o.HTTP == nil {
		return nil, errPreviewOff
	}
	u, err := url.Parse(link)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || len(link) > 2048 {
		return nil, errPreviewURL
	}
	u.Fragment = ""
	p, key := m.preview, u.String()
	if body, ok := p.get(key); ok {
		return body, nil
	}
	err = p.fetches.do(ctx, key, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, previewTimeout)
		defer cancel()
		body, err := p.make(ctx, user, u)
		if err == nil {
			p.put(key, body)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	body, _ := p.get(key)
	return body, nil
}

func (p *previewer) get(key string) (json.RawMessage, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, ok := p.kept[key]
	return k.body, ok && time.Since(k.at) < previewKept
}

func (p *previewer) put(key string, body json.RawMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.kept) >= previewMax {
		for k := range p.kept {
			delete(p.kept, k)
			if len(p.kept) < previewMax*9/10 {
				break
			}
		}
	}
	p.kept[key] = keptPreview{body, time.Now()}
}

func (p *previewer) make(ctx context.Context, user id.UserID, u *url.URL) (json.RawMessage, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, errPreviewFailed
	}
	final, contentType, body, err := p.fetch(ctx, u, previewPageBytes)
	if err != nil {
		return nil, err
	}
	og := map[string]any{}
	t, _, _ := mime.ParseMediaType(contentType)
	switch {
	case strings.HasPrefix(t, "image/"):
		p.addImage(ctx, user, og, final, final.String())
		og["og:title"] = cleanName(final.Path)
	case t == "text/html" || t == "application/xhtml+xml":
		image := readPage(body, contentType, og)
		if image != "" {
			p.addImage(ctx, user, og, final, image)
		}
	default:
		og["og:title"] = cleanName(final.Path)
	}
	return json.Marshal(og)
}

// fetch reads at most limit bytes, following redirects hop by hop.
func (p *previewer) fetch(ctx context.Context, u *url.URL, limit int64) (*url.URL, string, []byte, error) {
	for range previewRedirects + 1 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, "", nil, errPreviewURL
		}
		req.Header.Set("User-Agent", "Viaduc (link preview)")
		req.Header.Set("Accept", "text/html,application/xhtml+xml,image/*;q=0.8,*/*;q=0.1")
		res, err := p.m.o.HTTP.Do(req)
		if err != nil {
			return nil, "", nil, errPreviewFailed
		}
		if loc, err := res.Location(); err == nil && res.StatusCode/100 == 3 {
			res.Body.Close()
			if loc.Scheme != "http" && loc.Scheme != "https" {
				return nil, "", nil, errPreviewFailed
			}
			u = loc
			continue
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, limit))
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return nil, "", nil, errPreviewFailed
		}
		return u, res.Header.Get("Content-Type"), body, nil
	}
	return nil, "", nil, errPreviewFailed
}

func (p *previewer) addImage(ctx context.Context, user id.UserID, og map[string]any, base *url.URL, link string) {
	delete(og, "og:image")
	ref, err := base.Parse(link)
	if err != nil || (ref.Scheme != "http" && ref.Scheme != "https") {
		return
	}
	_, contentType, body, err := p.fetch(ctx, ref, previewImageBytes)
	if err != nil {
		return
	}
	cfg, _, err := image.DecodeConfig(bytes.NewReader(body))
	if err != nil {
		return
	}
	mxc, err := p.m.Upload(ctx, user, contentType, cleanName(ref.Path), bytes.NewReader(body))
	if err != nil {
		return
	}
	og["og:image"], og["og:image:type"], og["matrix:image:size"] = mxc, cleanType(contentType), len(body)
	og["og:image:width"], og["og:image:height"] = cfg.Width, cfg.Height
}

// readPage collects OpenGraph properties, with the title and description of the page where they are missing, and
// returns the link of the picture. It never builds a tree, so deep nesting costs nothing.
func readPage(body []byte, contentType string, og map[string]any) (picture string) {
	r, err := charset.NewReader(bytes.NewReader(body), contentType)
	if err != nil {
		return ""
	}
	z := html.NewTokenizer(r)
	z.SetMaxBuf(256 << 10)
	var title, description string
	inTitle := false
	for {
		switch z.Next() {
		case html.ErrorToken:
			setDefault(og, "og:title", title)
			setDefault(og, "og:description", description)
			picture, _ = og["og:image"].(string)
			return picture
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			switch string(name) {
			case "title":
				inTitle = title == ""
			case "meta":
				readMeta(z, more, og, &description)
			case "body":
				if _, ok := og["og:title"]; ok {
					setDefault(og, "og:description", description)
					picture, _ = og["og:image"].(string)
					return picture
				}
			}
		case html.TextToken:
			if inTitle {
				title = clip(string(z.Text()))
			}
		case html.EndTagToken:
			inTitle = false
		}
	}
}

func readMeta(z *html.Tokenizer, more bool, og map[string]any, description *string) {
	var property, name, content string
	for more {
		var k, v []byte
		k, v, more = z.TagAttr()
		switch string(k) {
		case "property":
			property = string(v)
		case "name":
			name = string(v)
		case "content":
			content = clip(string(v))
		}
	}
	if property == "" && strings.HasPrefix(name, "og:") {
		property = name
	}
	if strings.HasPrefix(property, "og:") && len(property) <= 64 && len(og) < 40 && content != "" {
		setDefault(og, property, content)
	}
	if name == "description" {
		*description = content
	}
}

func setDefault(og map[string]any, key, value string) {
	if _, ok := og[key]; !ok && value != "" {
		og[key] = value
	}
}

func clip(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if r := []rune(s); len(r) > previewText {
		return string(r[:previewText-1]) + "…"
	}
	return s
}
