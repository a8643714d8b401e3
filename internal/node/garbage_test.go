package node_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/asterisk/asterisktest"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// beConsole makes the test binary a console of Asterisk that relays a command to the socket given here, for ASTERISK_CONTROL=exec:.
const beConsole = "PBXPORTAL_BE_A_CONSOLE"

func TestMain(m *testing.M) {
	socket := os.Getenv(beConsole)
	if socket == "" {
		os.Exit(m.Run())
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, err = io.WriteString(conn, "cli quit after "+os.Args[len(os.Args)-1]+"\x00")
	said, readErr := io.ReadAll(conn)
	if err != nil || readErr != nil {
		os.Exit(1)
	}
	_, answer, _ := strings.Cut(string(said), "\n") // after the greeting
	_, _ = io.WriteString(os.Stdout, answer)
	os.Exit(0)
}

// said holds the answer of a console, and earlier ones.
type said struct {
	command string
	honest  string
	before  string // the answer to the same command before anything was changed; "": none
	last    string // the answer to the previous command
}

// garble returns garbage in place of an answer. It differs from the genuine answer, unless that contains nothing to spoil.
type garble func(s said) string

func lines(text string, change func(i int, line string) string) string {
	var b strings.Builder
	i := 0
	for line := range strings.Lines(text) {
		b.WriteString(change(i, line))
		i++
	}
	return b.String()
}

// garbles are the kinds of garbage.
func garbles() map[string]garble {
	constant := func(text string) garble { return func(said) string { return text } }
	cut := func(parts, of int) garble { return func(s said) string { return s.honest[:len(s.honest)*parts/of] } }
	digits := regexp.MustCompile(`\d+`)
	return map[string]garble{
		"nothing":                    constant(""),
		"an empty line":              constant("\n"),
		"blanks":                     constant("   \t \n\n"),
		"ok":                         constant("ok\n"),
		"a page of HTML":             constant("<!DOCTYPE html>\n<html><body>Objects found: 0</body></html>\n"),
		"JSON":                       constant("{\"result\": [], \"Objects found\": 0}\n"),
		"a prompt for a password":    constant("[sudo] password for portal: "),
		"a refusal of the system":    constant("Permission denied\n"),
		"a client that found nobody": constant("Unable to connect to remote asterisk (does /var/run/asterisk.ctl exist?)\n"),
		"a client that was cut off":  constant("Disconnected from Asterisk server\n"),
		"no such command": func(s said) string {
			return "No such command '" + s.command + "' (type 'core show help' for other possible commands)\n"
		},
		"a failed command":               func(s said) string { return "Command '" + s.command + "' failed.\n" },
		"the version":                    constant("Asterisk 22.0.0 built by test @ test on a x86_64 running Linux on 2026-01-01\n"),
		"only the answer to a reload":    constant("Module 'res_pjsip.so' reloaded successfully.\nDialplan reloaded.\n"),
		"only that there is nothing":     constant("No objects found.\n\n"),
		"only that there is no context":  constant("There is no existence of 'other' context\n"),
		"only a count of none":           constant("\nObjects found: 0\n\n"),
		"only a total of none":           constant("-= 0 extensions (0 priorities) in 0 contexts. =-\n"),
		"the answer to another question": func(s said) string { return strings.ReplaceAll(s.last, s.honest, "") },
		"the answer of before":           func(s said) string { return strings.ReplaceAll(s.before, s.honest, "") },
		"the first quarter":              cut(1, 4),
		"the first half":                 cut(1, 2),
		"three quarters":                 cut(3, 4),
		"all but the last words":         func(s said) string { return s.honest[:max(0, len(strings.TrimSpace(s.honest))-4)] },
		"all but the last line": func(s said) string {
			return s.honest[:max(0, strings.LastIndexByte(strings.TrimSpace(s.honest), '\n'))]
		},
		"the second half":         func(s said) string { return s.honest[len(s.honest)/2:] },
		"all but the first words": func(s said) string { return strings.TrimSpace(s.honest)[4:] },
		"everything twice":        func(s said) string { return s.honest + s.honest },
		"every line twice":        func(s said) string { return lines(s.honest, func(_ int, l string) string { return l + l }) },
		"every line in halves": func(s said) string {
			return lines(s.honest, func(_ int, l string) string { return l[:len(l)/2] + "\n" + l[len(l)/2:] })
		},
		"the lines from the last to the first": func(s said) string {
			all := strings.Split(strings.TrimSpace(s.honest), "\n")
			slices.Reverse(all)
			return strings.Join(all, "\n") + "\n"
		},
		"without every second line": func(s said) string {
			return lines(s.honest, func(i int, l string) string { return strings.Repeat(l, i%2) })
		},
		"with a wrong total": func(s said) string { return digits.ReplaceAllString(s.honest, "77") },
		"without digits":     func(s said) string { return digits.ReplaceAllString(s.honest, "#") },
		"in capitals":        func(s said) string { return strings.ToUpper(s.honest) },
		"in colours": func(s said) string {
			return lines(s.honest, func(_ int, l string) string { return "\x1b[1;32m" + strings.TrimSuffix(l, "\n") + "\x1b[0m\n" })
		},
		"behind a prompt": func(s said) string { return lines(s.honest, func(_ int, l string) string { return "pbx*CLI> " + l }) },
		"quoted":          func(s said) string { return lines(s.honest, func(_ int, l string) string { return "> " + l }) },
		"below a banner":  func(s said) string { return "Welcome to pbx. All sessions are recorded.\n" + s.honest },
		"above a notice":  func(s said) string { return s.honest + "You have new mail in /var/mail/root\n" },
		"among lines of a log": func(s said) string {
			return lines(s.honest, func(_ int, l string) string { return l + "[Jan  1 00:00:00] WARNING[1]: x.c:1 f: text\n" })
		},
		"in UTF-16":           func(s said) string { return wide(s.honest) },
		"with zero bytes":     func(s said) string { return strings.ReplaceAll(s.honest, "o", "\x00") },
		"with invalid bytes":  func(s said) string { return strings.ReplaceAll(s.honest, "e", "\xe9") },
		"in base64":           func(s said) string { return base64.StdEncoding.EncodeToString([]byte(s.honest)) },
		"in another language": func(s said) string { return strings.NewReplacer("o", "ö", "a", "ä", "u", "ü").Replace(s.honest) },
		"on one line":         func(s said) string { return strings.ReplaceAll(strings.TrimSpace(s.honest), "\n", " ") + " |" },
		"of other objects": func(s said) string {
			return strings.NewReplacer("Endpoint", "Mailbox", "Auth", "Mailbox", "Aor", "Mailbox", "synergy-internal", "default", "objects", "mailboxes", "Result", "Rest", "eloaded", "ead").Replace(s.honest)
		},
		"without an end":      nil, // it hangs
		"longer than is read": func(s said) string { return s.honest + strings.Repeat("and so on\n", 1<<19) },
	}
}

// wide returns a text as UTF-16.
func wide(text string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		b.WriteByte(byte(unit))
		b.WriteByte(byte(unit >> 8))
	}
	return b.String()
}

