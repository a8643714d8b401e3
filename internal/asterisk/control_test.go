package asterisk_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/asterisk/asterisktest"
)

// soon is a time-out whose end a test waits for.
const soon = 60 * time.Millisecond

func control(t *testing.T, target string) *asterisk.Control {
	t.Helper()
	c, err := asterisk.NewControl(target)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func twoUsers() asterisktest.Objects {
	return asterisktest.Objects{
		IDs: map[string][]string{
			"endpoint": {"1000", "1001"}, "auth": {"1000", "1001"}, "aor": {"1000", "1001"}, "identify": {"t-7"}, "registration": {"t-7", "t-8"},
		},
		Context: "synergy-internal",
		Steps: []asterisk.Extension{
			{Exten: "1000", Priority: 1, App: "Dial", AppData: "PJSIP/1000", File: "generated_routing.conf"},
			{Exten: "1000", Priority: 2, App: "Hangup", File: "generated_routing.conf"},
			{Exten: "1001", Priority: 1, App: "Dial", AppData: "PJSIP/1001", File: "generated_routing.conf"},
		},
	}
}

func TestScriptedAnswersReadLikeRealOnes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	want := twoUsers()
	c := control(t, asterisktest.New(t, asterisktest.Loaded(want)).Socket)
	got := asterisktest.Objects{IDs: map[string][]string{}}
	var err error
	for _, ask := range []func() error{
		func() error { got.IDs["endpoint"], err = c.Endpoints(ctx); return err },
		func() error { got.IDs["auth"], err = c.Auths(ctx); return err },
		func() error { got.IDs["aor"], err = c.AORs(ctx); return err },
		func() error { got.IDs["identify"], err = c.Identifies(ctx); return err },
		func() error { got.IDs["registration"], err = c.Registrations(ctx); return err },
		func() error { got.Steps, _, err = c.Extensions(ctx, "synergy-internal"); return err },
	} {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	got.Context = want.Context
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects differ (-want +got):\n%s", diff)
	}
}

func TestACommandIsOneLine(t *testing.T) {
	t.Parallel()
	server := asterisktest.New(t, asterisktest.Loaded(twoUsers()))
	for _, target := range []string{server.Socket, "exec:echo"} {
		c := control(t, target)
		for _, command := range []string{"", "  ", "core show version\x00core stop now", "a\nb", "a\rb", "a\tb", strings.Repeat("x", 500)} {
			if _, err := c.Run(t.Context(), command); !errors.Is(err, asterisk.ErrCommand) {
				t.Errorf("%q to %s: got %v, want ErrCommand", command, target, err)
			}
		}
		for _, name := range []string{"", "a b", "a;b", "-x", "${X}", "a@b"} {
			if _, _, err := c.Extensions(t.Context(), name); !errors.Is(err, asterisk.ErrCommand) {
				t.Errorf("context %q: got %v, want ErrCommand", name, err)
			}
			if _, err := c.Attributes(t.Context(), asterisk.KindAuth, []string{"1000", name}, "@x"); !errors.Is(err, asterisk.ErrCommand) {
				t.Errorf("id %q: got %v, want ErrCommand", name, err)
			}
		}
	}
	if sent := server.Commands(); len(sent) != 0 {
		t.Errorf("these reached Asterisk: %q", sent)
	}
}

func TestAnUnreachableAsteriskIsExplained(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	refused := filepath.Join(dir, "left-over.ctl")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: refused, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	for path, cause := range map[string]string{
		filepath.Join(dir, "none.ctl"): "There is no such socket",
		refused:                        "no process listens on",
		dir:                            "no process listens on",
	} {
		c := control(t, path)
		reply, err := c.Run(t.Context(), "core show version")
		if err != nil {
			t.Fatal(err)
		}
		if reply.ExitCode != 1 || reply.Fault != asterisk.FaultUnreachable {
			t.Errorf("%s: got %+v, want exit code 1, unreachable", path, reply)
		}
		if want := "Unable to connect to remote asterisk (does " + path + " exist?)"; !strings.HasPrefix(reply.Stderr, want) {
			t.Errorf("stderr %q does not begin with %q", reply.Stderr, want)
		}
		if !strings.Contains(reply.Stderr, cause) {
			t.Errorf("stderr %q does not name the cause %q", reply.Stderr, cause)
		}
		if _, state := c.ReloadPJSIP(t.Context()); state != asterisk.ReloadUnreachable {
			t.Errorf("reload: got %s", state)
		}
		var unanswered *asterisk.UnansweredError
		if _, err := c.Endpoints(t.Context()); !errors.As(err, &unanswered) {
			t.Errorf("endpoints: got %v, want an UnansweredError", err)
		}
	}
}

