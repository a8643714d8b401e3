package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// As on a root that is mounted read-only. doctor writes a record and undoes it, for which SQLite used a temporary file.
func TestARecordIsWrittenIfNoFolderForTemporaryFilesIsWritable(t *testing.T) {
	url := storetest.SQLite(t)
	dir := filepath.Dir(filepath.Dir(strings.TrimPrefix(url, "sqlite:///"))) // the database makes its own below it
	t.Chdir("/proc")                                                         // SQLite would take the current folder, too
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never back: the thread ends with this goroutine, and what it mounted
		if err := readOnlyBut(dir); err != nil && !errors.Is(err, unix.EPERM) {
			t.Error(err)
			return
		}
		s := storetest.Open(t, url)
		if _, err := s.Migrate(t.Context()); err != nil {
			t.Error(err)
			return
		}
		lock, err := s.TryApplyLock(t.Context())
		if err != nil || lock == nil {
			t.Error(lock, err)
			return
		}
		defer lock.Release()
		if err := s.Probe(t.Context()); err != nil {
			t.Error(err)
		}
		run := pbx.Run{Log: pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "t", Outcome: pbx.Failure}}
		if err := lock.TryRun(t.Context(), run, pbx.NewAuditEvent(t.Context(), noon, pbx.ActionApplyStarted, pbx.AuditObject{Type: "apply", ID: string(run.Log.ID)})); err != nil {
			t.Error(err)
		}
	}()
	<-done
}

// readOnlyBut makes the folders for temporary files read-only for the calling thread only, except the folder keep, which can be in one of them.
func readOnlyBut(keep string) error {
	err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err == nil {
		err = unix.Mount(keep, keep, "", unix.MS_BIND, "")
	}
	for _, dir := range []string{"/var/tmp", "/usr/tmp", "/tmp", os.TempDir()} {
		if _, missing := os.Stat(dir); err != nil || missing != nil {
			continue
		}
		if err = unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
	}
	return err
}
