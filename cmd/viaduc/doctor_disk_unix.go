//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

func (d *doctor) disk(context.Context) []finding {
	folders := []string{d.cfg.Media.Path}
	if !d.cfg.Database.Postgres() {
		folders = append(folders, filepath.Dir(d.cfg.Database.URL))
	}
	var out []finding
	for _, dir := range folders {
		if err := writable(dir); err != nil {
			out = append(out, wrong("make the folder, and let the server's user write to it", "%v", err)...)
			continue
		}
		for _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) && filepath.Dir(dir) != dir; _, err = os.Stat(dir) {
			dir = filepath.Dir(dir)
		}
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			out = append(out, hint("", "%s: %v", dir, err)...)
			continue
		}
		free := uint64(st.Bavail) * uint64(st.Bsize)
		switch share := float64(st.Bavail) / float64(max(st.Blocks, 1)); {
		case free < 1<<30:
			out = append(out, wrong("make room; the server stops when the disk is full", "%s: %d MiB free", dir, free>>20)...)
		case share < 0.1:
			out = append(out, hint("make room, or watch it", "%s: %d GiB free, %.0f %%", dir, free>>30, share*100)...)
		default:
			out = append(out, ok("%s: %d GiB free", dir, free>>30)...)
		}
	}
	return out
}
