package filetx_test

import (
	"hash/fnv"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/synergycall/pbxportal/internal/filetx"
)

// disk is a file system in memory that loses, in a power cut, everything that POSIX allows it to lose: the content of a file unless the file
// was synced, and every new, changed or removed name unless its folder was. Of changes of names that were not synced any subset survives, in
// order; a rename survives completely or not at all. A file whose sync failed once is never safe again, even if a later sync succeeds, as on
// Linux.
type disk struct {
	inodes []inode
	log    []change // of names, since each was last safe
}

type inode struct {
	mode   fs.FileMode // its type only
	data   string
	target string
	dirty  bool // the content is not safe
	lost   bool // a sync failed
	names  map[string]int
	safe   map[string]int // what a power cut leaves of names
}

// change is one change of names; a rename has two parts.
type change []part

type part struct {
	dir  int
	name string
	to   int // 0: removed
	safe bool
}

const rootInode = 1

func newDisk() *disk {
	return &disk{inodes: []inode{{}, folder()}}
}

func folder() inode {
	return inode{mode: fs.ModeDir, names: map[string]int{}, safe: map[string]int{}}
}

func (d *disk) clone() *disk {
	c := &disk{slices.Clone(d.inodes), make([]change, len(d.log))}
	for i := range c.inodes {
		if c.inodes[i].mode == fs.ModeDir {
			c.inodes[i].names, c.inodes[i].safe = maps.Clone(c.inodes[i].names), maps.Clone(c.inodes[i].safe)
		}
	}
	for i, ch := range d.log {
		c.log[i] = slices.Clone(ch)
	}
	return c
}

