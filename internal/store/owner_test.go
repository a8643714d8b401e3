package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// nobody owns the folder of a service in these tests; without root it is the current user.
const nobody = 65534

func TestFilesThatRootCreatesBelongToTheOwnerOfTheFolder(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite(t)
	dir := filepath.Dir(strings.TrimPrefix(url, "sqlite:///"))
	owner := os.Geteuid()
	err := os.Mkdir(dir, 0o700)
	if err == nil && owner == 0 {
		owner = nobody
		err = os.Chown(dir, owner, owner)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := storetest.Open(t, url)
	lock, err := s.TryApplyLock(t.Context())
	if lock == nil || err != nil {
		t.Fatalf("lock %v, error %v", lock, err)
	}
	defer lock.Release()
	if err := insert(t.Context(), s, newUser(1000, "a@example.com")); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 5 { // the database with its -wal and -shm, and two locks
		t.Fatalf("%v, error %v", files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != owner || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %+v; want it to be of user %d alone", f.Name(), info.Sys(), owner)
		}
	}
}

func TestALockFileOfAnotherUserIsReportedWithTheFix(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite(t)
	path := strings.TrimPrefix(url, "sqlite:///")
	s := storetest.Open(t, url)
	for dir := filepath.Dir(path); dir != filepath.Clean(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path+".apply-lock", nil, 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		// Root opens everything. The thread that stops being root for the file system ends with this goroutine.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if err := syscall.Setfsuid(nobody); err != nil {
				done <- err
				return
			}
		}
		_, err := s.TryApplyLock(t.Context())
		done <- err
	}()
	err := <-done
	away(t, "a lock", err, "portal.db.apply-lock", "chown") // the file, and who must own it
	if e, ok := errors.AsType[*pbx.Error](err); ok && strings.Contains(e.Msg, filepath.Dir(path)) {
		t.Errorf("the caller is told where the file is: %s", e.Msg)
	}
}
