package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/synergycall/pbxportal/internal/regular"
)

// largestDotenv is more than a file with settings has.
const largestDotenv = 1 << 20

// readOwn reads a file that the program finds by itself and then obeys, as nobody named it: what stands there decides which programs are
// started and which database is written. So root, or the user who runs the program, must be the only one who can have put it there:
//
//   - the file, and a link in its place, belong to one of the two, and nobody else may write it;
//   - it has no second name (a hard link can be made by others, and gives them a file of ours for one of theirs);
//   - the same holds for its folder, in which others could exchange it; they cannot where the folder is sticky, such as /tmp.
//
// The user before sudo is not one of the two: who may run one command as root must not be able to run any.
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
		return nil, fmt.Errorf("%s has %d names (hard links), and others can have made one of them: copy it, and move the copy to its place", there, stat.Nlink)
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

// ours reports as an error that others than root and the caller can decide what lies at path. The mode of a link says nothing.
func ours(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	switch uid := os.Geteuid(); {
	case !ok:
		return fmt.Errorf("the owner of %s cannot be found out: give the settings by the environment", path)
	case stat.Uid != 0 && int(stat.Uid) != uid:
		return fmt.Errorf("%s belongs to user %d, and settings are taken only from root and from the user who runs the command (user %d): run it in another folder or as that user, or, "+
			"if you have read the settings and mean them, as root: chown root %s", path, stat.Uid, uid, path)
	case info.Mode().Type() != fs.ModeSymlink && info.Mode().Perm()&0o022 != 0 && (!info.IsDir() || info.Mode()&fs.ModeSticky == 0):
		return fmt.Errorf("%s can be written by others than its owner (mode %04o), who could give other settings: chmod go-w %s", path, info.Mode().Perm(), path)
	}
	return nil
}
