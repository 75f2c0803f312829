package media

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

const alice = id.UserID("@alice:here")

func repository(t *testing.T, db *database.DB, change ...func(*Options)) *Media {
	t.Helper()
	disk, err := NewDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{ServerName: "here", DB: db, Blobs: disk, MaxUpload: 1 << 20}
	for _, c := range change {
		c(&o)
	}
	return New(o)
}

func mediaID(t *testing.T, uri id.ContentURIString) string {
	t.Helper()
	u, err := uri.Parse()
	if err != nil {
		t.Fatal(err)
	}
	return u.FileID
}

func picture(t *testing.T, w, h int) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for x := range w {
		for y := range h {
			img.Set(x, y, color.NRGBA{uint8(x), uint8(y), 100, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func errcode(err error) string {
	var e mautrix.RespError
	if errors.As(err, &e) {
		return e.ErrCode
	}
	return ""
}

func TestUpload_ComesBackAsItWas(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		m, ctx := repository(t, db), context.Background()
		uri, err := m.Upload(ctx, alice, "text/plain; charset=utf-8", `C:\docs\été.txt`, strings.NewReader("bonjour"))
		if err != nil {
			t.Fatal(err)
		}
		f, err := m.Download(ctx, "here", mediaID(t, uri), 0, false)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Content.Close()
		body, _ := io.ReadAll(f.Content)
		if string(body) != "bonjour" || f.Name != "été.txt" || f.Type != "text/plain; charset=utf-8" || f.Size != 7 {
			t.Fatalf("got %q %+v", body, f)
		}
		if _, err := m.Upload(ctx, alice, "x", "", io.LimitReader(zeros{}, 1<<20+1)); errcode(err) != "M_TOO_LARGE" {
			t.Fatalf("an upload over the limit gave %v", err)
		}
		if _, err := m.Download(ctx, "here", "nothing", 0, false); errcode(err) != "M_NOT_FOUND" {
			t.Fatalf("an unknown ID gave %v", err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestCreate_UploadLaterWakesWaiters(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		m, ctx := repository(t, db), context.Background()
		uri, _, err := m.Create(ctx, alice)
		if err != nil {
			t.Fatal(err)
		}
		mid := mediaID(t, uri)
		if _, err := m.Download(ctx, "here", mid, 0, false); errcode(err) != "M_NOT_YET_UPLOADED" {
			t.Fatalf("a pending ID gave %v", err)
		}
		if err := m.UploadTo(ctx, "@bob:here", "here", mid, "text/plain", "", strings.NewReader("x")); errcode(err) != "M_FORBIDDEN" {
			t.Fatalf("somebody else's ID gave %v", err)
		}
		got := make(chan error, 1)
		go func() {
			f, err := m.Download(ctx, "here", mid, 30*time.Second, false)
			if err == nil {
				f.Content.Close()
			}
			got <- err
		}()
		if err := m.UploadTo(ctx, alice, "here", mid, "text/plain", "", strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		if err := m.UploadTo(ctx, alice, "here", mid, "text/plain", "", strings.NewReader("y")); errcode(err) != "M_CANNOT_OVERWRITE_MEDIA" {
			t.Fatalf("a second upload gave %v", err)
		}
	})
}

func TestThumbnail_CoversWhatIsAskedForAndNeverGrows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		m, ctx := repository(t, db), context.Background()
		uri, err := m.Upload(ctx, alice, "image/png", "a.png", bytes.NewReader(picture(t, 700, 300)))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			w, h         int
			method       string
			wantW, wantH int
		}{{30, 30, Crop, 32, 32}, {90, 90, Crop, 96, 96}, {300, 200, Scale, 320, 137}, {2000, 2000, Scale, 700, 300}, {20, 20, Crop, 32, 32}} {
			f, err := m.Thumbnail(ctx, "here", mediaID(t, uri), ThumbnailRequest{Width: c.w, Height: c.h, Method: c.method})
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := png.DecodeConfig(f.Content)
			f.Content.Close()
			if err != nil || cfg.Width != c.wantW || cfg.Height != c.wantH {
				t.Errorf("%+v gave %dx%d %v", c, cfg.Width, cfg.Height, err)
			}
		}
		if _, err := m.Thumbnail(ctx, "here", mediaID(t, uri), ThumbnailRequest{Width: -1, Height: 2}); errcode(err) != "M_INVALID_PARAM" {
			t.Errorf("a negative width gave %v", err)
		}
	})
}

func TestThumbnail_BombsAreRefusedBeforeDecoding(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		m, ctx := repository(t, db, func(o *Options) { o.MaxPixels = 1000 }), context.Background()
		uri, err := m.Upload(ctx, alice, "image/png", "", bytes.NewReader(picture(t, 100, 100)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Thumbnail(ctx, "here", mediaID(t, uri), ThumbnailRequest{Width: 10, Height: 10}); errcode(err) != "M_TOO_LARGE" {
			t.Fatalf("a picture of too many pixels gave %v", err)
		}
		uri, err = m.Upload(ctx, alice, "image/png", "", strings.NewReader("no picture"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Thumbnail(ctx, "here", mediaID(t, uri), ThumbnailRequest{Width: 10, Height: 10}); errcode(err) != "M_UNKNOWN" {
			t.Fatalf("text gave %v", err)
		}
	})
}

func TestThumbnail_AnimationKeepsItsFrames(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		m, ctx := repository(t, db), context.Background()
		g := &gif.GIF{}
		for i := range 3 {
			p := image.NewPaletted(image.Rect(0, 0, 400, 400), color.Palette{color.White, color.Black})
			p.Set(i, i, color.Black)
			g.Image, g.Delay = append(g.Image, p), append(g.Delay, 5)
		}
		var b bytes.Buffer
		if err := gif.EncodeAll(&b, g); err != nil {
			t.Fatal(err)
		}
		uri, err := m.Upload(ctx, alice, "image/gif", "", &b)
		if err != nil {
			t.Fatal(err)
		}
		f, err := m.Thumbnail(ctx, "here", mediaID(t, uri), ThumbnailRequest{Width: 90, Height: 90, Method: Crop, Animated: true})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Content.Close()
		small, err := gif.DecodeAll(f.Content)
		if err != nil || len(small.Image) != 3 || small.Config.Width != 96 {
			t.Fatalf("%v, %d frames of %d", err, len(small.Image), small.Config.Width)
		}
	})
}

type fakeRemote struct{ calls int }

func (r *fakeRemote) DownloadMedia(_ context.Context, _, mediaID string, _ time.Duration) (*RemoteFile, error) {
	r.calls++
	if mediaID == "gone" {
		return nil, errors.New("connection refused")
	}
	return &RemoteFile{Body: io.NopCloser(strings.NewReader("from afar")), Type: "text/plain", Name: "f"}, nil
}

func TestDownload_RemoteFilesAreFetchedOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		remote := &fakeRemote{}
		m, ctx := repository(t, db, func(o *Options) { o.Remote = remote }), context.Background()
		if _, err := m.Download(ctx, "there", "abc", time.Second, false); errcode(err) != "M_NOT_FOUND" {
			t.Fatalf("allow_remote=false gave %v", err)
		}
		for range 2 {
			f, err := m.Download(ctx, "there", "abc", time.Second, true)
			if err != nil {
				t.Fatal(err)
			}
			f.Content.Close()
		}
		if remote.calls != 1 {
			t.Fatalf("%d downloads", remote.calls)
		}
		if _, err := m.Download(ctx, "there", "gone", time.Second, true); errcode(err) != "M_NOT_FOUND" {
			t.Fatalf("a server that is gone gave %v", err)
		}
	})
}

