package filetx

import (
	"errors"
	"path/filepath"
)

// rehearsal is the folder of the probe of Rehearse, relative to the tree. Recover removes folders with this name.
const rehearsal = "gen/.old-rehearsal"

// Rehearse does to the disk what Stage, Activate and MarkVerified do for generation g, and reverts it: what is read through the fixed paths does not change at any
// time. Each pointer is replaced by one to the same generation. While g is staged, look is called with the path of a file that holds probe and was
// created like the files of g, to find out who may read them.
func (t *Tree) Rehearse(g Generation, probe []byte, look func(path string) error) (err error) {
	if err := t.makeDirs(); err != nil {
		return err
	}
	if err := t.Stage(g); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.unstage(g.Number)) }()
	if err := t.fs.Mkdir(t.path(rehearsal)); err != nil {
		return err
	}
	file := t.path(rehearsal, "probe.conf")
	if err := t.writeFiles(map[string][]byte{file: probe}); err != nil {
		return err
	}
	if err := look(file); err != nil {
		return err
	}
	for _, name := range []string{current, good, doubted} {
		n, err := t.pointer(name)
		switch {
		case err != nil:
			return err
		case n > 0:
			_, err = t.point(name, n)
		default:
			err = t.tryLink(generation(g.Number), t.path("."+name+"-next"))
		}
		if err != nil {
			return err
		}
	}
	for _, l := range t.links {
		kind, err := t.kind(l)
		if err == nil && kind != Linked {
			err = t.tryLink(filepath.Base(l.Path), next(l))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tryLink creates a link under the temporary name of one that replaces another, and removes it.
func (t *Tree) tryLink(target, path string) error {
	if err := t.remove(path); err != nil {
		return err
	}
	if err := t.fs.Symlink(target, path); err != nil {
		return err
	}
	return t.fs.Remove(path)
}

// unstage removes generation n, which was never read, and the probe beside it.
func (t *Tree) unstage(n int) error {
	err := t.fs.Rename(t.path(generation(n)), t.path(hidden(n))) // a generation is complete as long as it has its name
	for _, path := range []string{hidden(n), rehearsal} {
		err = errors.Join(err, t.removeAll(t.path(path)))
	}
	return errors.Join(err, t.fs.SyncDir(t.path("gen")))
}
