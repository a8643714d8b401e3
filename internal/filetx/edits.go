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

// Reclaim takes the fixed paths back from whoever changed them. Everything that lies there and is not of the current generation goes to
// save first; when that fails the path stays as it is. A file that was edited through its link keeps the edit until the next flip: by
// then the path shows another generation. It gives what the current generation holds now, for Flip; a missing file is left out.
func (t *Tree) Reclaim(save func(path string, content []byte) error) (seen map[string][]byte, err error) {
	s, err := t.State()
	if err != nil {
		return nil, err
	}
	seen = map[string][]byte{}
	for _, p := range s.Paths {
		if p.Kind != Linked && !p.InOrder() {
			if err := t.reclaim(p, save); err != nil {
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
		if m, err := t.manifest(s.Current); err != nil || m.Files[p.Name] != fingerprintOf(content) {
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

// reclaim puts our link at a path where something else lies, or nothing, once that is saved as it is at this moment.
func (t *Tree) reclaim(p PathState, save func(path string, content []byte) error) error {
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

// lying reads what lies at a fixed path in the place of our link, nil when nothing does.
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

// keepable gives what is to be kept of what lies somewhere: the content of a file, or what a link, a pipe or another thing without a
// content of its own is, in words; what a link leads to is not replaced. A folder, and a file that is too large to be read, are for their
// owner to move away.
func keepable(content []byte, err error) ([]byte, error) {
	other, ok := errors.AsType[*regular.Error](err)
	if ok && !other.Mode.IsDir() && !other.Mode.IsRegular() {
		return []byte("this was " + other.What() + "\n"), nil
	}
	return content, err
}

// edits gives what others changed in or added to a generation, by its path; an error when it cannot be read. What was removed is not in it.
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
		if m.Files[name] != fingerprintOf(content) {
			edits[t.path(generation(n), name)] = content
		}
	}
	return edits, nil
}

// saveAll saves edits, in the order of their paths.
func saveAll(edits map[string][]byte, save func(path string, content []byte) error) error {
	for _, path := range slices.Sorted(maps.Keys(edits)) {
		if err := save(path, edits[path]); err != nil {
			return err
		}
	}
	return nil
}

// unedited looks whether generation n still holds what was seen, and is what the fixed paths lead to.
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
		if kind != Linked && (kind != Missing || !l.Optional || err == nil) {
			return fmt.Errorf("%s %w", l.Path, ErrDrift)
		}
		if was, there := seen[l.Name]; there != (err == nil) || !bytes.Equal(was, content) {
			return fmt.Errorf("%s %w", filepath.Clean(l.Path), ErrDrift)
		}
	}
	return nil
}
