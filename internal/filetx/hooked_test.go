package filetx_test

import (
	"io/fs"
	"path/filepath"

	"github.com/synergycall/pbxportal/internal/filetx"
)

// operation is one call of the file system.
type operation struct {
	name, path string
}

// changes reports whether the operation can change what is on the disk or whether it is safe there.
func (o operation) changes() bool {
	switch o.name {
	case "Lstat", "ReadDir", "ReadFile", "Readlink", "Resolve", "Lock", "Close":
		return false
	}
	return true
}

func (o operation) syncs() bool { return o.name == "Sync" || o.name == "SyncDir" }

// hooked is a file system that passes every operation to at, which executes it or not, and returns its result.
type hooked struct {
	fs filetx.FS
	at func(o operation, do func() error) error
}

func (h hooked) Lstat(path string) (mode fs.FileMode, err error) {
	err = h.at(operation{"Lstat", path}, func() (err error) { mode, err = h.fs.Lstat(path); return err })
	return mode, err
}

func (h hooked) ReadDir(path string) (names []string, err error) {
	err = h.at(operation{"ReadDir", path}, func() (err error) { names, err = h.fs.ReadDir(path); return err })
	return names, err
}

func (h hooked) ReadFile(dir, name string) (content []byte, err error) {
	err = h.at(operation{"ReadFile", filepath.Join(dir, name)}, func() (err error) { content, err = h.fs.ReadFile(dir, name); return err })
	return content, err
}

func (h hooked) Readlink(path string) (target string, err error) {
	err = h.at(operation{"Readlink", path}, func() (err error) { target, err = h.fs.Readlink(path); return err })
	return target, err
}

func (h hooked) Resolve(path string) (resolved string, err error) {
	err = h.at(operation{"Resolve", path}, func() (err error) { resolved, err = h.fs.Resolve(path); return err })
	return resolved, err
}

func (h hooked) Mkdir(path string) error {
	return h.at(operation{"Mkdir", path}, func() error { return h.fs.Mkdir(path) })
}

func (h hooked) Create(path string) (filetx.NewFile, error) {
	var f filetx.NewFile
	err := h.at(operation{"Create", path}, func() (err error) { f, err = h.fs.Create(path); return err })
	return hookedFile{h, path, f}, err
}

func (h hooked) Symlink(target, path string) error {
	return h.at(operation{"Symlink", path}, func() error { return h.fs.Symlink(target, path) })
}

func (h hooked) Rename(from, to string) error {
	return h.at(operation{"Rename", to}, func() error { return h.fs.Rename(from, to) })
}

func (h hooked) Remove(path string) error {
	return h.at(operation{"Remove", path}, func() error { return h.fs.Remove(path) })
}

func (h hooked) SyncDir(path string) error {
	return h.at(operation{"SyncDir", path}, func() error { return h.fs.SyncDir(path) })
}

func (h hooked) Lock(path string) (unlock func(), held bool, err error) {
	err = h.at(operation{"Lock", path}, func() (err error) { unlock, held, err = h.fs.Lock(path); return err })
	return unlock, held, err
}

type hookedFile struct {
	h    hooked
	path string
	f    filetx.NewFile
}

func (f hookedFile) Write(p []byte) (n int, err error) {
	err = f.h.at(operation{"Write", f.path}, func() (err error) { n, err = f.f.Write(p); return err })
	return n, err
}

// Sync syncs one file after another, each as an operation of its own, so that the power can be cut between any two.
func (h hooked) Sync(files ...filetx.NewFile) error {
	for _, f := range files {
		one := f.(hookedFile)
		err := h.at(operation{"Sync", one.path}, func() error { return h.fs.Sync(one.f) })
		if failing, ok := one.f.(interface{ fail() }); ok && err != nil {
			failing.fail()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f hookedFile) Close() error { return f.h.at(operation{"Close", f.path}, f.f.Close) }
