package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/proc"
)

// endSignals ask a process to end; all others that can be caught are not meant to end a server.
func endSignals() []syscall.Signal {
	return []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS, syscall.SIGILL, syscall.SIGFPE,
		syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGSTKFLT,
	}
}

// otherSignals are all that can be caught and do not ask a process to end, those of real time among them. 32 to 34 belong to C libraries: the
// runtime of Go catches none of them, and no host sends them.
func otherSignals() (signals []syscall.Signal) {
	for s := syscall.Signal(1); s <= 64; s++ {
		if s != syscall.SIGKILL && s != syscall.SIGSTOP && (s < 32 || s > 34) && !slices.Contains(endSignals(), s) {
			signals = append(signals, s)
		}
	}
	return signals
}

// send sends signals to a process, each followed by the one that has a stopped process go on.
func send(t *testing.T, p *proc.Process, signals ...syscall.Signal) {
	t.Helper()
	for _, s := range signals {
		for _, s := range []syscall.Signal{s, syscall.SIGCONT} {
			if err := p.Signal(s); err != nil {
				t.Fatalf("%d %s: %v", int(s), s, err)
			}
		}
	}
}

// applied fails unless the newest run is on record as one that went through.
func applied(t *testing.T, s settings, what string) {
	t.Helper()
	logs, _ := decode(t, s.must(t, "audit", "list", "--json"))["logs"].([]any)
	newest, _ := logs[0].(map[string]any)
	if newest["outcome"] != "success" || newest["result"] != "applied" {
		t.Errorf("%s: on record is %v", what, newest)
	}
}

// begin starts one command in a process of its own.
func (s settings) begin(t *testing.T, args ...string) (p *proc.Process, log string) {
	t.Helper()
	argv, env := s.process(t, args)
	var err error
	log = filepath.Join(t.TempDir(), "command.log")
	if p, err = proc.Start(proc.Command{Argv: argv, Env: env, Dir: t.TempDir()}, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p, log
}

// held does something while an apply waits for an Asterisk that hangs, and lets Asterisk go on afterwards.
func (s settings) held(t *testing.T, a *lab.Asterisk, apply, during func()) {
	t.Helper()
	if err := a.Suspend(); err != nil {
		t.Fatal(err)
	}
	apply()
	eventually(t, "the apply is on record", func() bool { return strings.Contains(s.must(t, "audit", "list"), "interrupted") })
	during()
	if err := a.Resume(); err != nil {
		t.Fatal(err)
	}
}

func TestNoSignalCutsAnApplyOfTheCommandLineAtLength(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	s := newSettings(t).beside(a)
	for i, signals := range labtest.Soak([][]syscall.Signal{append(otherSignals(), endSignals()...)}, eachAlone()) {
		s.must(t, "user", "add", "Anna", fmt.Sprintf("anna%d@example.com", i)) // so that each apply has something to do
		var p *proc.Process
		var log string
		s.held(t, a, func() { p, log = s.begin(t, "apply", "--force") }, func() { send(t, p, signals...) })
		result, err := p.Wait(t.Context())
		said, _ := os.ReadFile(log)
		if err != nil || result.ExitCode != 0 || !strings.Contains(string(said), "Asterisk runs exactly "+pbx.TheseUsers(i+1)) {
			t.Errorf("%v: exit code %d, %v\n%s", signals, result.ExitCode, err, said)
		}
		applied(t, s, fmt.Sprint(signals))
	}
}

// eachAlone is every signal that can be caught, each for a process of its own.
func eachAlone() (lists [][]syscall.Signal) {
	for _, s := range append(otherSignals(), endSignals()...) {
		lists = append(lists, []syscall.Signal{s})
	}
	return lists
}

// signalled sends signals to a server in the middle of an apply, which is answered all the same.
func (s settings) signalled(t *testing.T, a *lab.Asterisk, srv *server, signals ...syscall.Signal) {
	t.Helper()
	answers := make(chan answer, 1)
	s.held(t, a, func() {
		go func() {
			got, _ := srv.ask(t.Context(), "POST", "/apply", `{"triggered_by":"test"}`)
			answers <- got
		}()
	}, func() { send(t, srv.Process, signals...) })
	if got := <-answers; got.status != 200 {
		t.Errorf("the apply was answered with %v", got)
	}
}

func TestASignalThatAsksForNoEndLeavesTheServerRunning(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	s := newSettings(t).beside(a)
	srv := s.serve(t)
	s.must(t, "user", "add", "Anna", "anna@example.com")
	s.signalled(t, a, srv, otherSignals()...)
	applied(t, s, "all that ask for no end")
	srv.want(t, 200, "GET", "/health", "")
	eventually(t, "the log says what SIGHUP does", func() bool { return strings.Contains(srv.logged(t), "SIGHUP changes nothing") })
}

func TestWhateverSignalEndsAServerAnApplyIsFinishedFirstAtLength(t *testing.T) {
	t.Parallel()
	for _, signals := range labtest.Soak([][]syscall.Signal{{syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGINT, syscall.SIGTERM, syscall.SIGABRT}}, eachEnd()) {
		t.Run(fmt.Sprint(signals), func(t *testing.T) {
			t.Parallel()
			a := labtest.Asterisk(t)
			s := newSettings(t).beside(a)
			srv := s.serve(t)
			s.must(t, "user", "add", "Anna", "anna@example.com")
			s.signalled(t, a, srv, signals...)
			result, err := srv.Wait(t.Context())
			if err != nil || result.ExitCode != 0 {
				t.Errorf("the server ended with %d, %v\n%s", result.ExitCode, err, srv.logged(t))
			}
			applied(t, s, fmt.Sprint(signals))
		})
	}
}

// eachEnd is every signal that ends a server, twice.
func eachEnd() (lists [][]syscall.Signal) {
	for _, s := range endSignals() {
		lists = append(lists, []syscall.Signal{s, s})
	}
	return lists
}
