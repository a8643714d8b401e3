package filetx

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Flip makes generation n current, forwards or back: the one moment at which what is read through the fixed paths changes. When it
// returns nil the change survives a power cut. When it returns an error nothing has changed, unless the error is ErrInDoubt.
//
// The caller says what it has seen in the generation that is current; when something else lies there by now, the flip is taken back
// with ErrDrift, and what was changed is read again.
func (t *Tree) Flip(n int, seen map[string][]byte) error {
	g, err := t.Read(n)
	if err != nil {
		return fmt.Errorf("cannot flip to generation %d: %w", n, err)
	}
	old, err := t.pointer(current)
	if err == nil {
		err = t.linkAll(old, g)
	}
	if err != nil {
		return fmt.Errorf("cannot flip to generation %d: %w", n, err)
	}
	moved, err := t.point(current, n)
	if err == nil && old > 0 { // looked at last: what was changed before this moment shows, and later nobody reaches it through the paths
		err = t.unedited(old, seen)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("cannot flip to generation %d: %w", n, err)
	if !moved {
		return err
	}
	// The new generation is read already, but might be gone after a power cut. The way back must be certain, or nothing is.
	if _, back := t.point(current, old); back != nil {
		return errors.Join(fmt.Errorf("flip to generation %d %w", n, ErrInDoubt), err, back)
	}
	return err
}

// linkAll sees to it that every fixed path of a generation's files is our link. It makes only those of optional files that generation old,
// which is current, lacks: they lead nowhere until g is current.
func (t *Tree) linkAll(old int, g Generation) error {
	for _, l := range t.links {
		kind, err := t.kind(l)
		had := false
		if err == nil && kind == Missing && l.Optional {
			had, err = t.exists(t.path(generation(old), l.Name))
		}
		if err != nil || kind != Linked && (kind != Missing || !l.Optional || had) { // with one path in other hands the others would show another generation
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

// Doubt notes that it is no longer known whether generation n, which may be the good one, is good. It stays so, whatever is flipped
// meanwhile, until one is accepted.
func (t *Tree) Doubt(n int) error {
	if _, err := t.point(doubted, n); err != nil {
		return fmt.Errorf("cannot doubt generation %d: %w", n, err)
	}
	return nil
}

// Accept makes generation n, which must be current, the good one: where Recover goes back to.
func (t *Tree) Accept(n int) error {
	now, err := t.pointer(current)
	if err == nil && now != n {
		err = fmt.Errorf("generation %d is current", now)
	}
	if err == nil {
		_, err = t.point(good, n)
	}
	if err == nil {
		err = t.remove(t.path(doubted)) // should it come back after a power cut, then only to be looked at once more
	}
	if err != nil {
		return fmt.Errorf("cannot accept generation %d: %w", n, err)
	}
	return nil
}

// point lets current, good or doubted lead to generation n; 0 takes the link away. After an error, moved tells whether it may lead there already.
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
		// A rename can have happened although it failed: over a network its answer can be lost.
		is, readErr := t.pointer(name)
		return readErr != nil || is == n, err
	}
	return true, t.fs.SyncDir(t.dir)
}

// replaceByLink puts a link at path, whatever lies there, without a moment in which nothing does.
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

// remove is Remove for what may be missing.
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

// next is where the successor of a fixed path waits.
func next(l Link) string {
	dir, name := filepath.Split(l.Path)
	return filepath.Join(dir, "."+name+".next")
}
