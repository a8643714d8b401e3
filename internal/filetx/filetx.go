// Package filetx replaces several files, all of them or none. A reader sees each file whole, old or new, never a part of it. It
// knows nothing of what the files are for, and it writes nothing but the named files and, beside them and hidden by a leading dot,
// what it needs to replace them (an Asterisk glob passes hidden files over).
package filetx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// File is a file to be replaced or created, with its new content.
type File struct {
	Path    string
	Content []byte
}

// fileMode lets the group read, which is how Asterisk gets at its files, and nobody else: they hold secrets.
const fileMode = 0o640

// dirMode hands the group of a folder on to what is made in it (setgid).
const dirMode = 0o750 | fs.ModeSetgid

// Replace puts all contents in their places, or leaves all places as they were and says why. Missing folders are made, and stay.
// A file gets the group of its folder and mode 0640. When Replace returns nil the files survive a power cut. Only one Replace at
// a time may work on the same files.
func Replace(files []File) error {
	var staged []*replacement
	defer func() {
		for _, r := range staged {
			r.clean()
		}
	}()
	for _, f := range files {
		r := newReplacement(f.Path)
		staged = append(staged, r)
		if err := r.stage(f.Content); err != nil {
			return fmt.Errorf("cannot write %s: %w", f.Path, err)
		}
	}
	for i, r := range staged {
		if err := r.commit(); err != nil {
			err = fmt.Errorf("cannot replace %s: %w", r.path, err)
			for _, done := range staged[:i+1] {
				err = errors.Join(err, done.undo())
			}
			return err
		}
	}
	return nil
}

// replacement is one file on its way: next holds what comes, prev what was there.
type replacement struct {
	path, next, prev string
	existed          bool // prev is the old file
	moved            bool // next was renamed to path
}

func newReplacement(path string) *replacement {
	dir, name := filepath.Split(path)
	return &replacement{path: path, next: filepath.Join(dir, "."+name+".next"), prev: filepath.Join(dir, "."+name+".prev")}
}

// stage writes the new content beside its place, and safely to disk.
func (r *replacement) stage(content []byte) error {
	dir := filepath.Dir(r.path)
	if err := makeDir(dir); err != nil {
		return err
	}
	r.clean() // what a killed process left
	if err := writeSynced(dir, r.next, content); err != nil {
		return err
	}
	switch err := os.Link(r.path, r.prev); {
	case err == nil:
		r.existed = true
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

// commit moves the new content to its place.
func (r *replacement) commit() error {
	if err := os.Rename(r.next, r.path); err != nil {
		return err
	}
	r.moved = true
	return syncDir(filepath.Dir(r.path))
}

// undo puts back what was there before commit.
func (r *replacement) undo() error {
	var err error
	switch {
	case !r.moved:
		return nil
	case r.existed:
		err = os.Rename(r.prev, r.path)
	default:
		err = os.Remove(r.path)
	}
	if err = errors.Join(err, syncDir(filepath.Dir(r.path))); err != nil {
		return fmt.Errorf("cannot put back %s: %w", r.path, err)
	}
	return nil
}

// clean removes what is hidden beside the file. What cannot be removed is no fault of the transaction: the next one tries again.
func (r *replacement) clean() {
	_ = os.Remove(r.next)
	_ = os.Remove(r.prev)
}

// makeDir makes the missing folders of dir, each with its parent's group.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a folder", dir)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode.Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := takeGroup(parent, func(gid int) error { return os.Chown(dir, -1, gid) }); err != nil {
		return err
	}
	return errors.Join(os.Chmod(dir, dirMode), syncDir(parent))
}

// writeSynced makes the file, which must not exist, with mode and group set before it holds anything.
func writeSynced(dir, path string, content []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // the caller names the place
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err = takeGroup(dir, func(gid int) error { return f.Chown(-1, gid) }); err != nil {
		return err
	}
	if err = f.Chmod(fileMode); err != nil {
		return err
	}
	if _, err = f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

// takeGroup sets the group of dir on something new below it. Where the process may not (it is not of that group), the new thing keeps
// the process's own.
func takeGroup(dir string, chown func(gid int) error) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if err = chown(int(stat.Gid)); errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// syncDir makes renames and new names in a folder survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the caller names the place
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
