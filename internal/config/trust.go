package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/synergycall/pbxportal/internal/regular"
)

// largestDotenv is more than the size of any settings file.
const largestDotenv = 1 << 20

// readOwn reads a file that the program finds by itself, without being named by the user, and then obeys: it decides which programs are started and
// which database is written. So only root, or the user who runs the program, may have been able to put it there:
//
//   - the file, and a link in its place, belong to one of the two, and no other user can write it;
//   - it has no second name (other users can create hard links, and pass off one of our files as one of theirs);
//   - the same holds for its folder, in which others could replace it; they cannot if the folder is sticky, such as /tmp.
//
// The user before sudo is not one of the two: a user who may run one command as root must not be able to run any.
func readOwn(path string) ([]byte, error) {
	named, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := ours(path, named); err != nil {
		return nil, err
	}
	text, info, err := regular.Read(path, largestDotenv)
	if err != nil {
		return nil, err
	}
	there, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	if err := ours(there, info); err != nil {
		return nil, err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 1 {
		return nil, fmt.Errorf("%s has %d names (hard links), and another user may have created one of them: copy it, and replace it by the copy", there, stat.Nlink)
	}
	for _, folder := range []string{filepath.Dir(path), filepath.Dir(there)} {
		info, err := os.Stat(folder)
		if err != nil {
			return nil, err
		}
		if err := ours(folder, info); err != nil {
			return nil, err
		}
	}
	return text, nil
}

// ours returns an error if users other than root and the caller control what is at path. The mode of a link is irrelevant.
func ours(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	switch uid := os.Geteuid(); {
	case !ok:
		return fmt.Errorf("the owner of %s cannot be determined: pass the settings in the environment", path)
	case stat.Uid != 0 && int(stat.Uid) != uid:
		return fmt.Errorf("%s belongs to user %d, but settings are read only from files of root and of the user who runs the command (user %d): run it in another folder or as that user, or, "+
			"if you have checked the settings, as root: chown root %s", path, stat.Uid, uid, path)
	case info.Mode().Type() != fs.ModeSymlink && info.Mode().Perm()&0o022 != 0 && (!info.IsDir() || info.Mode()&fs.ModeSticky == 0):
		return fmt.Errorf("%s is writable for users other than its owner (mode %04o), who could change the settings: chmod go-w %s", path, info.Mode().Perm(), path)
	}
	return nil
}
