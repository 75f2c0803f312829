//go:build !unix

package database

import (
	"fmt"
	"os"
)

// fileLock keeps a second process away from an SQLite file: the file exists while the process runs.
type fileLock struct{ f *os.File }

func lockFile(path string) (*fileLock, error) {
	_ = os.Remove(path) // fails while another process has it open
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("another process uses this database (%s exists): %w", path, err)
	}
	return &fileLock{f: f}, nil
}

func (l *fileLock) release() error {
	if l == nil {
		return nil
	}
	return l.f.Close()
}
