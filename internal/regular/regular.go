// Package regular opens and reads files at paths where other users can create files. It accepts regular files only, reads no more than the caller
// allows, and never blocks: a named pipe, a device, a socket, a folder, an unexpected link or an endless file is an Error that describes it.
// Nothing else in the program opens a file or folder for reading.
package regular

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Error describes what was found at a path instead of what was expected.
type Error struct {
	Path   string
	Mode   fs.FileMode
	Target string // target of a link
	Limit  int64  // the exceeded limit, of bytes or of a folder's entries; otherwise 0
	Folder bool   // a folder was expected
}

// What describes what was found.
func (e *Error) What() string {
	switch mode := e.Mode; {
	case e.Limit > 0 && mode.IsDir():
		return fmt.Sprintf("a folder with more than %d entries", e.Limit)
	case e.Limit > 0:
		return fmt.Sprintf("a file of more than %d bytes", e.Limit)
	case mode.IsRegular():
		return "a file"
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeSymlink != 0:
		return "a link to " + e.Target
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe (FIFO)"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a file"
}

func (e *Error) Error() string {
	switch {
	case e.Limit > 0:
		return fmt.Sprintf("%s is %s, larger than expected, and was not read: move it away", e.Path, e.What())
	case e.Folder:
		return fmt.Sprintf("%s is %s, not a folder: move it away", e.Path, e.What())
	}
	return fmt.Sprintf("%s is %s, not a regular file: move it away", e.Path, e.What())
}

// Open opens the regular file at path. A link is followed unless flags have O_NOFOLLOW; files created by O_CREATE are accessible to their owner
// only.
func Open(path string, flags int) (*os.File, fs.FileInfo, error) {
	// Other file types are not opened at all if stat detects them: merely opening a device can have an effect.
	look := os.Stat
	if flags&syscall.O_NOFOLLOW != 0 {
		look = os.Lstat
	}
	info, err := look(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && flags&os.O_CREATE != 0:
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, found(path, info.Mode(), false)
	}
	f, err := os.OpenFile(path, flags|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0o600) //nolint:gosec // the caller names the path
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = found(path, info.Mode(), false)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// Read returns the content of the regular file at path, at most limit bytes; links are followed.
func Read(path string, limit int64) ([]byte, fs.FileInfo, error) {
	f, info, err := Open(path, os.O_RDONLY)
	if err != nil {
		return nil, nil, err
	}
	content, err := whole(f, info, path, limit)
	return content, info, err
}

// ReadIn returns the content of the regular file name, a path below dir, without following any link below dir.
func ReadIn(dir, name string, limit int64) ([]byte, error) {
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, noFolder(dir, &fs.PathError{Op: "open", Path: dir, Err: err})
	}
	here := dir
	parts := strings.Split(filepath.Clean(name), "/")
	for i, part := range parts {
		here = filepath.Join(here, part)
		last := i == len(parts)-1
		next, err := step(at, part, here, last)
		_ = unix.Close(at)
		if err != nil {
			return nil, err
		}
		at = next
	}
	f := os.NewFile(uintptr(at), here)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = found(here, info.Mode(), false)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return whole(f, info, here, limit)
}

// step opens one name in an open folder: the file if it is the last, otherwise the next folder.
func step(at int, name, path string, last bool) (int, error) {
	var is unix.Stat_t
	if err := unix.Fstatat(at, name, &is, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	flags, want := unix.O_PATH|unix.O_DIRECTORY, uint32(unix.S_IFDIR)
	if last {
		flags, want = unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, unix.S_IFREG
	}
	if is.Mode&unix.S_IFMT != want {
		return -1, found(path, typeOf(is.Mode), !last)
	}
	next, err := unix.Openat(at, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return next, nil
}

// typeOf returns the file type in a system mode.
func typeOf(mode uint32) fs.FileMode {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	case unix.S_IFIFO:
		return fs.ModeNamedPipe
	case unix.S_IFSOCK:
		return fs.ModeSocket
	case unix.S_IFCHR, unix.S_IFBLK:
		return fs.ModeDevice
	}
	return fs.ModeIrregular
}

// longestRead is more than the time to read a file that has content.
const longestRead = 2 * time.Second

// whole reads an open file to its end, and closes it.
func whole(f *os.File, info fs.FileInfo, path string, limit int64) ([]byte, error) {
	defer func() { _ = f.Close() }() // read only
	// Some regular files are queues, such as /proc/kmsg: an empty one would be waited for. Files on a disk have no deadline.
	_ = f.SetReadDeadline(time.Now().Add(longestRead)) //nolint:forbidigo // the kernel compares it with the real time
	if info.Size() > limit {
		return nil, &Error{Path: path, Limit: limit}
	}
	var b bytes.Buffer
	b.Grow(int(info.Size()) + bytes.MinRead)
	_, err := b.ReadFrom(io.LimitReader(f, limit+1))
	if err == nil && int64(b.Len()) > limit { // it grew, or reports no size
		err = &Error{Path: path, Limit: limit}
	}
	if err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Stream returns a reader of an open file of any length, for which no part is waited for longer than longestRead: it may be a queue.
func Stream(f *os.File) io.Reader { return stream{f} }

type stream struct{ *os.File }

// Read reads the next part.
func (s stream) Read(into []byte) (int, error) {
	_ = s.SetReadDeadline(time.Now().Add(longestRead)) //nolint:forbidigo // the kernel compares it with the real time
	return s.File.Read(into)
}

// All reads a stream to its end; more than limit bytes are an error.
func All(r io.Reader, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(content)) > limit {
		return nil, fmt.Errorf("exceeds the limit of %d bytes", limit)
	}
	return content, err
}

// Check returns an error if path exists and is not a regular file, for files that other code opens; a link is followed.
func Check(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return found(path, info.Mode(), false)
	}
	return nil
}

// MaxNames is far larger than any folder of the portal, or of Asterisk's configuration.
const MaxNames = 100_000

// Names returns the names in a folder, sorted; a folder with more than most of them is an Error.
func Names(dir string, most int) ([]string, error) {
	f, err := Folder(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	names, err := f.Readdirnames(most + 1)
	if errors.Is(err, io.EOF) { // the folder is empty
		err = nil
	}
	if err == nil && len(names) > most {
		err = &Error{Path: dir, Mode: fs.ModeDir, Limit: int64(most)}
	}
	slices.Sort(names)
	return names, err
}

// Folder opens a folder: to list, lock or sync it.
func Folder(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0) //nolint:gosec // the caller names the path
	if err != nil {
		return nil, noFolder(path, err)
	}
	return f, nil
}

// noFolder returns the Error for a path that is not a folder.
func noFolder(path string, err error) error {
	if !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	info, lookErr := os.Stat(path)
	if lookErr != nil || info.IsDir() {
		return err
	}
	return found(path, info.Mode(), true)
}

func found(path string, mode fs.FileMode, folder bool) *Error {
	e := &Error{Path: path, Mode: mode.Type(), Folder: folder}
	if mode&fs.ModeSymlink != 0 {
		e.Target, _ = os.Readlink(path)
	}
	return e
}

// Writable returns the folder itself, or its nearest existing parent, and the reason why nothing can be created in it.
func Writable(dir string) (existing string, err error) {
	for existing = dir; ; existing = filepath.Dir(existing) {
		if info, err := os.Stat(existing); err == nil && !info.IsDir() {
			return existing, unix.ENOTDIR
		} else if err == nil || existing == filepath.Dir(existing) {
			return existing, unix.Access(existing, unix.W_OK|unix.X_OK)
		}
	}
}
