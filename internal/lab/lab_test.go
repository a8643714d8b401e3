package lab_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

func TestAnAsteriskStartsWithoutComplaintAndReloads(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	for line := range strings.Lines(a.Log()) {
		if strings.Contains(line, "ERROR") || strings.Contains(line, "WARNING") {
			t.Errorf("it complains: %s", line)
		}
	}
	if reply, state := a.Control().ReloadPJSIP(t.Context()); state != asterisk.Reloaded {
		t.Errorf("pjsip: %s, %+v", state, reply)
	}
	if reply, state := a.Control().ReloadDialplan(t.Context()); state != asterisk.Reloaded {
		t.Errorf("dialplan: %s, %+v", state, reply)
	}
}

func TestSeveralRunAtOnceAndLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	tree, err := lab.FetchAsterisk(t.Context(), lab.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if sounds, globErr := filepath.Glob(filepath.Join(tree.Root, "usr/share/asterisk/sounds/en/hello-world.*")); globErr != nil || len(sounds) == 0 {
		t.Errorf("no sounds in English: %v", globErr)
	}
	var running [3]*lab.Asterisk
	var starting sync.WaitGroup
	for i := range running {
		starting.Go(func() {
			a, startErr := lab.StartAsterisk(t.Context(), tree, lab.AsteriskOptions{})
			if startErr != nil {
				t.Error(startErr)
				return
			}
			running[i] = a
		})
	}
	starting.Wait()
	seen := map[string]bool{}
	for _, a := range running {
		if a == nil {
			continue
		}
		seen[a.SIPAddr] = true
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(a.ConfigDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", a.ConfigDir, err)
		}
	}
	if len(seen) != len(running) {
		t.Errorf("addresses: %v", seen)
	}
}

func TestAnAsteriskWithAFolderOfItsOwnKeepsItAcrossRestarts(t *testing.T) {
	t.Parallel()
	// Longer than the path of a socket may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	a := labtest.Asterisk(t, lab.AsteriskOptions{Dir: dir, Dialplan: "[hand-made]\nexten => 42,1,Echo()"})
	kept := filepath.Join(a.ConfigDir, "extensions.d/synergycall/generated_routing.conf")
	if err := os.WriteFile(kept, []byte("[synergy-internal]\nexten => 1000,1,Echo()\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, pid := a.SIPAddr, a.PID()
	for _, stop := range []func() error{func() error { return nil }, a.Kill} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if err := a.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"synergy-internal", "hand-made"} {
			if steps, _, err := a.Control().Extensions(t.Context(), name); err != nil || len(steps) != 1 {
				t.Errorf("%s: got %v, %v", name, steps, err)
			}
		}
	}
	if a.SIPAddr != before || a.PID() == pid {
		t.Errorf("address %s became %s, process %d became %d", before, a.SIPAddr, pid, a.PID())
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the folder is gone: %v", err)
	}
}

func TestATakenPortIsReported(t *testing.T) {
	t.Parallel()
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	tree, err := lab.FetchAsterisk(t.Context(), lab.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(taken.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lab.StartAsterisk(t.Context(), tree, lab.AsteriskOptions{SIPPort: number}); err == nil ||
		!strings.Contains(err.Error(), "the SIP port is taken: 127.0.0.1:"+port) {
		t.Errorf("got %v", err)
	}
}

func TestAnAsteriskThatCannotStartIsExplainedByItsLog(t *testing.T) {
	t.Parallel()
	tree, err := lab.FetchAsterisk(t.Context(), lab.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = lab.StartAsterisk(t.Context(), tree, lab.AsteriskOptions{Modules: []string{"nosuch.so\nrequire = nosuch.so"}})
	if err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("got %v", err)
	}
}

func TestAHostThatCannotDownloadGetsAnAlternative(t *testing.T) {
	const fix = "point the portal at an existing Asterisk with ASTERISK_CONTROL and ASTERISK_CONFIG_DIR"
	cache := t.TempDir()
	_, err := lab.FetchAsterisk(t.Context(), lab.FetchOptions{Cache: cache, Mirror: "http://127.0.0.1:1/debian"})
	if !errors.Is(err, lab.ErrNoArchive) || !strings.Contains(err.Error(), fix) {
		t.Errorf("without network: got %v", err)
	}
	_, err = lab.FetchAsterisk(t.Context(), lab.FetchOptions{Cache: cache, Mirror: "x] http://evil"})
	if err == nil {
		t.Error("a mirror that is no address was accepted")
	}
	t.Setenv("PATH", t.TempDir())
	_, err = lab.FetchAsterisk(t.Context(), lab.FetchOptions{Cache: cache})
	if !errors.Is(err, lab.ErrNoArchive) || !strings.Contains(err.Error(), "this machine has no apt-get") || !strings.Contains(err.Error(), fix) {
		t.Errorf("without apt: got %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(cache, "*")); err != nil || len(left) != 1 || filepath.Ext(left[0]) != ".lock" {
		t.Errorf("left behind: %q, %v", left, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lab.FetchAsterisk(ctx, lab.FetchOptions{Cache: cache}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: got %v", err)
	}
}
