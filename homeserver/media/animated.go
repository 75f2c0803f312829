package media

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"io"
)

// maxFrames bounds the frames of an animated picture that is scaled, maxGIF its bytes.
const (
	maxFrames = 120
	maxGIF    = 16 << 20
)

// shrinkGIF scales an animated picture frame by frame. Frames are counted before anything is decoded, because the
// decoder keeps all of them in memory.
func shrinkGIF(r io.Reader, cfg image.Config, s thumbSize, maxPixels int) ([]byte, string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxGIF+1))
	if err != nil {
		return nil, "", fmt.Errorf("read media: %w", err)
	}
	frames, err := countFrames(bytes.NewReader(data))
	if err != nil || frames == 0 {
		return nil, "", errNoThumbnail
	}
	if len(data) > maxGIF || frames > maxFrames || frames*cfg.Width*cfg.Height > 2*maxPixels {
		return nil, "", errImageTooBig
	}
	g, err := gif.DecodeAll(bytes.NewReader(data))
	if err != nil || len(g.Image) == 0 {
		return nil, "", errNoThumbnail
	}
	var buf bytes.Buffer
	if err := gif.EncodeAll(&buf, scaleFrames(g, cfg, s)); err != nil {
		return nil, "", fmt.Errorf("encode thumbnail: %w", err)
	}
	return buf.Bytes(), "image/gif", nil
}

func scaleFrames(g *gif.GIF, cfg image.Config, s thumbSize) *gif.GIF {
	out := &gif.GIF{LoopCount: g.LoopCount}
	canvas := image.NewNRGBA(image.Rect(0, 0, cfg.Width, cfg.Height))
	before := image.NewNRGBA(canvas.Bounds())
	for i, f := range g.Image {
		copy(before.Pix, canvas.Pix)
		draw.Draw(canvas, f.Bounds(), f, f.Bounds().Min, draw.Over)
		small := resize(canvas, s)
		palette := append(color.Palette{color.Transparent}, f.Palette...)
		p := image.NewPaletted(small.Bounds(), palette[:min(len(palette), 256)])
		draw.Draw(p, p.Bounds(), small, image.Point{}, draw.Src)
		out.Image = append(out.Image, p)
		out.Delay = append(out.Delay, g.Delay[i])
		out.Disposal = append(out.Disposal, gif.DisposalBackground)
		switch g.Disposal[i] {
		case gif.DisposalBackground:
			draw.Draw(canvas, f.Bounds(), image.Transparent, image.Point{}, draw.Src)
		case gif.DisposalPrevious:
			copy(canvas.Pix, before.Pix)
		}
	}
	return out
}

var errGIF = errors.New("not a GIF picture")

// countFrames walks over the blocks of a GIF file without decoding them.
func countFrames(r io.Reader) (int, error) {
	br := bufio.NewReader(r)
	var head [13]byte
	if _, err := io.ReadFull(br, head[:]); err != nil || string(head[:3]) != "GIF" {
		return 0, errGIF
	}
	if err := skipTable(br, head[10]); err != nil {
		return 0, err
	}
	frames := 0
	for {
		kind, err := br.ReadByte()
		if err != nil {
			return frames, nil // a file that is cut off is judged by what it has
		}
		switch kind {
		case 0x21: // extension: a label, then sub-blocks
			if _, err := br.Discard(1); err != nil {
				return frames, errGIF
			}
		case 0x2C: // image
			frames++
			var desc struct {
				X, Y, W, H uint16
				Flags      byte
			}
			if err := binary.Read(br, binary.LittleEndian, &desc); err != nil {
				return frames, errGIF
			}
			if err := skipTable(br, desc.Flags); err != nil {
				return frames, err
			}
			if _, err := br.Discard(1); err != nil {
				return frames, errGIF
			}
		case 0x3B:
			return frames, nil
		default:
			return frames, errGIF
		}
		if err := skipSubBlocks(br); err != nil {
			return frames, err
		}
	}
}

func skipTable(br *bufio.Reader, flags byte) error {
	if flags&0x80 == 0 {
		return nil
	}
	if _, err := br.Discard(3 << ((flags & 7) + 1)); err != nil {
		return errGIF
	}
	return nil
}

func skipSubBlocks(br *bufio.Reader) error {
	for {
		n, err := br.ReadByte()
		if err != nil {
			return errGIF
		}
		if n == 0 {
			return nil
		}
		if _, err := br.Discard(int(n)); err != nil {
			return errGIF
		}
	}
}