func TestAHungAsteriskTimesOut(t *testing.T) {
	t.Parallel()
	c := control(t, asterisktest.New(t, asterisktest.Hang()).Socket).WithTimeout(soon)
	begin := time.Now()
	reply, err := c.Run(t.Context(), "core show version")
	if err != nil || reply.ExitCode != -1 || reply.Fault != asterisk.FaultTimeout {
		t.Errorf("got %+v, %v; want exit code -1, timeout", reply, err)
	}
	if !strings.Contains(reply.Stderr, "did not answer within") {
		t.Errorf("stderr does not say so: %q", reply.Stderr)
	}
	if took := time.Since(begin); took > 20*soon {
		t.Errorf("it took %v", took)
	}
	if _, state := c.ReloadDialplan(t.Context()); state != asterisk.ReloadHung {
		t.Errorf("reload: got %s", state)
	}
}

func TestALongReloadIsWaitedForWhileAsteriskAnswers(t *testing.T) {
	t.Parallel()
	c := control(t, asterisktest.New(t, asterisktest.Slow(20*soon, asterisktest.Loaded(asterisktest.Objects{}))).Socket)
	if reply, state := c.WithTimeout(5 * soon).ReloadPJSIP(t.Context()); state != asterisk.Reloaded {
		t.Errorf("got %s, %+v", state, reply)
	}
}

func TestTheCallersContextEndsACommand(t *testing.T) {
	t.Parallel()
	c := control(t, asterisktest.New(t, asterisktest.Hang()).Socket)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if _, err := c.Run(ctx, "core show version"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	if reply, state := c.ReloadPJSIP(ctx); state != asterisk.ReloadHung || reply.Stderr == "" {
		t.Errorf("reload after the end: got %s, %+v", state, reply)
	}
}

func TestAFullQueueOfConnectionsIsATimeout(t *testing.T) {
	t.Parallel()
	// A listener that never accepts; its backlog is filled until the system refuses at once.
	path := filepath.Join(t.TempDir(), "full.ctl")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	raw, err := listener.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	shrinkBacklog(t, raw)
	c := control(t, path).WithTimeout(soon)
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			if reply, err := c.Run(t.Context(), "core show version"); err != nil || reply.Fault != asterisk.FaultTimeout {
				t.Errorf("got %+v, %v; want a timeout", reply, err)
			}
		})
	}
	asking.Wait()
}

func TestAnEndlessAnswerIsCut(t *testing.T) {
	t.Parallel()
	c := control(t, asterisktest.New(t, asterisktest.Endless()).Socket)
	reply, err := c.Run(t.Context(), "core show version")
	if err != nil || reply.Fault != asterisk.FaultTooLong || reply.ExitCode != -1 || len(reply.Stdout) > asterisk.MaxAnswer {
		t.Errorf("got %d bytes, %s, %v", len(reply.Stdout), reply.Fault, err)
	}
	if _, state := c.ReloadPJSIP(t.Context()); state != asterisk.ReloadUnclear {
		t.Errorf("reload: got %s", state)
	}
}

func TestATruncatedAnswerIsRejected(t *testing.T) {
	t.Parallel()
	c := control(t, asterisktest.New(t, asterisktest.Dies(asterisktest.Loaded(twoUsers()))).Socket)
	if _, err := c.Endpoints(t.Context()); !errors.Is(err, asterisk.ErrUnparsable) {
		t.Errorf("endpoints: got %v", err)
	}
	if _, _, err := c.Extensions(t.Context(), "synergy-internal"); !errors.Is(err, asterisk.ErrUnparsable) {
		t.Errorf("extensions: got %v", err)
	}
	if _, state := c.ReloadPJSIP(t.Context()); state != asterisk.ReloadUnclear {
		t.Errorf("reload: got %s", state)
	}
}

