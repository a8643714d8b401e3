//go:build linux

package faults_test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/proc"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// edit changes one of the administrator's files.
func (s *site) edit(t *testing.T, name string, change func(text string) string) {
	t.Helper()
	path := filepath.Join(s.asterisk.ConfigDir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
}

// before and behind add lines at the beginning and at the end of pjsip.conf, which includes the portal's file in its last line.
func before(lines string) func(string) string {
	return func(text string) string { return lines + text }
}

func behind(lines string) func(string) string {
	return func(text string) string { return text + lines }
}

// above adds lines just before the include.
func above(lines string) func(string) string {
	return func(text string) string {
		return strings.Replace(text, "#include pjsip.d", lines+"#include pjsip.d", 1)
	}
}

// client runs a command through Asterisk's own client, as a simple program would, and returns its exit code; -1 if
// there is none after 3 s.
func (s *site) client(ctx context.Context, command string) int {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	result, err := proc.Run(ctx, proc.Command{Argv: append(s.asterisk.Client(), "-rx", command)})
	if err != nil {
		return -1
	}
	return result.ExitCode
}

// kind is a way in which a reload fails.
type kind struct {
	row     int        // in the table of faults
	ends    pbx.Result // the expected result: the old files run again, or the new ones wait
	options lab.AsteriskOptions
	prepare func(*testing.T, *site)                       // before the first apply
	fail    func(*testing.T, *site)                       // unnoticed by the portal, before the apply
	during  func(*testing.T, *site) (before, after hooks) // … or during the apply
	client  func(*testing.T, *site) (code int)            // runs Asterisk's client and returns its exit code; default: both reloads in sequence
	fix     func(*testing.T, *site)                       // fixes the cause: the next apply must succeed
	same    bool                                          // the change keeps the number and the length of everything
}

// kinds returns all known ways in which Asterisk does not run the intended configuration after a reload.
func kinds() map[string]kind {
	edited := func(name string, change func(string) string) kind {
		var original string
		return kind{
			row: 22, ends: pbx.RolledBack,
			fail: func(t *testing.T, s *site) {
				s.edit(t, name, func(text string) string { original = text; return change(text) })
			},
			fix: func(t *testing.T, s *site) { s.edit(t, name, func(string) string { return original }) },
		}
	}
	restart := func(t *testing.T, s *site) {
		t.Helper()
		if err := s.asterisk.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	kill := func(t *testing.T, s *site) {
		t.Helper()
		if err := s.asterisk.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	suspend := func(t *testing.T, s *site) {
		t.Helper()
		if err := s.asterisk.Suspend(); err != nil {
			t.Error(err)
		}
	}
	unclosed := edited("pjsip.conf", above(";-- until later\n"))
	unclosed.ends = pbx.RollbackFailed // the comment hides the old files as well
	return map[string]kind{
		"a syntax error in the first line of pjsip.conf":        edited("pjsip.conf", before("[broken\n")),
		"a syntax error in the line before ours":                edited("pjsip.conf", above("[broken\n")),
		"a comment that is never closed":                        unclosed,
		"an include of a file that is not there":                edited("pjsip.conf", above("#include gone.conf\n")),
		"an object that is there twice":                         edited("pjsip.conf", above("[trunk]\ntype=endpoint\n[trunk]\ntype=endpoint\n")),
		"an option Asterisk does not know, added to our object": edited("pjsip.conf", behind("[1000](+type=endpoint)\nnonsense=1\n")),
		"an include that leads to no file": edited("pjsip.conf", func(text string) string {
			return strings.Replace(text, "synergycall/*.conf", "synergy-call/*.conf", 1)
		}),
		"a dialplan with a syntax error": edited("extensions.conf", before("[broken\n")),
		"a file Asterisk may not read": {
			row: 12, ends: pbx.RolledBack,
			options: lab.AsteriskOptions{Ordinary: true},
			during: func(t *testing.T, s *site) (hooks, hooks) {
				return nil, hooks{"flip": func() {
					if err := os.Chmod(filepath.Join(s.asterisk.ConfigDir, pbx.PJSIPPath), 0); err != nil {
						t.Error(err)
					}
				}}
			},
			fix: func(*testing.T, *site) {}, // the next revision is a new file
		},
		"a file of the same size and time": {
			row: 32, ends: pbx.RolledBack,
			same: true,
			prepare: func(t *testing.T, s *site) { // Asterisk then reads a file only if its size or time has changed
				s.edit(t, "pjsip.conf", func(text string) string { return strings.Replace(text, "*.conf", "generated_endpoints.conf", 1) })
				restart(t, s)
			},
			during: func(t *testing.T, s *site) (hooks, hooks) {
				path := filepath.Join(s.asterisk.ConfigDir, pbx.PJSIPPath)
				old, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				return nil, hooks{"flip": func() {
					if now, err := os.Stat(path); err != nil || now.Size() != old.Size() {
						return // this is the rollback
					}
					if err := os.Chtimes(path, old.ModTime(), old.ModTime()); err != nil {
						t.Error(err)
					}
				}}
			},
			fix: func(*testing.T, *site) {},
		},
		"an Asterisk without the module for PJSIP": {
			row: 19, ends: pbx.FilesAhead,
			fail: func(t *testing.T, s *site) {
				s.edit(t, "modules.conf", func(string) string { return "[modules]\nautoload=no\nload=pbx_config.so\nload=app_dial.so\n" })
				restart(t, s)
			},
			fix: func(t *testing.T, s *site) {
				s.edit(t, "modules.conf", func(string) string { return s.modules })
				restart(t, s)
			},
		},
		"an Asterisk without the module for the dialplan": {
			row: 19, ends: pbx.FilesAhead,
			fail: func(t *testing.T, s *site) {
				if _, err := s.control.Run(t.Context(), "module unload pbx_config.so"); err != nil {
					t.Fatal(err)
				}
			},
			fix: restart,
		},
		"an Asterisk that is busy with another reload": {
			row: 21, ends: pbx.FilesAhead,
			prepare: func(t *testing.T, s *site) {
				s.edit(t, "asterisk.conf", func(text string) string { return strings.Replace(text, "execincludes = no", "execincludes = yes", 1) })
				restart(t, s)
			},
			fail: func(t *testing.T, s *site) { s.busy(t) },
			fix:  func(t *testing.T, s *site) { s.idle(t) },
		},
		"an Asterisk that is down": {row: 19, ends: pbx.FilesAhead, fail: kill, fix: restart},
		"an Asterisk that is hung": {
			row: 20, ends: pbx.FilesAhead,
			fail: suspend,
			fix: func(t *testing.T, s *site) {
				if err := s.asterisk.Resume(); err != nil {
					t.Fatal(err)
				}
			},
		},
		"an Asterisk that dies during the reload": {
			row: 23, ends: pbx.FilesAhead,
			fail: suspend,
			during: func(t *testing.T, s *site) (hooks, hooks) {
				return hooks{"reload": func() { go s.killWhenAsked(t) }}, nil
			},
			client: func(t *testing.T, s *site) int {
				restart(t, s)
				suspend(t, s)
				go s.killWhenAsked(t)
				return s.client(t.Context(), "module reload res_pjsip.so")
			},
			fix: restart,
		},
	}
}

// killWhenAsked kills a suspended Asterisk once a client waits for its answer.
func (s *site) killWhenAsked(t *testing.T) {
	connected := func() bool {
		// A connection in the queue of the socket shows as a second line with its path.
		text, err := os.ReadFile("/proc/net/unix")
		return err == nil && strings.Count(string(text), s.asterisk.ControlSocket+"\n") > 1
	}
	if !within(t.Context(), 4*time.Second, connected) {
		t.Error("no client queried Asterisk")
	}
	if err := s.asterisk.Kill(); err != nil {
		t.Error(err)
	}
}

// busy makes Asterisk reload another module, which takes until idle is called.
func (s *site) busy(t *testing.T) {
	t.Helper()
	s.gate = filepath.Join(t.TempDir(), "gate")
	script := s.gate + ".sh"
	text := "#!/bin/sh\ni=0\nwhile [ ! -e '" + s.gate + "' ] && [ $i -lt 600 ]; do sleep 0.05; i=$((i+1)); done\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	s.edit(t, "features.conf", func(text string) string { return text + "#exec " + script + "\n" })
	s.others = &sync.WaitGroup{}
	s.others.Go(func() {
		for t.Context().Err() == nil { // one of the queries below can block it at first
			reply, err := s.control.WithTimeout(40*time.Second).Run(context.WithoutCancel(t.Context()), "module reload features")
			if err != nil || !strings.Contains(reply.Stdout, "already in progress") {
				return
			}
		}
	})
	eventually(t, "Asterisk is busy", func() bool {
		reply, err := s.control.Run(t.Context(), "module reload acl")
		return err == nil && strings.Contains(reply.Stdout, "already in progress")
	})
}

func (s *site) idle(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(s.gate, nil, 0o600); err != nil {
		t.Error(err)
	}
	s.others.Wait()
}

func TestRow12AFileThatAsteriskCannotReadIsRolledBackAlthoughItReportsSuccess(t *testing.T) {
	t.Parallel()
	failedReload(t, 12)
}

func TestRow19WithAnAsteriskThatIsDownOrLacksModulesTheNewFilesStayAndItIsReported(t *testing.T) {
	t.Parallel()
	failedReload(t, 19)
}

func TestRow20WithAHungAsteriskTheNewFilesStayAndItIsReported(t *testing.T) {
	t.Parallel()
	failedReload(t, 20)
}

func TestRow21WithAnAsteriskThatStaysBusyTheNewFilesStayAndItIsReported(t *testing.T) {
	t.Parallel()
	failedReload(t, 21)
}

func TestRow22ADifferentLoadedConfigurationIsRolledBackAlthoughAsteriskReportsSuccess(t *testing.T) {
	t.Parallel()
	failedReload(t, 22)
}

func TestRow23WithAnAsteriskThatCrashesDuringTheReloadTheNewFilesStayAndItIsReported(t *testing.T) {
	t.Parallel()
	failedReload(t, 23)
}

func TestRow32AFileOfTheSameSizeAndTimeIsRolledBackAlthoughAsteriskReportsSuccess(t *testing.T) {
	t.Parallel()
	failedReload(t, 32)
}

// failedReload makes reloads fail in every way of a row of the table, on a real Asterisk and unnoticed by the portal's
// engine. The apply must not report success, and must end as in the row; the next one, after the cause is fixed, must succeed.
func failedReload(t *testing.T, row int) {
	t.Helper()
	all := kinds()
	if len(all) != 16 {
		t.Errorf("%d ways in which a reload fails; docs/promises.md lists 16", len(all))
	}
	maps.DeleteFunc(all, func(_ string, k kind) bool { return k.row != row })
	var mu sync.Mutex
	var detected, byExitCode []string
	t.Cleanup(func() {
		t.Logf("%d of %d kinds of failure detected (by the exit codes of Asterisk's client alone: %d)", len(detected), len(all), len(byExitCode))
		if len(detected) != len(all) || len(all) == 0 {
			t.Errorf("%d of %d kinds of failure detected", len(detected), len(all))
		}
	})
	for name, k := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := lookAt(t, labtest.Asterisk(t, k.options), storetest.SQLite(t))
			s.edit(t, "modules.conf", func(text string) string { s.modules = text; return text })
			if k.prepare != nil {
				k.prepare(t, s)
			}
			s.create(t)
			s.must(t, "apply")
			old := s.mustPair(t)
			s.replace(t)
			if !k.same {
				s.create(t)
			}
			fresh, want := s.meant(t)
			var before, after hooks
			if k.fail != nil {
				k.fail(t, s)
			}
			if k.during != nil {
				before, after = k.during(t, s)
			}
			run, err := s.hook(before, after).Apply(t.Context(), apply.Request{TriggeredBy: "test"})
			if err == nil || run.Log.Outcome != pbx.Failure || run.Verification == pbx.Confirmed {
				t.Errorf("the apply reports: %s, verification %s, error %v", run.Result, run.Verification, err)
			} else {
				mu.Lock()
				detected = append(detected, name)
				mu.Unlock()
			}
			wanted, inPlace := fresh, "new"
			if k.ends != pbx.FilesAhead {
				wanted, inPlace = old, "old"
			}
			if run.Result != k.ends || s.mustPair(t) != wanted {
				t.Errorf("the apply ends as %s: %v; want %s, and the %s files in place", run.Result, err, k.ends, inPlace)
			}
			if diff := s.runs(t.Context(), want); diff == "" {
				t.Error("this was no failure: Asterisk runs what was meant")
			}
			if k.client == nil {
				k.client = func(t *testing.T, s *site) int {
					return max(s.client(t.Context(), "module reload res_pjsip.so"), s.client(t.Context(), "dialplan reload"))
				}
			}
			if code := k.client(t, s); code > 0 { // 0 is a success; a client that waits forever has no exit code
				mu.Lock()
				byExitCode = append(byExitCode, name)
				mu.Unlock()
			}
			k.fix(t, s)
			if code, r := s.apply(t); code != 0 || r.Verification != "confirmed" {
				t.Errorf("after the cause was fixed, the next apply reported %+v", r)
			}
			if diff := s.runs(t.Context(), want); diff != "" {
				t.Errorf("Asterisk runs a different configuration:\n%s", diff)
			}
		})
	}
}

