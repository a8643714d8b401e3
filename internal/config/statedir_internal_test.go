package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheStateFolderIsTheUsualOneOrBesideUsButNeverANewOneBesideAnotherUsers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	usual := filepath.Join(dir, "pbxportal")
	if got, err := defaultStateDir(usual); got != usual || err != nil {
		t.Errorf("where it can be made: %s, %v", got, err)
	}
	if _, err := os.Stat(usual); err == nil {
		t.Error("it was made")
	}
	if got, err := defaultStateDir(filepath.Join(usual, "deeper")); got != FallbackStateDir || err != nil {
		t.Errorf("where it cannot be made: %s, %v", got, err)
	}
	if err := os.Mkdir(usual, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := defaultStateDir(usual); got != usual || err != nil {
		t.Errorf("where it is: %s, %v", got, err)
	}
	if got, err := defaultStateDir("/proc/sys"); err == nil { // which not even root can write
		t.Errorf("where it is but may not be written: %s, no error", got)
	}
}
