package store_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/proc"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// must runs a command, which must succeed.
func must(t *testing.T, argv ...string) {
	t.Helper()
	r, err := proc.Run(context.WithoutCancel(t.Context()), proc.Command{Argv: argv})
	if err != nil || r.ExitCode != 0 {
		t.Fatalf("%v: %v %s%s (network namespaces want root)", argv, err, r.Stdout, r.Stderr)
	}
}

// TestHelperHoldsTheLock is the portal of the test below: in a network namespace it takes the apply lock and reports that; once its link is cut, it
// reports how long it took to notice.
func TestHelperHoldsTheLock(t *testing.T) { //nolint:paralleltest // it is a process of its own
	address, said := os.Getenv("PORTAL_HELPER_URL"), os.Getenv("PORTAL_HELPER_SAID")
	if address == "" {
		return // it is not a test by itself
	}
	s, err := store.Open(address)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := s.TryApplyLock(t.Context())
	if lock == nil || err != nil {
		t.Fatalf("lock %v, error %v", lock, err)
	}
	tell := func(name, text string) {
		if err := os.WriteFile(filepath.Join(said, name+".new"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(said, name+".new"), filepath.Join(said, name)); err != nil {
			t.Fatal(err)
		}
	}
	tell("held", "")
	for {
		start := time.Now()
		if err := lock.Check(t.Context()); err != nil {
			tell("noticed", fmt.Sprintf("%s %d", pbx.CodeOf(err), time.Since(start).Milliseconds()))
			return
		}
	}
}

// The server is in this namespace, at one end of a virtual cable, and the portal in another namespace at the other end. When the cable is cut, no packet
// ends the connection.
func TestTheLockOfAPortalWhoseLinkIsCutIsFreeWithinTenSeconds(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("pbxcut%d", os.Getpid()%100000)
	net := fmt.Sprintf("10.%d.%d", 200+os.Getpid()/250%50, os.Getpid()%250)
	must(t, "ip", "netns", "add", name)
	t.Cleanup(func() { must(t, "ip", "netns", "del", name) })
	ours, theirs := fmt.Sprintf("pa%d", os.Getpid()), fmt.Sprintf("pb%d", os.Getpid())
	must(t, "ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
	t.Cleanup(func() { _, _ = proc.Run(context.Background(), proc.Command{Argv: []string{"ip", "link", "del", ours}}) })
	must(t, "ip", "addr", "add", net+".1/24", "dev", ours)
	must(t, "ip", "link", "set", ours, "up")
	must(t, "ip", "-n", name, "addr", "add", net+".2/24", "dev", theirs)
	must(t, "ip", "-n", name, "link", "set", theirs, "up")

	server, direct := labtest.PostgresServer(t, lab.PostgresOptions{Trust: net + ".0/24"})
	_ = server
	s := storetest.Open(t, direct)
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = net + ".1:" + u.Port()
	said := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	helper, err := proc.Start(proc.Command{
		Argv: []string{"ip", "netns", "exec", name, self, "-test.run=^TestHelperHoldsTheLock$"},
		Env:  []string{"PORTAL_HELPER_URL=" + u.String(), "PORTAL_HELPER_SAID=" + said},
	}, filepath.Join(said, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = helper.KillWithChildren() })
	await := func(what string, within time.Duration) string {
		t.Helper()
		deadline := time.Now().Add(within)
		for time.Now().Before(deadline) {
			if text, err := os.ReadFile(filepath.Join(said, what)); err == nil {
				return string(text)
			}
			if _, err := s.EventHead(t.Context()); err != nil { // paces the loop
				t.Fatal(err)
			}
		}
		log, _ := os.ReadFile(filepath.Join(said, "log"))
		t.Fatalf("the other portal never said %s:\n%s", what, log)
		return ""
	}
	await("held", time.Minute)
	if lock, err := s.TryApplyLock(t.Context()); lock != nil || err != nil {
		t.Fatalf("a second lock: %v, error %v", lock, err)
	}

	must(t, "ip", "link", "set", ours, "down")
	cut := time.Now()
	for {
		lock, err := s.TryApplyLock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if lock != nil {
			defer lock.Release()
			break
		}
		if time.Since(cut) > 30*time.Second {
			t.Fatal("the lock is still held 30 s after the link was cut")
		}
	}
	if took := time.Since(cut); took > 10*time.Second {
		t.Errorf("the lock was free after %s, want at most 10s", took)
	}
	if text := await("noticed", 20*time.Second); !strings.HasPrefix(text, pbx.CodeDatabaseAway+" ") {
		t.Errorf("the portal whose link was cut saw %s", text)
	}
}
