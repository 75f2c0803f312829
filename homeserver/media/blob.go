package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Blobs keeps file contents. Implementations are safe for concurrent use.
type Blobs interface {
	// Put stores all of r, at most limit bytes (ErrTooLarge beyond), and returns its name, the SHA-256 of the content
	// in hexadecimal. What was returned survives a crash.
	Put(ctx context.Context, r io.Reader, limit int64) (key string, size int64, err error)
	// Open returns ErrNoBlob when there is none.
	Open(ctx context.Context, key string) (io.ReadSeekCloser, error)
	Delete(ctx context.Context, key string) error
}

// Errors of Blobs.
var (
	ErrTooLarge = errors.New("content is larger than allowed")
	ErrNoBlob   = errors.New("no such blob")
)

// Disk keeps blobs in a folder, two levels deep by the first bytes of their names.
type Disk struct{ root string }

// NewDisk makes the folder when it is absent.
func NewDisk(root string) (*Disk, error) {
	if err := os.MkdirAll(filepath.Join(root, "tmp"), 0o750); err != nil {
		return nil, fmt.Errorf("media folder: %w", err)
	}
	return &Disk{root: root}, nil
}

func (d *Disk) path(key string) (string, error) {
	if raw, err := hex.DecodeString(key); err != nil || len(raw) != sha256.Size {
		return "", ErrNoBlob
	}
	return filepath.Join(d.root, key[:2], key[2:4], key), nil
}

// Put implements Blobs.
func (d *Disk) Put(_ context.Context, r io.Reader, limit int64) (string, int64, error) {
	f, err := os.CreateTemp(filepath.Join(d.root, "tmp"), "put-*")
	if err != nil {
		return "", 0, fmt.Errorf("media file: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(r, limit+1))
	if err != nil {
		return "", 0, fmt.Errorf("receive media: %w", err)
	}
	if size > limit {
		return "", 0, ErrTooLarge
	}
	key := hex.EncodeToString(h.Sum(nil))
	path, err := d.path(key)
	if err != nil {
		return "", 0, err
	}
	if st, err := os.Stat(path); err == nil && st.Size() == size {
		return key, size, nil
	}
	if err := f.Sync(); err != nil {
		return "", 0, fmt.Errorf("write media: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", 0, fmt.Errorf("media folder: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return "", 0, fmt.Errorf("place media: %w", err)
	}
	return key, size, syncFolder(filepath.Dir(path))
}

// syncFolder makes a rename durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("media folder: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("media folder: %w", err)
	}
	return nil
}

// Open implements Blobs.
func (d *Disk) Open(_ context.Context, key string) (io.ReadSeekCloser, error) {
	path, err := d.path(key)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoBlob
	}
	return f, err
}

// Delete implements Blobs.
func (d *Disk) Delete(_ context.Context, key string) error {
	path, err := d.path(key)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete media: %w", err)
	}
	return nil
}