func pathError(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// find walks a path from the root.
func (d *disk) find(name string, follow bool) (int, error) {
	return d.walk([]int{rootInode}, name, follow, 0)
}

func (d *disk) walk(trail []int, name string, follow bool, depth int) (int, error) {
	if depth > 8 {
		return 0, pathError("open", name, syscall.ELOOP)
	}
	parts := strings.Split(strings.Trim(name, "/"), "/")
	for i, p := range parts {
		switch p {
		case "", ".":
			continue
		case "..":
			trail = trail[:max(1, len(trail)-1)]
			continue
		}
		at := d.inodes[trail[len(trail)-1]]
		if at.mode != fs.ModeDir {
			return 0, pathError("open", name, syscall.ENOTDIR)
		}
		next := at.names[p]
		if next == 0 {
			return 0, pathError("open", name, syscall.ENOENT)
		}
		if d.inodes[next].mode == fs.ModeSymlink && (follow || i < len(parts)-1) {
			rest := d.inodes[next].target + "/" + strings.Join(parts[i+1:], "/")
			return d.walk(slices.Clone(trail), rest, follow, depth+1)
		}
		trail = append(trail, next)
	}
	return trail[len(trail)-1], nil
}

// parent returns the folder of a new name.
func (d *disk) parent(op, name string) (dir int, base string, err error) {
	dir, err = d.find(path.Dir(name), true)
	if err == nil && d.inodes[dir].mode != fs.ModeDir {
		err = pathError(op, name, syscall.ENOTDIR)
	}
	return dir, path.Base(name), err
}

func (d *disk) change(parts ...part) {
	for _, p := range parts {
		if p.to == 0 {
			delete(d.inodes[p.dir].names, p.name)
		} else {
			d.inodes[p.dir].names[p.name] = p.to
		}
	}
	d.log = append(d.log, parts)
}

func (d *disk) add(op, name string, in inode) (int, error) {
	dir, base, err := d.parent(op, name)
	if err != nil {
		return 0, err
	}
	if d.inodes[dir].names[base] != 0 {
		return 0, pathError(op, name, syscall.EEXIST)
	}
	d.inodes = append(d.inodes, in)
	d.change(part{dir: dir, name: base, to: len(d.inodes) - 1})
	return len(d.inodes) - 1, nil
}

func (d *disk) Lstat(name string) (fs.FileMode, error) {
	n, err := d.find(name, false)
	return d.inodes[n].mode, err
}

func (d *disk) ReadDir(name string) ([]string, error) {
	n, err := d.find(name, true)
	return slices.Sorted(maps.Keys(d.inodes[n].names)), err
}

func (d *disk) ReadFile(dir, name string) ([]byte, error) { return d.read(path.Join(dir, name), false) }

// read reads a file like any process.
func (d *disk) read(name string, follow bool) ([]byte, error) {
	n, err := d.find(name, follow)
	if err == nil && d.inodes[n].mode != 0 {
		err = pathError("read", name, syscall.EISDIR)
	}
	return []byte(d.inodes[n].data), err
}

func (d *disk) Readlink(name string) (string, error) {
	n, err := d.find(name, false)
	if err == nil && d.inodes[n].mode != fs.ModeSymlink {
		err = pathError("readlink", name, syscall.EINVAL)
	}
	return d.inodes[n].target, err
}

func (d *disk) Resolve(name string) (string, error) {
	_, err := d.find(name, true)
	return name, err
}

func (d *disk) Mkdir(name string) error {
	_, err := d.add("mkdir", name, folder())
	return err
}

func (d *disk) Create(name string) (filetx.NewFile, error) {
	n, err := d.add("open", name, inode{dirty: true})
	return &diskFile{d, n}, err
}

func (d *disk) Symlink(target, name string) error {
	_, err := d.add("symlink", name, inode{mode: fs.ModeSymlink, target: target})
	return err
}

func (d *disk) Rename(from, to string) error {
	fromDir, fromBase, err := d.parent("rename", from)
	if err != nil {
		return err
	}
	toDir, toBase, err := d.parent("rename", to)
	if err != nil {
		return err
	}
	moved, replaced := d.inodes[fromDir].names[fromBase], d.inodes[toDir].names[toBase]
	switch {
	case moved == 0:
		return pathError("rename", from, syscall.ENOENT)
	case replaced != 0 && d.inodes[replaced].mode == fs.ModeDir && d.inodes[moved].mode != fs.ModeDir:
		return pathError("rename", to, syscall.EISDIR)
	case replaced != 0 && len(d.inodes[replaced].names) > 0:
		return pathError("rename", to, syscall.ENOTEMPTY)
	}
	d.change(part{dir: fromDir, name: fromBase}, part{dir: toDir, name: toBase, to: moved})
	return nil
}

func (d *disk) Remove(name string) error {
	dir, base, err := d.parent("remove", name)
	if err != nil {
		return err
	}
	switch n := d.inodes[dir].names[base]; {
	case n == 0:
		return pathError("remove", name, syscall.ENOENT)
	case len(d.inodes[n].names) > 0:
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	d.change(part{dir: dir, name: base})
	return nil
}

func (d *disk) SyncDir(name string) error {
	dir, err := d.find(name, true)
	if err != nil {
		return err
	}
	for _, ch := range d.log {
		for i := range ch {
			ch[i].safe = ch[i].safe || ch[i].dir == dir
		}
	}
	for len(d.log) > 0 && d.log[0].safe() {
		d.keep(d.log[0])
		d.log = d.log[1:]
	}
	return nil
}

func (d *disk) Lock(string) (unlock func(), held bool, err error) { return func() {}, false, nil }

// safe records that a change survives a power cut.
func (c change) safe() bool {
	return !slices.ContainsFunc(c, func(p part) bool { return !p.safe })
}

func (d *disk) keep(c change) {
	for _, p := range c {
		if p.to == 0 {
			delete(d.inodes[p.dir].safe, p.name)
		} else {
			d.inodes[p.dir].safe[p.name] = p.to
		}
	}
}

type diskFile struct {
	d *disk
	n int
}

func (f *diskFile) Write(p []byte) (int, error) {
	f.d.inodes[f.n].data += string(p)
	f.d.inodes[f.n].dirty = true
	return len(p), nil
}

func (d *disk) Sync(files ...filetx.NewFile) error {
	for _, f := range files {
		in := &d.inodes[f.(*diskFile).n]
		in.dirty = in.lost
	}
	return nil
}

// fail has the effect of a failed sync.
func (f *diskFile) fail() { f.d.inodes[f.n].lost = true }

func (f *diskFile) Close() error { return nil }

// remains determines, for everything that is not safe, whether it survives, and for files how.
type remains struct {
	changes []bool
	files   map[int]int
}

// How the content of a file that was not synced can look after a power cut.
const (
	wholeContent = iota
	noContent
	cutContent
	zeroContent
	contents
)

// powerCut returns what is on the disk when the power comes back.
func (d *disk) powerCut(r remains) *disk {
	c := d.clone()
	for i, ch := range c.log {
		if r.changes[i] || ch.safe() {
			c.keep(ch)
		}
	}
	c.log = nil
	for i := range c.inodes {
		in := &c.inodes[i]
		if in.mode == fs.ModeDir {
			in.names = maps.Clone(in.safe)
		}
		if !in.dirty {
			continue
		}
		switch r.files[i] {
		case noContent:
			in.data = ""
		case cutContent:
			in.data = in.data[:len(in.data)/2]
		case zeroContent:
			in.data = strings.Repeat("\x00", len(in.data))
		}
		in.dirty, in.lost = false, false
	}
	return c
}

// powerCuts calls yield with what can be on the disk if the power is cut now: with everything that is possible if that is at most
// limit, or else with nothing kept, with all kept and with a choice.
func (d *disk) powerCuts(limit int, random *rand.Rand, yield func(*disk)) {
	var changes, files []int
	for i, ch := range d.log {
		if !ch.safe() {
			changes = append(changes, i)
		}
	}
	for i, in := range d.inodes {
		if in.dirty && in.data != "" {
			files = append(files, i)
		}
	}
	total, tooMany := 1, false
	for range changes {
		total *= 2
		tooMany = tooMany || total > limit
	}
	for range files {
		total *= contents
		tooMany = tooMany || total > limit
	}
	if tooMany {
		total = limit
	}
	for k := range total {
		r := remains{make([]bool, len(d.log)), map[int]int{}}
		choice := k
		if tooMany && k > 1 {
			choice = int(random.Uint64() >> 1)
		}
		for _, i := range changes {
			r.changes[i] = choice%2 == 1 || tooMany && k == 1
			choice /= 2
		}
		for _, i := range files {
			if r.files[i] = choice % contents; tooMany && k < 2 {
				r.files[i] = noContent
			}
			choice /= contents
		}
		yield(d.powerCut(r))
	}
}

// fingerprint identifies a disk without unsynced changes.
func (d *disk) fingerprint() uint64 {
	h := fnv.New64a()
	var walk func(name string, n int)
	walk = func(name string, n int) {
		in := &d.inodes[n]
		_, _ = h.Write([]byte(name + "\x00" + in.mode.String() + in.data + "\x00" + in.target + "\x01"))
		for _, child := range slices.Sorted(maps.Keys(in.names)) {
			walk(child, in.names[child])
		}
		_, _ = h.Write([]byte{2})
	}
	walk("/", rootInode)
	return h.Sum64()
}