func TestGarbageProvesNothing(t *testing.T) {
	t.Parallel()
	c := control(t, asterisktest.New(t, asterisktest.Garbage()).Socket)
	if _, err := c.AORs(t.Context()); !errors.Is(err, asterisk.ErrUnparsable) {
		t.Errorf("aors: got %v", err)
	}
	if _, state := c.ReloadDialplan(t.Context()); state != asterisk.ReloadUnclear {
		t.Errorf("reload: got %s", state)
	}
}

func TestBusyAndBootingAsteriskAreDistinguished(t *testing.T) {
	t.Parallel()
	loaded := asterisktest.Loaded(twoUsers())
	server := asterisktest.New(t, asterisktest.Busy(1, loaded))
	c := control(t, server.Socket)
	for _, want := range []asterisk.ReloadState{asterisk.ReloadInProgress, asterisk.Reloaded} {
		if _, state := c.ReloadPJSIP(t.Context()); state != want {
			t.Errorf("got %s, want %s", state, want)
		}
	}
	server.Set(asterisktest.Queued(loaded))
	if _, state := c.ReloadPJSIP(t.Context()); state != asterisk.ReloadQueued {
		t.Errorf("got %s", state)
	}
}

func TestAConnectionWithoutGreetingIsLost(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mute.ctl")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for _, greeting := range []string{"", "no greeting at all\n", strings.Repeat("x", 5000)} {
			conn, acceptErr := listener.Accept()
			if acceptErr != nil {
				return
			}
			_, _ = conn.Write([]byte(greeting))
			_ = conn.Close()
		}
	})
	for range 3 {
		reply, err := control(t, path).Run(t.Context(), "core show version")
		if err != nil || reply.Fault != asterisk.FaultLost || reply.ExitCode != -1 {
			t.Errorf("got %+v, %v; want lost", reply, err)
		}
	}
	_ = listener.Close()
	serving.Wait()
}

// script returns a control target that runs the text. The shell reads the file, as executing one just written can fail while another
// test forks.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "asterisk")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "exec:/bin/sh " + path
}

func TestACommandGetsTheQueryAsOneArgument(t *testing.T) {
	t.Parallel()
	c := control(t, script(t, `printf '%s|' "$@"`)+" -C  /some/file.conf")
	reply, err := c.Run(t.Context(), "module reload res_pjsip.so; rm -rf $HOME")
	if err != nil || reply.Stdout != "-C|/some/file.conf|-rx|module reload res_pjsip.so; rm -rf $HOME|" {
		t.Errorf("got %+v, %v", reply, err)
	}
}

// docker exec, ssh and kubectl find their server through environment variables. They must not get the portal's settings.
func TestACommandGetsTheVariablesToFindAsteriskAndNoSecretOfThePortal(t *testing.T) {
	given := []string{
		"HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "SSH_AUTH_SOCK", "KUBECONFIG", "HTTPS_PROXY", "no_proxy", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY",
		"DOCKER_CERT_PATH", "DOCKER_CONFIG", "CONTAINER_HOST", "PODMAN_USERNS", "XDG_RUNTIME_DIR",
	}
	kept := []string{
		"DATABASE_URL", "SECRET_KEY", "SECRET_KEY_FILE", "AMI_SECRET", "AMI_SECRET_FILE", "OIDC_CLIENT_SECRET", "CREDENTIALS_DIRECTORY", "PGPASSWORD", "NOTIFY_SOCKET", "LD_PRELOAD_OF_ANOTHER",
		"AWS_SECRET_ACCESS_KEY", "GOMEMLIMIT", "STATE_DIR", "TERM",
	}
	c := control(t, script(t, `env`))
	for _, name := range slices.Concat(given, kept) {
		t.Setenv(name, "value-of-"+name)
	}
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	reply, err := c.Run(t.Context(), "core show version")
	if err != nil || reply.Fault != asterisk.FaultNone {
		t.Fatalf("%+v, %v", reply, err)
	}
	for _, name := range given {
		if !strings.Contains(reply.Stdout, name+"=value-of-"+name+"\n") {
			t.Errorf("%s is not passed on", name)
		}
	}
	for _, name := range kept {
		if strings.Contains(reply.Stdout, "value-of-"+name+"\n") {
			t.Errorf("%s is passed on", name)
		}
	}
	if !strings.Contains(reply.Stdout, "LC_ALL=C\n") || !strings.Contains(reply.Stdout, "PATH="+os.Getenv("PATH")+"\n") {
		t.Errorf("the environment is\n%s", reply.Stdout)
	}
}