func TestPreview_ReadsOpenGraph(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/p.png":
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write(picture(t, 30, 20))
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte(`<html><head><title>Plain</title><meta property="og:title" content="Größe"><meta name="description" content="what it is"><meta property="og:image" content="/p.png"></head><body><div>`))
		}
	}))
	defer page.Close()
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		m, ctx := repository(t, db, func(o *Options) {
			o.Previews = true
			o.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		}), context.Background()
		body, err := m.Preview(ctx, alice, page.URL+"/page#part")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"og:title":"Größe"`, `"og:description":"what it is"`, `"og:image":"mxc://here/`, `"og:image:width":30`} {
			if !strings.Contains(string(body), want) {
				t.Errorf("%s is missing in %s", want, body)
			}
		}
		if _, err := m.Preview(ctx, alice, page.URL+"/loop"); err == nil {
			t.Error("a redirect loop has a preview")
		}
		if _, err := m.Preview(ctx, alice, "file:///etc/passwd"); errcode(err) != "M_INVALID_PARAM" {
			t.Errorf("a file gave %v", err)
		}
	})
}

func TestDisposition_OnlySafeTypesAreInline(t *testing.T) {
	for _, c := range []struct{ contentType, name, want string }{
		{"image/png", "a.png", "inline; filename=a.png"},
		{"Text/Plain; charset=utf-8", "", "inline"},
		{"image/svg+xml", "x.svg", "attachment; filename=x.svg"},
		{"text/html", "a b.html", `attachment; filename="a b.html"`},
		{"image/png", "é.png", `inline; filename*=utf-8''%C3%A9.png`},
		{"broken", "", "attachment"},
	} {
		if got := Disposition(c.contentType, c.name); got != c.want {
			t.Errorf("%s %s: %s", c.contentType, c.name, got)
		}
	}
}

func FuzzReadPage(f *testing.F) {
	f.Add([]byte(`<meta property="og:title" content="x"><title>y</title>`), "text/html")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		og := map[string]any{}
		readPage(body, contentType, og)
		if len(og) > 60 {
			t.Fatalf("%d properties", len(og))
		}
	})
}

func FuzzCountFrames(f *testing.F) {
	f.Add([]byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\x2c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, _ := countFrames(bytes.NewReader(b)); n > len(b) {
			t.Fatalf("%d frames in %d bytes", n, len(b))
		}
	})
}

func FuzzShrink(f *testing.F) {
	for _, size := range []image.Point{{1, 1}, {40, 30}, {300, 2}} {
		img := image.NewNRGBA(image.Rectangle{Max: size})
		var asPNG, asJPEG, asGIF bytes.Buffer
		if png.Encode(&asPNG, img) != nil || jpeg.Encode(&asJPEG, img, nil) != nil || gif.Encode(&asGIF, img, nil) != nil {
			f.Fatal("no seeds")
		}
		for _, b := range []*bytes.Buffer{&asPNG, &asJPEG, &asGIF} {
			f.Add(b.Bytes(), true)
			f.Add(b.Bytes(), false)
		}
	}
	m := &Media{o: Options{MaxPixels: 100_000}}
	f.Fuzz(func(t *testing.T, b []byte, animated bool) {
		src := &File{Content: nopSeekCloser{bytes.NewReader(b)}}
		out, _, err := m.shrink(src, thumbSize{Width: 32, Height: 32, Method: Scale, Animated: animated})
		if err != nil {
			return
		}
		cfg, _, err := image.DecodeConfig(bytes.NewReader(out))
		if err != nil || cfg.Width > 32 || cfg.Height > 32 {
			t.Fatalf("%v %+v", err, cfg)
		}
	})
}

type nopSeekCloser struct{ io.ReadSeeker }

func (nopSeekCloser) Close() error { return nil }
