package filetx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"syscall"
)

// Stage writes a generation to disk, safely, and reads it back. It is not read through the fixed paths yet. When Stage fails, the remains of the
// generation are kept in failed/ as evidence: a file whose fsync failed once is never trusted again.
func (t *Tree) Stage(g Generation) (err error) {
	if err := t.acceptable(g); err != nil {
		return fmt.Errorf("cannot stage generation %d: %w", g.Number, err)
	}
	tmp, place := t.path(staging(g.Number)), t.path(generation(g.Number))
	defer func() {
		if err == nil {
			return
		}
		// What is at place is ours to remove only if it came from tmp.
		where := tmp
		if there, lookErr := t.exists(tmp); lookErr == nil && !there {
			where = place
		}
		err = errors.Join(fmt.Errorf("cannot stage generation %d: %w", g.Number, err), t.discard(where, err))
	}()
	if err := t.makeDir(t.path("gen")); err != nil {
		return err
	}
	if err := t.write(tmp, g); err != nil {
		return err
	}
	if err := t.fs.Rename(tmp, place); err != nil {
		return err
	}
	if err := t.fs.SyncDir(t.path("gen")); err != nil {
		return err
	}
	written, err := t.Read(g.Number)
	if err != nil {
		return err
	}
	if written.RunID != g.RunID || written.Parent != g.Parent || !maps.EqualFunc(written.Files, g.Files, bytes.Equal) {
		return fmt.Errorf("what was read back %w", ErrDamaged)
	}
	return nil
}

// acceptable returns an error for a generation that would not serve all fixed paths, or that would hide another.
func (t *Tree) acceptable(g Generation) error {
	if !serves(t, g.Files) {
		return errors.New("its files are not those the fixed paths lead to")
	}
	s, err := t.count()
	if err != nil {
		return err
	}
	if g.Number < s.Next() {
		return fmt.Errorf("numbers below %d are taken", s.Next())
	}
	return nil
}

// staging returns the path of generation n, relative to the tree, while it is written.
func staging(n int) string { return fmt.Sprintf("gen/.tmp-%06d", n) }

// write creates the folder of a generation, complete and safely on disk except for its name.
func (t *Tree) write(dir string, g Generation) error {
	m := record{g.Number, g.RunID, g.Parent, map[string]fingerprint{}}
	for name, content := range g.Files {
		m.Files[name] = t.fingerprintOf(name, content)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := t.fs.Mkdir(dir); err != nil {
		return err
	}
	files := map[string][]byte{filepath.Join(dir, manifest): append(text, '\n')}
	for name, content := range g.Files {
		files[filepath.Join(dir, name)] = content
	}
	if err := t.writeFiles(files); err != nil {
		return err
	}
	return t.fs.SyncDir(dir)
}

// writeFiles creates files, by path, that must not exist, safely on disk except for their names.
func (t *Tree) writeFiles(contents map[string][]byte) (err error) {
	var files []NewFile
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
	}()
	for _, path := range slices.Sorted(maps.Keys(contents)) {
		f, err := t.fs.Create(path)
		if err != nil {
			return err
		}
		files = append(files, f)
		if _, err := f.Write(contents[path]); err != nil {
			return err
		}
	}
	return t.fs.Sync(files...)
}

// makeDir creates the missing folders of dir, and makes their names durable.
func (t *Tree) makeDir(dir string) error {
	parent := filepath.Dir(dir)
	there, err := t.exists(dir)
	if err != nil || there {
		return err
	}
	if parent != dir { // the root is its own parent
		err = t.makeDir(parent)
	}
	if err != nil {
		return err
	}
	if err := t.fs.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return t.fs.SyncDir(parent)
}

// discard moves a generation or staging folder to failed/, replacing the evidence before it. One that failed because the disk is full is no evidence,
// and its space is needed.
func (t *Tree) discard(path string, because error) error {
	there, err := t.exists(path)
	if err != nil || !there {
		return err
	}
	if !errors.Is(because, syscall.ENOSPC) && !errors.Is(because, syscall.EDQUOT) {
		// Both folders, or a power cut restores the name of the evidence before this one, but not its files.
		err := errors.Join(t.fs.SyncDir(t.path("gen")), t.fs.SyncDir(t.dir))
		if err == nil {
			err = t.removeAll(t.path(failed))
		}
		if err == nil {
			err = t.fs.Rename(path, t.path(failed))
		}
		if err == nil {
			return nil
		}
	}
	// Hide it first: a generation is complete as long as it has its name.
	if n := number("gen/" + filepath.Base(path)); n > 0 && t.fs.Rename(path, t.path(hidden(n))) == nil {
		path = t.path(hidden(n))
		if err := t.fs.SyncDir(t.path("gen")); err != nil {
			return err
		}
	}
	return t.removeAll(path)
}

// hidden returns the path of generation n, relative to the tree, while it is removed.
func hidden(n int) string { return fmt.Sprintf("gen/.old-%06d", n) }

// removeAll removes path and everything in it.
func (t *Tree) removeAll(path string) error {
	mode, err := t.fs.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if mode.IsDir() {
		names, err := t.fs.ReadDir(path)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := t.removeAll(filepath.Join(path, name)); err != nil {
				return err
			}
		}
	}
	return t.fs.Remove(path)
}

// Prune removes old generations, except for the newest keep and those that current and good lead to. External changes in one are passed to save first;
// if that fails it stays.
func (t *Tree) Prune(keep int, save func(path string, content []byte) error) error {
	s, err := t.count()
	if err != nil {
		return err
	}
	var old []string
	var kept error
	for _, n := range s.Generations[:max(0, len(s.Generations)-keep)] {
		if n == s.Current || n == s.Good {
			continue
		}
		edits, err := t.edits(n)
		if err == nil {
			err = saveAll(edits, save)
		}
		if err != nil {
			kept = errors.Join(kept, fmt.Errorf("generation %d was changed externally, and the change cannot be saved: it is kept: %w", n, err))
			continue
		}
		// Hide it first: a generation is complete as long as it has its name.
		if err := t.fs.Rename(t.path(generation(n)), t.path(hidden(n))); err != nil {
			return fmt.Errorf("cannot remove generation %d: %w", n, err)
		}
		old = append(old, t.path(hidden(n)))
	}
	if len(old) == 0 {
		return kept
	}
	if err := t.fs.SyncDir(t.path("gen")); err != nil {
		return fmt.Errorf("cannot remove old generations: %w", err)
	}
	for _, path := range old {
		if err := t.removeAll(path); err != nil {
			return fmt.Errorf("cannot remove old generations: %w", err)
		}
	}
	return kept
}
