package filetx

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/synergycall/pbxportal/internal/regular"
)

// FS is the file system of a Tree. The program uses OS; tests use one that fails, loses power or dies at any call, so the Tree makes no other file
// system calls.
type FS interface {
	// Lstat returns the kind of path; a link is not followed.
	Lstat(path string) (fs.FileMode, error)
	// ReadDir returns the names in a folder, sorted.
	ReadDir(path string) ([]string, error)
	// ReadFile returns the content of a regular file, a path below dir; no link below dir is followed, and anything but a regular file is a
	// *regular.Error.
	ReadFile(dir, name string) ([]byte, error)
	// Readlink returns the target of a link.
	Readlink(path string) (string, error)
	// Resolve returns path without any links in it.
	Resolve(path string) (string, error)
	// Mkdir creates one folder, with its final mode and group at once.
	Mkdir(path string) error
	// Create creates a file that must not exist, with its final mode and group before it holds anything.
	Create(path string) (NewFile, error)
	// Sync makes the contents of new files durable.
	Sync(files ...NewFile) error
	// Symlink creates a link that must not exist.
	Symlink(target, path string) error
	// Rename replaces to, as rename(2) does.
	Rename(from, to string) error
	// Remove removes a file, a link or an empty folder.
	Remove(path string) error
	// SyncDir makes the names in a folder durable.
	SyncDir(path string) error
	// Lock takes the lock on the file at path, or reports that it is held.
	Lock(path string) (unlock func(), busy bool, err error)
}

// NewFile is a file being written, as Create returned it.
type NewFile = io.WriteCloser

// filePerm lets the group read, which is how Asterisk reads the files, and no other user: they hold secrets.
const filePerm = 0o640

// dirPerm passes the group of a folder on to what is created in it (setgid).
const dirPerm = 0o750 | fs.ModeSetgid

// OS returns the file system of the machine.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Lstat(path string) (fs.FileMode, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	return info.Mode(), nil
}

func (osFS) ReadDir(path string) ([]string, error) { return regular.Names(path, regular.MaxNames) }

// largest is far larger than any file of a tree.
const largest = 64 << 20

func (osFS) ReadFile(dir, name string) ([]byte, error) { return regular.ReadIn(dir, name, largest) }

func (osFS) Readlink(path string) (string, error) { return os.Readlink(path) }

func (osFS) Resolve(path string) (string, error) { return filepath.EvalSymlinks(path) }

// Mkdir names the folder last: with the name first, a process that dies before setting the mode would leave one with that of the umask.
func (osFS) Mkdir(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "mkdir", Path: path, Err: fs.ErrExist}
	}
	parent, name := filepath.Split(path)
	making := filepath.Join(parent, ".mkdir-"+name)
	_ = os.Remove(making) // left by a process that died here
	if err := os.Mkdir(making, dirPerm.Perm()); err != nil {
		return err
	}
	err := dress(parent, making)
	if err == nil {
		err = os.Rename(making, path)
	}
	if err != nil {
		_ = os.Remove(making)
	}
	return err
}

// dress sets the group and mode of a new folder, through its handle, since a link put in its place would be followed. A folder that has both from its
// parent is left alone: a service may be forbidden to set that bit itself (RestrictSUIDSGID=).
func dress(parent, dir string) error {
	d, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0) //nolint:gosec // the caller names the place
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if err := own(parent, d.Chown); err != nil {
		return err
	}
	if info, err := d.Stat(); err != nil || info.Mode() == fs.ModeDir|dirPerm {
		return err
	}
	return d.Chmod(dirPerm)
}

func (osFS) Create(path string) (NewFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // the caller names the place
	if err != nil {
		return nil, err
	}
	err = own(filepath.Dir(path), f.Chown)
	if err == nil {
		err = f.Chmod(filePerm)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, nil
}

// Sync syncs the files concurrently: the file system then writes its journal once or twice, not once for each file.
func (osFS) Sync(files ...NewFile) error {
	var all errgroup.Group
	for _, f := range files {
		all.Go(f.(*os.File).Sync) //nolint:errcheck // Create made it so
	}
	return all.Wait()
}

func (osFS) Symlink(target, path string) error { return os.Symlink(target, path) }

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) Remove(path string) error { return os.Remove(path) }

func (osFS) SyncDir(path string) error {
	d, err := regular.Folder(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock opens for reading only, so that every user who may read the tree can find out whether it is held.
func (o osFS) Lock(path string) (unlock func(), busy bool, err error) {
	if made, err := o.Create(path); err == nil {
		_ = made.Close()
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, false, err
	}
	f, _, err := regular.Open(path, os.O_RDONLY|syscall.O_NOFOLLOW)
	if err != nil {
		return nil, false, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	switch {
	case err == nil:
		return func() {
			// Closing alone would not release it at once: a process that is being started elsewhere holds a copy of the open file.
			_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
			_ = f.Close()
		}, false, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, true, f.Close()
	default:
		return nil, false, errors.Join(&fs.PathError{Op: "flock", Path: path, Err: err}, f.Close())
	}
}

// own gives a new file or folder the group of its folder. If the process is root, it also gets the folder's owner: the service must be able to remove
// what root created by hand. If the process is not of that group, its own is kept.
func own(folder string, chown func(uid, gid int) error) error {
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	uid := -1
	if os.Geteuid() == 0 {
		uid = int(stat.Uid)
	}
	if err = chown(uid, int(stat.Gid)); errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}
