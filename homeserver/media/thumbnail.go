package media

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/draw"
	_ "image/gif" // decoder
	"image/jpeg"
	"image/png"
	"io"
	"time"

	xdraw "golang.org/x/image/draw"
	_ "golang.org/x/image/webp" // decoder
	"maunium.net/go/mautrix"
)

// Methods of the specification (cs#thumbnails).
const (
	Crop  = "crop"
	Scale = "scale"
)

// ThumbnailRequest is what a client asks for.
type ThumbnailRequest struct {
	Width, Height int
	Method        string
	Animated      bool
	Timeout       time.Duration
	Remote        bool
}

// thumbSize is one of the fixed sizes that are made, so that one file has few thumbnails however many are asked for.
type thumbSize struct {
	Width, Height int
	Method        string
	Animated      bool
}

func (s thumbSize) animated() int {
	if s.Animated {
		return 1
	}
	return 0
}

var thumbSizes = [...]thumbSize{
	{32, 32, Crop, false}, {96, 96, Crop, false}, {320, 240, Scale, false}, {640, 480, Scale, false}, {800, 600, Scale, false},
}

var (
	errBadThumbnail = mautrix.MInvalidParam.WithMessage("Width and height must be positive, method must be crop or scale")
	errNoThumbnail  = mautrix.RespError{ErrCode: "M_UNKNOWN", Err: "Cannot make a thumbnail of this media", StatusCode: 400}
	errImageTooBig  = mautrix.RespError{ErrCode: "M_TOO_LARGE", Err: "Image has too many pixels", StatusCode: 413}
)

// chooseSize picks the smallest fixed size that covers the request; crops of large sizes are scaled ones.
func chooseSize(q ThumbnailRequest) thumbSize {
	best := thumbSizes[len(thumbSizes)-1]
	for _, s := range thumbSizes {
		if s.Method == q.Method && s.Width >= q.Width && s.Height >= q.Height {
			best = s
			break
		}
		if q.Method == Crop && s.Method == Scale && s.Width >= q.Width && s.Height >= q.Height {
			best = thumbSize{s.Width, s.Height, Crop, false}
			break
		}
	}
	best.Animated = q.Animated
	return best
}

// Thumbnail opens a smaller picture of a file, made once and kept.
func (m *Media) Thumbnail(ctx context.Context, server, mediaID string, q ThumbnailRequest) (*File, error) {
	if q.Method == "" {
		q.Method = Scale
	}
	if q.Width <= 0 || q.Height <= 0 || (q.Method != Crop && q.Method != Scale) {
		return nil, errBadThumbnail
	}
	src, err := m.Download(ctx, server, mediaID, q.Timeout, q.Remote)
	if err != nil {
		return nil, err
	}
	size := chooseSize(q)
	if size.Animated && src.Type != "image/gif" {
		size.Animated = false
	}
	t, err := m.findThumb(ctx, src.Hash, size)
	if err != nil || t != nil {
		src.Content.Close()
		if err != nil {
			return nil, err
		}
		return m.openThumb(ctx, src, t)
	}
	defer src.Content.Close()
	return m.makeThumb(ctx, src, size)
}

func (m *Media) openThumb(ctx context.Context, src *File, t *thumbRow) (*File, error) {
	content, err := m.o.Blobs.Open(ctx, t.Blob)
	if err != nil {
		return nil, fmt.Errorf("open thumbnail: %w", err)
	}
	return &File{Content: content, Type: t.Type, Size: t.Size, Created: src.Created, Hash: t.Blob, Name: "thumbnail" + extension(t.Type)}, nil
}

func (m *Media) makeThumb(ctx context.Context, src *File, size thumbSize) (*File, error) {
	select {
	case m.thumbs <- struct{}{}:
		defer func() { <-m.thumbs }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	data, contentType, err := m.shrink(src, size)
	if err != nil {
		return nil, err
	}
	key, n, err := m.o.Blobs.Put(ctx, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	t := thumbRow{Type: contentType, Blob: key, Size: n}
	if err := m.insertThumb(ctx, src.Hash, size, t); err != nil {
		return nil, err
	}
	return m.openThumb(ctx, src, &t)
}

// shrink decodes and scales. The declared type of the upload is not believed: the bytes decide.
func (m *Media) shrink(src *File, size thumbSize) ([]byte, string, error) {
	cfg, format, err := image.DecodeConfig(src.Content)
	if err != nil {
		return nil, "", errNoThumbnail
	}
	if cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > m.o.MaxPixels/cfg.Height {
		return nil, "", errImageTooBig
	}
	if _, err := src.Content.Seek(0, io.SeekStart); err != nil {
		return nil, "", fmt.Errorf("read media: %w", err)
	}
	if size.Animated && format == "gif" {
		return shrinkGIF(src.Content, cfg, size, m.o.MaxPixels)
	}
	img, _, err := image.Decode(src.Content)
	if err != nil {
		return nil, "", errNoThumbnail
	}
	small := resize(img, size)
	var out bytes.Buffer
	if format == "jpeg" {
		if err := jpeg.Encode(&out, small, &jpeg.Options{Quality: 82}); err != nil {
			return nil, "", fmt.Errorf("encode thumbnail: %w", err)
		}
		return out.Bytes(), "image/jpeg", nil
	}
	enc := png.Encoder{CompressionLevel: png.DefaultCompression}
	if err := enc.Encode(&out, small); err != nil {
		return nil, "", fmt.Errorf("encode thumbnail: %w", err)
	}
	return out.Bytes(), "image/png", nil
}

// fit returns the part of the source to use and the size to give it. Pictures are never made larger.
func fit(b image.Rectangle, s thumbSize) (from image.Rectangle, w, h int) {
	sw, sh := b.Dx(), b.Dy()
	if s.Method == Crop {
		w, h = min(s.Width, sw), min(s.Height, sh)
		// The largest part of the source with the proportions asked for, from its middle.
		cw, ch := sw, sw*h/w
		if ch > sh {
			cw, ch = sh*w/h, sh
		}
		cw, ch = max(cw, 1), max(ch, 1)
		x, y := b.Min.X+(sw-cw)/2, b.Min.Y+(sh-ch)/2
		return image.Rect(x, y, x+cw, y+ch), w, h
	}
	w, h = s.Width, max(sh*s.Width/sw, 1)
	if h > s.Height {
		w, h = max(sw*s.Height/sh, 1), s.Height
	}
	if w >= sw || h >= sh {
		w, h = sw, sh
	}
	return b, w, h
}

func resize(img image.Image, s thumbSize) image.Image {
	from, w, h := fit(img.Bounds(), s)
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	xdraw.CatmullRom.Scale(out, out.Bounds(), img, from, draw.Src, nil)
	return out
}
