//go:build !unix

package main

import "context"

func (d *doctor) disk(context.Context) []finding {
	if err := writable(d.cfg.Media.Path); err != nil {
		return wrong("make the folder, and let the server's user write to it", "%v", err)
	}
	return ok("%s can be written to", d.cfg.Media.Path)
}
