//go:build linux

package faults_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// The systemd unit (deploy/) lets the portal write in three folders, does not let it create setgid folders, and makes
// each of the three a separate mount, which a rename cannot cross. The portal must not need more.
func TestTheServiceNeedsNoMoreThanItsUnitAllows(t *testing.T) {
	t.Parallel()
	s := lookAt(t, labtest.Asterisk(t), storetest.SQLite(t))
	state := filepath.Dir(strings.TrimPrefix(s.env["DATABASE_URL"], "sqlite://"))
	mine := []string{s.env["STATE_DIR"], state}
	for _, file := range []string{pbx.PJSIPPath, pbx.DialplanPath} {
		dir := filepath.Join(s.asterisk.ConfigDir, filepath.Dir(file))
		mine = append(mine, dir)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, os.ModeSetgid|0o750); err != nil { // as in docs/install.md
			t.Fatal(err)
		}
	}
	s.shut()
	for _, args := range [][]string{
		{"install"}, {"user", "add", "Anna", "anna@example.com"}, {"apply"}, {"user", "add", "Bob", "bob@example.com"}, {"apply"}, {"rollback"},
	} {
		code, out, refused := s.trace(t, args, func(_ int, c call) bool {
			if !filepath.IsAbs(c.on) || c.name == "fsync" {
				return true // a socket; a parent folder that is only synced
			}
			inside := ""
			for _, dir := range mine {
				if c.on == dir || strings.HasPrefix(c.on, dir+"/") {
					inside = dir
				}
			}
			if inside == "" && !strings.HasPrefix(c.on, "/dev/") && !strings.HasPrefix(c.on, "/proc/") {
				t.Errorf("%v: %v is outside of %q", args, c, mine)
			}
			if info, err := os.Lstat(c.on); err == nil && info.IsDir() && strings.Contains(c.name, "chmod") {
				t.Errorf("%v: %v, and the folder has its mode from the one above it", args, c)
			}
			return true
		})
		if refused {
			t.Fatal("tracing is not permitted here (ptrace): permit it, this test has no other way to observe a process")
		}
		if code != 0 {
			t.Fatalf("%v: exit code %d\n%s", args, code, out)
		}
	}
}
