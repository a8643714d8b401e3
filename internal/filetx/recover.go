package filetx

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Recovered is the result of Recover.
type Recovered struct {
	// Abandoned lists the generations that were staged but never became current, or were rolled back. The newest is kept in failed/.
	Abandoned []int
	// Damaged lists those of current, good and the abandoned ones that do not match their manifests. They stay as they are.
	Damaged []int
}

// Recover removes what an interrupted run left in the tree. It is idempotent, also after being interrupted itself.
//
// It never changes what is read through the fixed paths, and never removes a generation that does not match its manifest: an interrupted run cannot
// leave one, since a generation gets its name only once it is safely on disk. Such a generation was edited by hand, or the disk failed; the two cannot
// be distinguished. Its bytes may exist nowhere else, and only Overwrite and Prune, which save them first, set them aside.
func (t *Tree) Recover() (Recovered, error) {
	var r Recovered
	if there, err := t.exists(t.dir); err != nil || !there {
		return r, err
	}
	// What we are about to see must not change by a power cut once decisions were based on it.
	if err := t.settle(); err != nil {
		return r, fmt.Errorf("cannot recover: %w", err)
	}
	s, err := t.State()
	if err != nil {
		return r, fmt.Errorf("cannot recover: %w", err)
	}
	if err := t.inspect(s, &r); err != nil {
		return r, fmt.Errorf("cannot recover: %w", err)
	}
	if err := t.tidy(s, &r); err != nil {
		return r, fmt.Errorf("cannot recover: %w", err)
	}
	return r, nil
}

// settle makes everything that is visible durable.
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

// inspect checks whether current and good match their manifests.
func (t *Tree) inspect(s State, r *Recovered) error {
	for _, n := range slices.Compact([]int{s.Current, s.Good}) {
		if n == 0 || n == s.Current && s.whole() {
			continue
		}
		_, err := t.Read(n)
		if errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
			r.Damaged = append(r.Damaged, n)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// tidy removes leftovers.
func (t *Tree) tidy(s State, r *Recovered) error {
	for _, name := range []string{current, good, doubted} {
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
		case n > max(s.Current, s.Good) && (s.Current > 0 || !s.Begun()): // otherwise current was removed, and nothing identifies it
			var edits map[string][]byte
			if edits, err = t.edits(n); err != nil || len(edits) > 0 {
				r.Damaged = append(r.Damaged, n)
				continue
			}
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