// Additions of a terminal, a console or a warning program are removed from an answer; what replaces the answer is not one.
func TestOnlyTheAdditionsOfAWrapperAreRemovedFromAnAnswer(t *testing.T) {
	t.Parallel()
	const (
		answer = "Asterisk 22.10.1 built by test @ test on a x86_64 running Linux on 2026-01-01"
		// asterisk -rx prints these on its standard output: the first without an Ethernet interface, the others because of asterisk.conf.
		noEthernet  = `No ethernet interface found for seeding global EID. You will have to set it manually.\n`
		invalidID   = `Invalid Entity ID '\''zz'\'' provided\n`
		invalidLock = `'\''x'\'' is not a valid setting for the lockmode option, defaulting to '\''lockfile'\''\n`
	)
	for name, tc := range map[string]struct {
		said string
		ok   bool
	}{
		"as it is":                    {answer + `\n`, true},
		"without its line end":        {answer, true},
		"line ends of a terminal":     {answer + `\r\n`, true},
		"in colours":                  {`\033[1;32mAsterisk\033[0m` + strings.TrimPrefix(answer, "Asterisk") + `\033[K\n`, true},
		"with a title":                {`\033]0;pbx\007` + answer + `\n`, true},
		"behind a prompt":             {"pbx-1.example*CLI> " + answer + `\n`, true},
		"before a prompt":             {answer + `\npbx*CLI> `, true},
		"below a warning":             {`WARNING: Error loading config file: permission denied\n` + answer + `\n`, true},
		"below two, of a terminal":    {`\033[33mWARN\033[0m[0000] no such variable\r\ntime="2026-01-01T00:00:00Z" level=warning msg="x"\r\n` + answer + `\r\n`, true},
		"below Asterisk's own line":   {noEthernet + answer + `\n`, true},
		"below its line and another":  {noEthernet + `Invalid Entity ID "x" provided\n` + answer + `\n`, false},
		"below three of its own":      {noEthernet + invalidID + invalidLock + answer + `\n`, true},
		"its own line alone":          {noEthernet, false},
		"below a banner":              {`Welcome to pbx.\n` + answer + `\n`, false},
		"above a warning":             {answer + `\nWARNING: it ends here\n`, false},
		"a warning alone":             {`WARNING: Error loading config file\n`, false},
		"a prompt alone":              {`pbx*CLI> `, false},
		"a warning and a prompt":      {`Warning: x\npbx*CLI> \n`, false},
		"within a warning":            {"WARNING: " + answer + `\n`, false},
		"a log in front":              {`[Jan  1 00:00:00] WARNING[1]: x.c:1 f: text\n` + answer + `\n`, false},
		"a prompt of another program": {"root@pbx:~# " + answer + `\n`, false},
		"cut in colours":              {`\033[1;32mAsterisk 22\033[0m\n`, false},
	} {
		version, err := control(t, script(t, `printf '`+strings.ReplaceAll(tc.said, "%", "%%")+`'`)).Version(t.Context())
		if (err == nil && version == "22.10.1") != tc.ok {
			t.Errorf("%s: %q, %v", name, version, err)
		}
	}
}