// scope selects the answers that are garbage.
type scope struct {
	reloads, questions bool
	dropped            bool // the reload command does not reach Asterisk
}

func scopes() map[string]scope {
	return map[string]scope{
		"all of it, and nothing is reloaded":                {true, true, true},
		"all of it":                                         {true, true, false},
		"the answers to reloads":                            {true, false, false},
		"the answers to reloads, and nothing is reloaded":   {true, false, true},
		"the answers to questions":                          {false, true, false},
		"the answers to questions, and nothing is reloaded": {false, true, true},
	}
}

// readable are the kinds of garbage that contain the whole answer, as that of docker exec -t does. Through a command they are accepted; from the socket they are
// not an answer of Asterisk.
func readable(kind string) bool { return kind == "in colours" || kind == "behind a prompt" }

// console is between the portal and an Asterisk.
type console struct {
	ask func(command string) string // returns the genuine answer

	mu      sync.Mutex // guards the fields below
	garble  garble     // nil: it hangs
	scope   scope
	before  map[string]string
	last    string
	reads   bool // the garbage is readable
	spoiled int  // the number of garbled answers
}

// spoil garbles the answers in the scope, until the next call.
func (c *console) spoil(g garble, s scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.garble, c.scope, c.spoiled = g, s, 0
}

// behave answers a command.
func (c *console) behave(command string, out io.Writer, done <-chan struct{}) {
	reload := command == "dialplan reload" || strings.HasPrefix(command, "module reload ")
	c.mu.Lock()
	scope, garble := c.scope, c.garble
	c.mu.Unlock()
	var honest string
	switch {
	case reload && scope.dropped && command == "dialplan reload":
		honest = "Dialplan reloaded.\n"
	case reload && scope.dropped:
		honest = "Module 'res_pjsip.so' reloaded successfully.\n"
	default:
		honest = c.ask(command)
	}
	answer := honest
	c.mu.Lock()
	if reload && scope.reloads || !reload && scope.questions {
		if garble == nil {
			c.spoiled++
			c.mu.Unlock()
			<-done
			return
		}
		answer = garble(said{command, honest, c.before[command], c.last})
	}
	if strings.TrimSpace(answer) != strings.TrimSpace(honest) && !c.reads || reload && scope.dropped {
		c.spoiled++
	}
	if scope == asNothing() {
		c.before[command] = honest
	}
	c.last = honest
	c.mu.Unlock()
	_, _ = io.WriteString(out, answer)
}