// reloadsOf returns the names of reloaded modules, as reported by the events of Asterisk's Manager Interface. "dialplan reload" is a
// command of a module and has no event.
func reloadsOf(t *testing.T, a *lab.Asterisk) <-chan string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", a.AMI.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "Action: Login\r\nUsername: %s\r\nSecret: %s\r\n\r\n", a.AMI.User, a.AMI.Secret); err != nil {
		t.Fatal(err)
	}
	modules, in, signedIn := make(chan string, 100), bufio.NewScanner(conn), make(chan struct{})
	go func() {
		defer close(modules)
		for in.Scan() {
			if in.Text() == "Message: Authentication accepted" {
				close(signedIn)
			}
			if name, ok := strings.CutPrefix(in.Text(), "Module: "); ok {
				modules <- name
			}
		}
	}()
	<-signedIn
	return modules
}

func TestOnlyTheModulesWhoseFilesChangedAreReloaded(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	s := newSite(t, a, storetest.SQLite(t), 2)
	reloads := reloadsOf(t, a)

	s.env["RING_TIMEOUT"] = "31"
	code, r := s.apply(t)
	if code != 0 || r.Verification != "confirmed" || r.Reload.PJSIP != nil || r.Reload.Dialplan == nil {
		t.Errorf("a changed ring time is only in the dialplan: exit code %d, %+v", code, r)
	}
	s.env["RTP_TIMEOUT"] = "61"
	code, r = s.apply(t)
	if code != 0 || r.Verification != "confirmed" || r.Reload.PJSIP == nil || r.Reload.Dialplan != nil {
		t.Errorf("a changed RTP timeout is only in PJSIP's file: exit code %d, %+v", code, r)
	}
	// Only the second apply may have reloaded PJSIP: the next event after it is that of this command.
	if reply, err := s.control.Run(t.Context(), "module reload cdr"); err != nil {
		t.Fatal(reply, err)
	}
	var reloaded []string
	for name := range reloads {
		if reloaded = append(reloaded, name); name == "cdr" {
			break
		}
	}
	if want := []string{"res_pjsip.so", "cdr"}; !slices.Equal(reloaded, want) {
		t.Errorf("Asterisk reloaded %q, want %q", reloaded, want)
	}
	s.create(t)
	code, r = s.apply(t)
	if code != 0 || r.Verification != "confirmed" || r.Reload.PJSIP == nil || r.Reload.Dialplan == nil {
		t.Errorf("a new user is in both files: exit code %d, %+v", code, r)
	}
}
