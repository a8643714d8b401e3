package asterisk_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

func shrinkBacklog(t *testing.T, raw syscall.RawConn) {
	t.Helper()
	var listenErr error
	err := raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), 2) })
	if err != nil || listenErr != nil {
		t.Fatal(err, listenErr)
	}
}

// fill loads n users into a real Asterisk and returns their ids.
func fill(t testing.TB, a *lab.Asterisk, n int) []string {
	t.Helper()
	var pjsip, dialplan bytes.Buffer
	ids := make([]string, n)
	for i := range n {
		ids[i] = fmt.Sprint(1000 + i)
		fmt.Fprintf(&pjsip, "[%[1]s]\ntype=endpoint\ncontext=synergy-internal\ndisallow=all\nallow=ulaw,alaw\nauth=%[1]s\naors=%[1]s\n"+
			"callerid=\"Somebody\" <%[1]s>\n[%[1]s]\ntype=auth\nauth_type=userpass\nusername=%[1]s\npassword=test-%[1]s\n"+
			"[%[1]s]\ntype=aor\nmax_contacts=1\n", ids[i])
	}
	fmt.Fprintln(&dialplan, "[synergy-internal]")
	for _, id := range slices.Backward(ids) {
		fmt.Fprintf(&dialplan, "exten => %[1]s,1,Dial(PJSIP/%[1]s,30)\n same => n,Hangup()\n", id)
	}
	for name, text := range map[string]*bytes.Buffer{
		"pjsip.d/synergycall/generated_endpoints.conf":    &pjsip,
		"extensions.d/synergycall/generated_routing.conf": &dialplan,
	} {
		if err := os.WriteFile(filepath.Join(a.ConfigDir, name), text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if reply, state := a.Control().ReloadPJSIP(t.Context()); state != asterisk.Reloaded {
		t.Fatal(state, reply)
	}
	if reply, state := a.Control().ReloadDialplan(t.Context()); state != asterisk.Reloaded {
		t.Fatal(state, reply)
	}
	return ids
}

// lists sends all four queries of a verification concurrently.
func lists(t testing.TB, c *asterisk.Control) (ids [3][]string, steps []asterisk.Extension) {
	t.Helper()
	var asking sync.WaitGroup
	var errs [4]error
	asking.Go(func() { ids[0], errs[0] = c.Endpoints(t.Context()) })
	asking.Go(func() { ids[1], errs[1] = c.Auths(t.Context()) })
	asking.Go(func() { ids[2], errs[2] = c.AORs(t.Context()) })
	asking.Go(func() { steps, _, errs[3] = c.Extensions(t.Context(), "synergy-internal") })
	asking.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return ids, steps
}

func TestARealAsteriskListsWhatItHasLoaded(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	c := a.Control()
	if ids, steps := lists(t, c); len(ids[0])+len(ids[1])+len(ids[2])+len(steps) != 0 {
		t.Errorf("a new Asterisk has %v and %v", ids, steps)
	}
	want := fill(t, a, 300)
	ids, steps := lists(t, c)
	for i, got := range ids {
		if !slices.Equal(got, want) {
			t.Errorf("list %d has %d ids, not the %d that were loaded", i, len(got), len(want))
		}
	}
	if len(steps) != 2*len(want) || steps[0] != (asterisk.Extension{Exten: "1000", Priority: 1, App: "Dial", AppData: "PJSIP/1000,30", File: "generated_routing.conf"}) {
		t.Errorf("got %d steps, the first is %+v", len(steps), steps[0])
	}
	if list, err := c.TransportList(t.Context()); err != nil || len(list) != 1 || list[0].ID != "transport-udp" || list[0].Protocol != "udp" || !strings.Contains(list[0].Address, ":") {
		t.Errorf("the list of transports is %v, error %v", list, err)
	}
	if transports, err := c.Transports(t.Context()); err != nil || !slices.Equal(transports, []string{"transport-udp"}) {
		t.Errorf("transports %q, %v", transports, err)
	}
	if dir, err := c.ConfigDir(t.Context()); err != nil || dir != a.ConfigDir {
		t.Errorf("configuration in %q, %v; want %s", dir, err, a.ConfigDir)
	}
	if version, err := c.Version(t.Context()); err != nil || !strings.HasPrefix(version, "22.") {
		t.Errorf("version %q, %v", version, err)
	}
	if modules, err := c.Modules(t.Context()); err != nil || !slices.Contains(modules, "res_pjsip.so") {
		t.Errorf("modules %q, %v", modules, err)
	}
	if contacts, err := c.Contacts(t.Context()); err != nil || len(contacts) != 0 {
		t.Errorf("contacts %v, %v", contacts, err)
	}
}

func TestARealAsteriskNamesItsCodecs(t *testing.T) {
	t.Parallel()
	codecs, err := labtest.Asterisk(t).Control().Codecs(t.Context())
	if err != nil || !slices.IsSorted(codecs) || slices.Contains(codecs, "none") {
		t.Errorf("%q, error %v", codecs, err)
	}
	for _, c := range []string{"ulaw", "alaw", "g722", "opus", "slin16", "speex32"} {
		if !slices.Contains(codecs, c) {
			t.Errorf("%s is not among %q", c, codecs)
		}
	}
}

func TestARealAsteriskServesConcurrentCallers(t *testing.T) {
	t.Parallel()
	c := labtest.Asterisk(t).Control()
	var asking sync.WaitGroup
	for range 40 {
		asking.Go(func() {
			if _, err := c.Version(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
}

func TestASuspendedAsteriskIsHungAndAKilledOneUnreachable(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	c := a.Control()
	if err := a.Suspend(); err != nil {
		t.Fatal(err)
	}
	// More than its queue of connections holds.
	var asking sync.WaitGroup
	for range 6 {
		asking.Go(func() {
			if _, state := c.WithTimeout(soon).ReloadPJSIP(t.Context()); state != asterisk.ReloadHung {
				t.Errorf("suspended: got %s", state)
			}
		})
	}
	asking.Wait()
	if err := a.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitBooted(t.Context()); err != nil {
		t.Errorf("resumed: %v", err)
	}
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if reply, state := c.ReloadPJSIP(t.Context()); state != asterisk.ReloadUnreachable || reply.ExitCode != 1 {
		t.Errorf("killed: got %s, %+v", state, reply)
	}
	if err := a.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, state := c.ReloadPJSIP(t.Context()); state != asterisk.Reloaded {
		t.Errorf("restarted: got %s", state)
	}
}

func TestTheAnswerOfAnAsteriskKilledMeanwhileIsRejected(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	c := a.Control()
	// This command waits in Asterisk for ever, so the answer is surely unfinished when Asterisk dies.
	if err := a.Suspend(); err != nil {
		t.Fatal(err)
	}
	state := make(chan asterisk.ReloadState, 1)
	go func() {
		_, s := c.ReloadPJSIP(t.Context())
		state <- s
	}()
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if s := <-state; s != asterisk.ReloadLost && s != asterisk.ReloadUnreachable {
		t.Errorf("got %s", s)
	}
}

func BenchmarkVerificationOf1000Users(b *testing.B) {
	a := labtest.Asterisk(b)
	c := a.Control()
	want := fill(b, a, 1000)
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			if ids, _ := lists(b, c); len(ids[0]) != len(want) {
				b.Fatal("incomplete")
			}
		}
	})
}

func TestOneExtensionIsListedAlone(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	c := a.Control()
	fill(t, a, 3)
	steps, err := c.Extension(t.Context(), "synergy-internal", "1001")
	want := []asterisk.Extension{
		{Exten: "1001", Priority: 1, App: "Dial", AppData: "PJSIP/1001,30", File: "generated_routing.conf"},
		{Exten: "1001", Priority: 2, App: "Hangup", File: "generated_routing.conf"},
	}
	if diff := cmp.Diff(want, steps); diff != "" || err != nil {
		t.Errorf("error %v\n%s", err, diff)
	}
	for _, nowhere := range [][2]string{{"synergy-internal", "1009"}, {"nowhere", "1001"}} {
		if steps, err := c.Extension(t.Context(), nowhere[0], nowhere[1]); len(steps) > 0 || err != nil {
			t.Errorf("%v: %v, error %v", nowhere, steps, err)
		}
	}
	if _, err := c.Extension(t.Context(), "synergy-internal", "1001 x"); !errors.Is(err, asterisk.ErrCommand) {
		t.Errorf("a name with a blank: error %v", err)
	}
}
