package filetx

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/synergycall/pbxportal/internal/regular"
)

// Overwrite takes over fixed paths that were changed externally. Everything there that is not of the current generation is passed to save first; if that
// fails, the path stays as it is. A file that was edited through its link keeps the edit until the next Activate, when the path shows another generation.
// Overwrite returns the current content of the generation, for Activate; a missing file is left out.
func (t *Tree) Overwrite(save func(path string, content []byte) error) (seen map[string][]byte, err error) {
	s, err := t.State()
	if err != nil {
		return nil, err
	}
	seen = map[string][]byte{}
	for _, p := range s.Paths {
		if p.Kind != Linked && !p.InOrder() {
			if err := t.overwrite(p, save); err != nil {
				return nil, err
			}
		}
		content, err := t.own(s.Current, p.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fmt.Errorf("cannot read what is behind %s: %w", p.Path, err)
		}
		if m, err := t.manifest(s.Current); err != nil || m.Files[p.Name] != t.fingerprintOf(p.Name, content) {
			at := p.Path
			if p.Kind != Linked { // the path had its own content, which is saved under the name of the path
				at = t.path(generation(s.Current), p.Name)
			}
			if err := save(at, content); err != nil {
				return nil, fmt.Errorf("cannot keep what was found at %s: %w", at, err)
			}
		}
		seen[p.Name] = content
	}
	return seen, nil
}

// overwrite puts our link at a path that holds something else, or nothing, after saving its present content.
func (t *Tree) overwrite(p PathState, save func(path string, content []byte) error) error {
	const patience = 5
	var saved []byte
	for range patience {
		content, err := t.lying(p.Link)
		if err != nil {
			return fmt.Errorf("cannot keep what was found at %s: %w", p.Path, err)
		}
		if content == nil || p.Intact && bytes.Equal(content, p.Content) || saved != nil && bytes.Equal(content, saved) {
			if err := t.link(p.Link); err != nil {
				return fmt.Errorf("cannot put a link at %s: %w", p.Path, err)
			}
			return nil
		}
		if err := save(p.Path, content); err != nil {
			return fmt.Errorf("cannot keep what was found at %s: %w", p.Path, err)
		}
		saved = content
	}
	return fmt.Errorf("%s %w again and again", p.Path, ErrDrift)
}

// lying reads what a fixed path holds in place of our link, nil when it does not exist.
func (t *Tree) lying(l Link) ([]byte, error) {
	content, err := keepable(t.fs.ReadFile(filepath.Split(l.Path)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

// own reads a file of a generation, whatever its manifest says.
func (t *Tree) own(n int, name string) ([]byte, error) {
	return keepable(t.fs.ReadFile(t.dir, filepath.Join(generation(n), name)))
}

// keepable returns what is to be saved of a path: the content of a file, or a description of a link, a pipe or another thing without content; the target
// of a link is not replaced. A folder, and a file that is too large to be read, must be moved by their owner.
func keepable(content []byte, err error) ([]byte, error) {
	other, ok := errors.AsType[*regular.Error](err)
	if ok && !other.Mode.IsDir() && !other.Mode.IsRegular() {
		return []byte("this was " + other.What() + "\n"), nil
	}
	return content, err
}

// edits returns the files of a generation that were changed or added externally, by path; an error when it cannot be read. Removed files are not in it.
func (t *Tree) edits(n int) (map[string][]byte, error) {
	names, err := t.list(t.path(generation(n)))
	if err != nil {
		return nil, err
	}
	m, damaged := t.manifest(n)
	edits := map[string][]byte{}
	for _, name := range names {
		if name == manifest && damaged == nil {
			continue
		}
		content, err := t.own(n, name)
		if err != nil {
			return nil, err
		}
		if m.Files[name] != t.fingerprintOf(name, content) {
			edits[t.path(generation(n), name)] = content
		}
	}
	return edits, nil
}

// saveAll saves edits, ordered by path.
func saveAll(edits map[string][]byte, save func(path string, content []byte) error) error {
	for _, path := range slices.Sorted(maps.Keys(edits)) {
		if err := save(path, edits[path]); err != nil {
			return err
		}
	}
	return nil
}

// unedited returns nil if generation n still holds what was seen, and the fixed paths lead to it.
func (t *Tree) unedited(n int, seen map[string][]byte) error {
	for _, l := range t.links {
		kind, err := t.kind(l)
		if err != nil {
			return err
		}
		content, err := t.own(n, l.Name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(ErrDrift, err)
		}
		if !l.mayBe(kind, err == nil) {
			return fmt.Errorf("%s %w", l.Path, ErrDrift)
		}
		if was, there := seen[l.Name]; there != (err == nil) || !bytes.Equal(was, content) {
			return fmt.Errorf("%s %w", filepath.Clean(l.Path), ErrDrift)
		}
	}
	return nil
}
