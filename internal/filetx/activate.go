package filetx

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Activate makes generation n current, forwards or back: the only operation that changes what is read through the fixed paths. When it returns nil the
// change survives a power cut. When it returns an error nothing has changed, unless the error is ErrInDoubt.
//
// The caller passes the content that it has seen in the current generation; if it differs by now, the change is reverted with ErrDrift, and the edited
// files are read again.
func (t *Tree) Activate(n int, seen map[string][]byte) error {
	g, err := t.Read(n)
	if err != nil {
		return fmt.Errorf("cannot switch to generation %d: %w", n, err)
	}
	old, err := t.pointer(current)
	if err == nil {
		err = t.linkAll(old, g)
	}
	if err != nil {
		return fmt.Errorf("cannot switch to generation %d: %w", n, err)
	}
	moved, err := t.point(current, n)
	if err == nil && old > 0 { // checked last: an earlier change shows, and later ones cannot reach it through the paths
		err = t.unedited(old, seen)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("cannot switch to generation %d: %w", n, err)
	if !moved {
		return err
	}
	// The new generation is read already, but might be lost in a power cut. Either the way back is certain, or the result is in doubt.
	if _, back := t.point(current, old); back != nil {
		return errors.Join(fmt.Errorf("flip to generation %d %w", n, ErrInDoubt), err, back)
	}
	return err
}

// linkAll ensures that every fixed path of a generation's files is our link. It creates only those of optional files that generation old, which is
// current, lacks: they are dangling until g is current.
func (t *Tree) linkAll(old int, g Generation) error {
	for _, l := range t.links {
		kind, err := t.kind(l)
		had := false
		if err == nil && kind == Missing && l.Optional {
			had, err = t.exists(t.path(generation(old), l.Name))
		}
		if err != nil || !l.mayBe(kind, had) { // if one path is not ours the others would show a different generation
			return fmt.Errorf("%s: %w", l.Path, errors.Join(err, ErrDrift))
		}
		if _, has := g.Files[l.Name]; kind == Missing && has {
			if err := t.link(l); err != nil {
				return fmt.Errorf("cannot put a link at %s: %w", l.Path, err)
			}
		}
	}
	return nil
}

// Doubt records that it is no longer known whether generation n, which may be the good one, is good. This lasts, across flips, until a generation is
// accepted.
func (t *Tree) Doubt(n int) error {
	if _, err := t.point(doubted, n); err != nil {
		return fmt.Errorf("cannot doubt generation %d: %w", n, err)
	}
	return nil
}

// MarkVerified makes generation n, which must be current, the good one: the target of a rollback.
func (t *Tree) MarkVerified(n int) error {
	now, err := t.pointer(current)
	if err == nil && now != n {
		err = fmt.Errorf("generation %d is current", now)
	}
	if err == nil {
		_, err = t.point(good, n)
	}
	if err == nil {
		err = t.remove(t.path(doubted)) // if it reappears after a power cut, the generation is only checked once more
	}
	if err != nil {
		return fmt.Errorf("cannot accept generation %d: %w", n, err)
	}
	return nil
}

// point makes current, good or doubted lead to generation n; 0 removes the link. After an error, moved reports whether it may lead there already.
func (t *Tree) point(name string, n int) (moved bool, err error) {
	if n == 0 {
		err = t.fs.Remove(t.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = t.replaceByLink(generation(n), t.path("."+name+"-next"), t.path(name))
	}
	if err != nil {
		// A rename can have happened although it failed: over a network its response can be lost.
		is, readErr := t.pointer(name)
		return readErr != nil || is == n, err
	}
	return true, t.fs.SyncDir(t.dir)
}

// replaceByLink puts a link at path, replacing what is there atomically.
func (t *Tree) replaceByLink(target, tmp, path string) error {
	if err := t.remove(tmp); err != nil {
		return err
	}
	if err := t.fs.Symlink(target, tmp); err != nil {
		_ = t.fs.Remove(tmp)
		return err
	}
	if err := t.fs.Rename(tmp, path); err != nil {
		_ = t.fs.Remove(tmp)
		return err
	}
	return nil
}

// remove is Remove that ignores a missing file.
func (t *Tree) remove(path string) error {
	there, err := t.exists(path)
	if err != nil || !there {
		return err
	}
	return t.fs.Remove(path)
}

// link puts our link at a fixed path.
func (t *Tree) link(l Link) error {
	target, err := t.target(l)
	if err != nil {
		return err
	}
	if err := t.replaceByLink(target, next(l), l.Path); err != nil {
		return err
	}
	return t.fs.SyncDir(filepath.Dir(l.Path))
}

// next returns the temporary name of the link that is about to replace a fixed path.
func next(l Link) string {
	dir, name := filepath.Split(l.Path)
	return filepath.Join(dir, "."+name+".next")
}
