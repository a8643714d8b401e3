package filetx

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Recovered is what Recover found and did.
type Recovered struct {
	// Abandoned lists the generations that were staged but never came to be current, or were flipped back from. The newest is
	// kept in failed/.
	Abandoned []int
	// Damaged lists those of current and good that do not match their manifests.
	Damaged []int
	// BackTo is the good generation, when current was damaged and had to go back to it.
	BackTo int
	// Lost reports that neither current nor good is whole: only a new generation helps.
	Lost bool
}

// Recover puts the tree in order after whatever happened to whoever worked on it before. Called again, or after being interrupted
// itself, it comes to the same end. What is read through the fixed paths stays, unless it is damaged.
func (t *Tree) Recover() (Recovered, error) {
	var r Recovered
	if there, err := t.exists(t.dir); err != nil || !there {
		return r, err
	}
	// What we are about to see must not change by a power cut once decisions were built on it.
	if err := t.settle(); err != nil {
		return r, fmt.Errorf("cannot recover: %w", err)
	}
	s, err := t.State()
	if err != nil {
		return r, fmt.Errorf("cannot recover: %w", err)
	}
	if err := t.mend(&s, &r); err != nil {
		return r, fmt.Errorf("cannot recover: %w", err)
	}
	if err := t.tidy(s, &r); err != nil {
		return r, fmt.Errorf("cannot recover: %w", err)
	}
	return r, nil
}

// settle makes everything that can be seen safe.
func (t *Tree) settle() error {
	dirs := []string{t.dir, t.path("gen"), filepath.Dir(t.dir)}
	for _, l := range t.links {
		dirs = append(dirs, filepath.Dir(l.Path))
	}
	for _, dir := range dirs {
		if err := t.fs.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// mend looks whether current is whole, and flips to good if it is not.
func (t *Tree) mend(s *State, r *Recovered) error {
	broken := map[int]bool{}
	for _, n := range []int{s.Current, s.Good} {
		if n == 0 || broken[n] || n == s.Current && s.whole() {
			continue
		}
		_, err := t.Read(n)
		if errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
			broken[n] = true
			r.Damaged = append(r.Damaged, n)
		} else if err != nil {
			return err
		}
	}
	switch {
	case s.Current > 0 && !broken[s.Current]:
	case s.Good > 0 && !broken[s.Good]:
		if _, err := t.point(current, s.Good); err != nil {
			return fmt.Errorf("cannot go back to generation %d: %w", s.Good, err)
		}
		s.Current, r.BackTo = s.Good, s.Good
	default:
		r.Lost = s.linked() || len(r.Damaged) > 0
	}
	return nil
}

// tidy removes what was left lying about.
func (t *Tree) tidy(s State, r *Recovered) error {
	for _, name := range []string{current, good} {
		if err := t.remove(t.path("." + name + "-next")); err != nil {
			return err
		}
	}
	for _, l := range t.links {
		if err := t.remove(next(l)); err != nil {
			return err
		}
	}
	names, err := t.list(t.path("gen"))
	if err != nil {
		return err
	}
	dirty := false
	for _, name := range names {
		n := number("gen/" + name)
		path := t.path("gen", name)
		switch {
		case strings.HasPrefix(name, ".tmp-"):
			err = t.discard(path, nil)
		case strings.HasPrefix(name, ".old-"), strings.HasPrefix(name, ".mkdir-"):
			err = t.removeAll(path)
		case n > s.Current && n != s.Good && !(r.Lost && s.Current == 0):
			r.Abandoned = append(r.Abandoned, n)
			err = t.discard(path, nil)
		default:
			continue
		}
		if err != nil {
			return err
		}
		dirty = true
	}
	if dirty {
		return t.fs.SyncDir(t.path("gen"))
	}
	return nil
}
