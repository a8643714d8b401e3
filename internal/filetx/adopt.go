package filetx

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// Adopt begins a tree, or completes an interrupted Adopt: the content of the fixed paths becomes generation g.Number byte for byte, current and good;
// then each path becomes a link to the same bytes, without any change for readers. g.Files is used for paths that do not exist. In an existing tree only
// missing links are restored; ErrDrift means that a path holds something else.
func (t *Tree) Adopt(g Generation) error {
	s, err := t.State()
	if err != nil {
		return err
	}
	if s.Current > 0 && s.Good > 0 && !s.unlinked() {
		return nil
	}
	if err := t.makeDirs(); err != nil {
		return err
	}
	if s.Current == 0 {
		if s.linked() {
			return fmt.Errorf("cannot adopt: the links are dangling, and %s %w: stage a new generation", current, ErrDamaged)
		}
		if g.Files, err = t.found(s, g.Files); err != nil {
			return err
		}
		if err := t.Stage(g); err != nil {
			return err
		}
		if _, err := t.point(current, g.Number); err != nil {
			return fmt.Errorf("cannot make generation %d current: %w", g.Number, err)
		}
		s.Current = g.Number
	}
	if s.Good == 0 {
		if err := t.MarkVerified(s.Current); err != nil {
			return err
		}
	}
	if s, err = t.State(); err != nil {
		return err
	}
	for _, p := range s.Paths {
		if p.Kind == Linked || p.InOrder() {
			continue
		}
		if p.Kind != Missing && !p.Intact {
			return fmt.Errorf("%s %w", p.Path, ErrDrift)
		}
		if err := t.link(p.Link); err != nil {
			return fmt.Errorf("cannot put a link at %s: %w", p.Path, err)
		}
	}
	return nil
}

// linked reports whether any path is our link, unlinked whether any is not.
func (s State) linked() bool {
	return slices.ContainsFunc(s.Paths, func(p PathState) bool { return p.Kind == Linked })
}

func (s State) unlinked() bool {
	return slices.ContainsFunc(s.Paths, func(p PathState) bool { return p.Kind != Linked && !p.InOrder() })
}

// makeDirs creates the folders of the tree and of the fixed paths.
func (t *Tree) makeDirs() error {
	dirs := []string{t.dir}
	for _, l := range t.links {
		dirs = append(dirs, filepath.Dir(l.Path))
	}
	for _, dir := range dirs {
		if err := t.makeDir(dir); err != nil {
			return fmt.Errorf("cannot make %s: %w", dir, err)
		}
		// The process that created them may have died before their names were safe.
		for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
			if err := t.fs.SyncDir(up); err != nil && !errors.Is(err, fs.ErrPermission) {
				return err
			}
			if up == filepath.Dir(up) {
				break
			}
		}
	}
	return nil
}

// found reads the content of the fixed paths; what is missing comes from fallback.
func (t *Tree) found(s State, fallback map[string][]byte) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, p := range s.Paths {
		switch {
		case p.Err != nil:
			return nil, fmt.Errorf("cannot adopt: %w", p.Err)
		case p.Content != nil:
			files[p.Name] = p.Content
		default:
			// A path that reappears between two looks must not be taken for drift from what was adopted in its place.
			if there, err := t.exists(p.Path); err != nil || there {
				return nil, fmt.Errorf("cannot adopt %s: %w", p.Path, cmp.Or(err, ErrDrift))
			}
			if content, ok := fallback[p.Name]; ok {
				files[p.Name] = content
			}
		}
	}
	return files, nil
}

// Detach ends a tree: the fixed paths become ordinary files with the bytes of the current generation, and no generation is current any more. The folder
// of the tree stays and can be removed.
func (t *Tree) Detach() error {
	s, err := t.State()
	if err != nil {
		return err
	}
	for _, p := range s.Paths {
		if p.Kind != Linked {
			continue
		}
		switch {
		case p.Content != nil:
			err = t.unlink(p.Link, p.Content)
		case p.Intact: // the generation lacks the file
			err = errors.Join(t.fs.Remove(p.Path), t.fs.SyncDir(filepath.Dir(p.Path)))
		default:
			return fmt.Errorf("cannot end %s: nothing is read at %s: %w", t.dir, p.Path, cmp.Or(p.Err, fs.ErrNotExist))
		}
		if err != nil {
			return fmt.Errorf("cannot replace the link by an ordinary file at %s: %w", p.Path, err)
		}
	}
	// From here on our links would be dangling.
	if s, err = t.State(); err != nil {
		return err
	}
	if s.linked() {
		return fmt.Errorf("cannot end %s: a fixed path is still a link", t.dir)
	}
	for _, name := range []string{doubted, good, current} {
		if _, err := t.point(name, 0); err != nil {
			return fmt.Errorf("cannot end %s: %w", t.dir, err)
		}
	}
	return nil
}

// unlink replaces our link by an ordinary file.
func (t *Tree) unlink(l Link, content []byte) error {
	if err := t.remove(next(l)); err != nil {
		return err
	}
	if err := t.writeFiles(map[string][]byte{next(l): content}); err != nil {
		_ = t.fs.Remove(next(l))
		return err
	}
	if err := t.fs.Rename(next(l), l.Path); err != nil {
		_ = t.fs.Remove(next(l))
		return err
	}
	return t.fs.SyncDir(filepath.Dir(l.Path))
}