// asNothing is the scope of a console without garbage.
func asNothing() scope { return scope{} }

// beside is a portal with a console that can return garbage.
type beside struct {
	*site
	console *console
	command bool // the console is reached through a command
}

// applyHonestly applies without garbage until it is confirmed: on a busy machine Asterisk may not answer in time at first.
func (b *beside) applyHonestly(t *testing.T) {
	t.Helper()
	for range 5 {
		if run, err := b.apply(t, apply.Request{}); err == nil && run.Verification == pbx.Confirmed {
			return
		}
	}
	b.mustApply(t)
}

// newBeside returns a portal with an Asterisk, a scripted or a real one, whose console is reached through a socket or a command.
func newBeside(t *testing.T, really, command bool) *beside {
	t.Helper()
	dir := t.TempDir()
	c := &console{before: map[string]string{}}
	if really {
		a := labtest.Asterisk(t)
		control := a.Control()
		dir = a.ConfigDir
		c.ask = func(command string) string {
			reply, err := control.Run(t.Context(), command)
			if err != nil || reply.Fault != asterisk.FaultNone {
				return ""
			}
			return reply.Stdout
		}
	} else {
		behave := asterisktest.Reading(func() asterisktest.Objects { return loaded(dir) })
		c.ask = func(command string) string {
			var b strings.Builder
			behave(command, &b, nil)
			return b.String()
		}
	}
	target := asterisktest.New(t, c.behave).Socket
	if command {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		target = "exec:/usr/bin/env " + beConsole + "=" + target + " " + self
	}
	control, err := asterisk.NewControl(target)
	if err != nil {
		t.Fatal(err)
	}
	local, err := node.New(dir, control.WithTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	db := storetest.New(t)
	return &beside{&site{nil, local, db, directory.New(db, time.Now), apply.New(apply.Config{Store: db, Target: local, Now: time.Now})}, c, command}
}

// truth queries Asterisk directly, without garbage, whether it runs the files of a revision.
func (b *beside) truth(t *testing.T, revision int) bool {
	t.Helper()
	run, err := b.engine.Revision(t.Context(), revision)
	if err != nil {
		t.Fatal(err)
	}
	return b.runs(t, run.Files)
}

// runs reports whether Asterisk runs these files, according to an honest console.
func (b *beside) runs(t *testing.T, files []pbx.File) bool {
	t.Helper()
	b.console.spoil(nil, asNothing())
	inventory, err := render.Read(files)
	if err != nil {
		t.Fatal(err)
	}
	want := inventory.Live()
	live, err := b.node.Live(t.Context(), everything(want))
	if err != nil {
		t.Fatal(err)
	}
	byText := func(a, b pbx.Step) bool { return fmt.Sprint(a) < fmt.Sprint(b) }
	return cmp.Equal(want, live, cmpopts.EquateEmpty(), cmpopts.SortSlices(byText))
}

func TestNoGarbageOnTheConsoleCountsAsProofAtLength(t *testing.T) {
	t.Parallel()
	if n := len(garbles()); n < 40 {
		t.Errorf("%d kinds of garbage", n)
	}
	states := map[string]func(t *testing.T, b *beside){
		"a new user":      func(t *testing.T, b *beside) { b.create(t, "New") },
		"a deleted user":  func(t *testing.T, b *beside) { b.deleteLast(t, 1) },
		"a new secret":    func(t *testing.T, b *beside) { b.deleteLast(t, 1); b.create(t, "Takes the number") },
		"no users":        func(t *testing.T, b *beside) { b.deleteLast(t, 1000) },
		"the first apply": nil,
	}
	type run struct{ state, garble, scope string }
	var mu sync.Mutex
	counts := map[string]int{}
	t.Cleanup(func() { t.Logf("%d kinds of garbage, %d applies: %v", len(garbles()), counts["applies"], counts) })
	try := func(t *testing.T, b *beside, r run) {
		t.Helper()
		at := fmt.Sprintf("%s, %s is %q", r.state, r.scope, r.garble)
		before, err := b.node.Inspect()
		if err != nil {
			t.Fatal(err)
		}
		b.console.spoil(garbles()[r.garble], scopes()[r.scope])
		b.console.reads = b.command && readable(r.garble)
		run, applyErr := b.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
		b.console.mu.Lock()
		spoiled := b.console.spoiled
		b.console.mu.Unlock()
		after, err := b.node.Inspect()
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		counts["applies"]++
		counts[string(run.Result)]++
		mu.Unlock()
		switch {
		case spoiled == 0: // the answers contained nothing to spoil
			if applyErr != nil || !b.truth(t, after.Current) {
				t.Errorf("%s: honest answers, and %v", at, applyErr)
			}
		case applyErr == nil || run.Log.Outcome != pbx.Failure || run.Verification == pbx.Confirmed:
			t.Errorf("%s: ended as %s, %s, %s; it was seen to run: %t", at, run.Result, run.Log.Outcome, run.Verification, b.truth(t, after.Current))
		case run.Result == pbx.RolledBack:
			again := before.LastVerified == 0 && b.runs(t, after.Files) // the empty files that were adopted, which have no record
			if before.LastVerified != 0 {
				again = b.truth(t, before.LastVerified)
			}
			if !again || after.Ahead() {
				t.Errorf("%s: it says that revision %d runs again", at, before.LastVerified)
			}
		case !after.Ahead() || after.LastVerified == run.Revision && run.Revision != 0:
			t.Errorf("%s: %s, and revision %d counts as seen to run, %d in place", at, run.Result, after.LastVerified, after.Current)
		}
		if previous, err := b.engine.Previous(t.Context()); err == nil {
			if story, err := b.engine.Revision(t.Context(), previous); err != nil || story.Verification != pbx.Confirmed {
				t.Errorf("%s: one would go back to revision %d, %s, %v", at, previous, story.Verification, err)
			}
		}
		b.console.spoil(nil, asNothing())
		if after.Ahead() { // the portal then catches up automatically, and records it
			done, err := b.engine.CatchUp(t.Context())
			page, logErr := b.engine.Logs(t.Context(), apply.LogQuery{Limit: 1})
			if !done || err != nil || logErr != nil || page.Logs[0].TriggeredBy != "portal" || page.Logs[0].Outcome != pbx.Success {
				t.Errorf("%s: with an honest console: %t, %v, record %+v", at, done, err, page.Logs)
			}
		}
		b.applyHonestly(t)
		if site, err := b.node.Inspect(); err != nil || site.Ahead() || !b.truth(t, site.Current) {
			t.Errorf("%s: in the end %d is in place and %d good, %v", at, site.Current, site.LastVerified, err)
		}
	}
	for _, way := range []struct {
		name            string
		really, command bool
		each            int // the distance between the kinds of garbage that are tried
	}{
		{"a socket", false, false, 1},
		{"a command", false, true, labtest.Soak(12, 5)},
		{"the socket of a real Asterisk", true, false, labtest.Soak(17, 1)},
		{"a command to a real Asterisk", true, true, labtest.Soak(25, 5)},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			if way.command && testing.Short() { // under the race detector starting a command takes as long as its answer may; make test tries them
				return
			}
			var b *beside
			for g, garble := range slices.Sorted(maps.Keys(garbles())) {
				for s, state := range slices.Sorted(maps.Keys(states)) {
					for c, scope := range slices.Sorted(maps.Keys(scopes())) {
						// make test tries each kind once, with alternating states and scopes; make soak tries all combinations of the kinds that are tried.
						if g%way.each != 0 && !(way.command && readable(garble)) || !labtest.Soak(s == g%len(states) && c == g%len(scopes()), true) {
							continue
						}
						r := run{state, garble, scope}
						if states[state] == nil {
							t.Run(garble+", "+scope, func(t *testing.T) { // its Asterisk and its database end with it
								first := newBeside(t, way.really, way.command)
								first.create(t, "First")
								try(t, first, r)
							})
							continue
						}
						if b == nil {
							b = newBeside(t, way.really, way.command)
						}
						b.console.spoil(nil, asNothing())
						for b.count(t) < 3 {
							b.create(t, "Stays")
						}
						b.applyHonestly(t)
						states[state](t, b)
						try(t, b, r)
					}
				}
			}
		})
	}
}