func TestFailuresOfACommandAreDistinguished(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		target string
		want   asterisk.Reply
		says   string
	}{
		"not running": {
			script(t, `echo "Unable to connect to remote asterisk (does /x exist?)" >&2; exit 1`),
			asterisk.Reply{ExitCode: 1, Fault: asterisk.FaultUnreachable},
			"Unable to connect",
		},
		"no such program": {
			"exec:/nonexistent/asterisk",
			asterisk.Reply{ExitCode: 127, Fault: asterisk.FaultUnreachable},
			"Check ASTERISK_CONTROL",
		},
		"hangs": {
			script(t, `exec sleep 60`),
			asterisk.Reply{ExitCode: -1, Fault: asterisk.FaultTimeout},
			"did not answer within",
		},
		"endless": {
			script(t, `head -c 5000000 /dev/zero`),
			asterisk.Reply{ExitCode: -1, Fault: asterisk.FaultTooLong},
			"longer than",
		},
		"leaves a process": {
			script(t, `sleep 60 & echo answer`),
			asterisk.Reply{ExitCode: -1, Fault: asterisk.FaultLeftOpen},
			"left in the background",
		},
		"leaves a process, and fails": {
			script(t, `sleep 60 & echo "no such container" >&2; exit 3`),
			asterisk.Reply{ExitCode: 3, Fault: asterisk.FaultUnreachable},
			"no such container",
		},
	} {
		c := control(t, test.target)
		if name == "hangs" {
			c = c.WithTimeout(soon)
		}
		got, err := c.Run(t.Context(), "core show version")
		if err != nil || got.ExitCode != test.want.ExitCode || got.Fault != test.want.Fault {
			t.Errorf("%s: got exit code %d, fault %q, %v; want %+v", name, got.ExitCode, got.Fault, err, test.want)
		}
		if !strings.Contains(got.Stderr, test.says) {
			t.Errorf("%s: stderr %q does not say %q", name, got.Stderr, test.says)
		}
	}
}

func TestWhatACommandComplainsOfIsBoundedAndLegible(t *testing.T) {
	t.Parallel()
	const colour, noise = `\033[31mno such\033[0m container `, `\377\001\033]0;title\007\n`
	c := control(t, script(t, `{ printf '`+colour+noise+`'; head -c 1000000 /dev/zero; head -c 1000000 /dev/zero | tr '\0' x; printf ' at the end'; } >&2; exit 3`))
	_, err := c.Version(t.Context())
	if err == nil {
		t.Fatal("it did not fail")
	}
	text := err.Error()
	if len(text) > 3000 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		t.Errorf("%d bytes: %.200q", len(text), text)
	}
	for _, said := range []string{"no such container ?", "at the end"} {
		if !strings.Contains(text, said) {
			t.Errorf("%.200q does not say %q", text, said)
		}
	}
}

func TestASilentStubVerifiesNothing(t *testing.T) {
	t.Parallel()
	c := control(t, script(t, `exit 0`))
	if _, err := c.Endpoints(t.Context()); !errors.Is(err, asterisk.ErrUnparsable) {
		t.Errorf("endpoints: got %v", err)
	}
	if reply, state := c.ReloadPJSIP(t.Context()); state != asterisk.ReloadUnclear || reply.ExitCode != 0 {
		t.Errorf("reload: got %s, %+v", state, reply)
	}
}

func TestAnInvalidTargetIsRejected(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"exec:", "exec:  ", "a\nb", "a\x00"} {
		if _, err := asterisk.NewControl(target); err == nil {
			t.Errorf("%q was accepted", target)
		}
	}
	if got := control(t, "").Target(); got != asterisk.DefaultSocket {
		t.Errorf("default is %q", got)
	}
}

func TestAnAnswerThatLostALineIsRequestedAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		line           int // the line that is lost
		times, answers int // how often it is lost, and how many answers the portal then reads
	}{
		{"no line", 1, 0, 1},
		{"a step", 2, 1, 2},
		{"an extension", 1, 2, 3},
		{"the end", 5, 1, 2},
		{"a step each time", 2, 9, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answers := 0 // one command after the other
			honest := asterisktest.Loaded(twoUsers())
			s := asterisktest.New(t, func(command string, out io.Writer, done <-chan struct{}) {
				var whole strings.Builder
				honest(command, &whole, done)
				lines := strings.SplitAfter(whole.String(), "\n")
				if answers++; answers <= c.times {
					lines = slices.Delete(lines, c.line, c.line+1)
				}
				_, _ = io.WriteString(out, strings.Join(lines, ""))
			})
			steps, _, err := control(t, s.Socket).Extensions(t.Context(), "synergy-internal")
			if lost := errors.Is(err, asterisk.ErrUnparsable); lost != (c.times > 2) || !lost && (err != nil || len(steps) != 3) || len(s.Commands()) != c.answers {
				t.Errorf("%d steps and %v from %d answers", len(steps), err, len(s.Commands()))
			}
		})
	}
}