func (b *beside) mustApply(t *testing.T) {
	t.Helper()
	if run, err := b.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); err != nil || run.Verification != pbx.Confirmed {
		t.Fatalf("with an honest console: %s, %v", run.Result, err)
	}
}

func (b *beside) count(t *testing.T) int {
	t.Helper()
	users, err := b.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	return len(users)
}

// deleteLast deletes up to n users, those with the highest numbers.
func (b *beside) deleteLast(t *testing.T, n int) {
	t.Helper()
	users, err := b.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range users[max(0, len(users)-n):] {
		if _, err := b.directory.Delete(t.Context(), pbx.DefaultTenant, u.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestThePortalCatchesUpWithTheEmptyFilesFromBeforeTheFirstApply(t *testing.T) {
	t.Parallel()
	b := newBeside(t, true, false) // its files are there, and empty
	b.create(t, "First")
	b.console.spoil(garbles()["ok"], scopes()["the answers to reloads, and nothing is reloaded"])
	run, err := b.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if err == nil || run.Result != pbx.RollbackFailed {
		t.Fatalf("%s, %v", run.Result, err)
	}
	b.console.spoil(nil, asNothing())
	if done, err := b.engine.CatchUp(t.Context()); !done || err != nil {
		t.Errorf("%t, %v", done, err)
	}
}
