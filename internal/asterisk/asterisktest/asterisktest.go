// Package asterisktest answers on a control socket like an Asterisk that misbehaves on purpose.
//
// It serves only faults that a real Asterisk cannot be made to show on demand; everything else is tested against a real
// one (lab/labtest). It parses nothing of ours and keeps no state but the commands it was sent.
package asterisktest

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
)

// Behaviour writes the answer to one command. Done is closed when the asker or the test has gone away.
type Behaviour func(command string, out io.Writer, done <-chan struct{})

// Objects is what a scripted Asterisk claims to have loaded.
type Objects struct {
	IDs     map[string][]string // by type
	Context string
	Steps   []asterisk.Extension
	Hashes  map[string]string // by kind and id, "auth/1000": the one attribute whose name begins with @
}

// Server is a scripted Asterisk.
type Server struct {
	// Socket is the path for asterisk.NewControl.
	Socket string

	mu        sync.Mutex // guards what follows
	behaviour Behaviour
	commands  []string
}

// New serves the behaviour until the test ends.
func New(t testing.TB, behaviour Behaviour) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") //nolint:usetesting // t.TempDir can be longer than a socket's path may be
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Socket: filepath.Join(dir, "asterisk.ctl"), behaviour: behaviour}
	listener, err := net.Listen("unix", s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, acceptErr := listener.Accept()
			if acceptErr != nil {
				return
			}
			serving.Go(func() { s.serve(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		serving.Wait()
		_ = os.RemoveAll(dir)
	})
	return s
}

// Set changes the behaviour from the next command on.
func (s *Server) Set(behaviour Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = behaviour
}

// Commands returns what was asked so far, in order.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

func (s *Server) serve(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "test/1/22.0.0\n"); err != nil {
		return
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadString(0)
	command, ok := strings.CutPrefix(strings.TrimSuffix(line, "\x00"), "cli quit after ")
	if err != nil || !ok {
		return
	}
	s.mu.Lock()
	s.commands = append(s.commands, command)
	behaviour := s.behaviour
	s.mu.Unlock()
	// The client sends nothing more, so the end of reading means that it has disconnected.
	var watching sync.WaitGroup
	watching.Go(func() {
		_, _ = in.ReadByte()
		cancel()
	})
	behaviour(command, conn, ctx.Done())
	_ = conn.Close()
	watching.Wait()
}

// Loaded answers every question from the objects and claims that every reload worked, so it also plays the Asterisk that silently
// ignores new files.
func Loaded(o Objects) Behaviour {
	return func(command string, out io.Writer, _ <-chan struct{}) {
		_, _ = io.WriteString(out, answer(o, command))
	}
}

// Reading answers every question from what it has read, which a reload has it do again: a stand-in that says of itself what is true.
func Reading(read func() Objects) Behaviour {
	var mu sync.Mutex
	var loaded Objects
	return func(command string, out io.Writer, _ <-chan struct{}) {
		mu.Lock()
		defer mu.Unlock()
		if isReload(command) {
			loaded = read()
		}
		_, _ = io.WriteString(out, answer(loaded, command))
	}
}

// Busy says n times that another reload is in progress, then behaves like next.
func Busy(n int, next Behaviour) Behaviour {
	var mu sync.Mutex
	return func(command string, out io.Writer, done <-chan struct{}) {
		if isReload(command) {
			mu.Lock()
			n--
			busy := n >= 0
			mu.Unlock()
			if busy {
				_, _ = io.WriteString(out, "A module reload request is already in progress; please be patient\n")
				return
			}
		}
		next(command, out, done)
	}
}

// Queued says that Asterisk is still booting, and behaves like next for all but reloads.
func Queued(next Behaviour) Behaviour {
	return func(command string, out io.Writer, done <-chan struct{}) {
		if isReload(command) {
			_, _ = io.WriteString(out, "Asterisk cannot reload a module yet; request queued\n")
			return
		}
		next(command, out, done)
	}
}

// Slow takes that long for a reload, and goes on answering everything else like next.
func Slow(reload time.Duration, next Behaviour) Behaviour {
	return func(command string, out io.Writer, done <-chan struct{}) {
		if isReload(command) {
			select {
			case <-done:
			case <-time.After(reload):
			}
		}
		next(command, out, done)
	}
}

// Hang accepts every command and never answers.
func Hang() Behaviour {
	return func(_ string, _ io.Writer, done <-chan struct{}) { <-done }
}

// Endless never stops answering.
func Endless() Behaviour {
	return func(_ string, out io.Writer, done <-chan struct{}) {
		chunk := []byte(strings.Repeat("and so on\n", 1000))
		for {
			select {
			case <-done:
				return
			default:
				if _, err := out.Write(chunk); err != nil {
					return
				}
			}
		}
	}
}

// Dies closes the connection after half of what next would have said.
func Dies(next Behaviour) Behaviour {
	return func(command string, out io.Writer, done <-chan struct{}) {
		var whole strings.Builder
		next(command, &whole, done)
		_, _ = io.WriteString(out, whole.String()[:whole.Len()/2])
	}
}

// Garbage answers with what no Asterisk says.
func Garbage() Behaviour {
	return func(_ string, out io.Writer, _ <-chan struct{}) {
		_, _ = io.WriteString(out, "\x00\x01 (ok) \xff\n\n{}")
	}
}

func isReload(command string) bool {
	return command == "dialplan reload" || strings.HasPrefix(command, "module reload ")
}

func answer(o Objects, command string) string {
	command, like, some := strings.Cut(command, " like ")
	ids := func(all []string) []string { return all }
	if some {
		wanted := regexp.MustCompile(like)
		ids = func(all []string) []string {
			return slices.DeleteFunc(slices.Clone(all), func(id string) bool { return !wanted.MatchString(id) })
		}
	}
	switch command {
	case "module reload res_pjsip.so":
		return "Module 'res_pjsip.so' reloaded successfully.\n"
	case "dialplan reload":
		return "Dialplan reloaded.\n"
	case "core show version":
		return "Asterisk 22.0.0 built by test @ test\n"
	case "core waitfullybooted":
		return "Asterisk has fully booted.\n"
	case "pjsip list endpoints":
		return list(" Endpoint:  ", ids(o.IDs["endpoint"]))
	case "pjsip list auths":
		return list("     Auth:  ", ids(o.IDs["auth"]))
	case "pjsip list aors":
		return list("      Aor:  ", ids(o.IDs["aor"]))
	case "pjsip list identifies":
		return list(" Identify:  ", ids(o.IDs["identify"]))
	case "pjsip list registrations":
		return registrations(ids(o.IDs["registration"]))
	case "pjsip list contacts":
		return list("  Contact:  ", nil)
	case "dialplan show " + o.Context:
		return dialplan(o)
	case "database show registrar contact":
		return "0 results found.\n"
	}
	if strings.HasPrefix(command, "dialplan eval function EVAL(") {
		values := ""
		for _, asked := range attribute.FindAllStringSubmatch(command, -1) {
			values += o.Hashes[asked[1]+"/"+asked[2]] + "|"
		}
		return "Return Value: Success (0)\nResult: " + values + "\n"
	}
	if exten, ok := strings.CutSuffix(command, "@"+o.Context); ok {
		exten = strings.TrimPrefix(exten, "dialplan show ")
		o.Steps = slices.DeleteFunc(slices.Clone(o.Steps), func(s asterisk.Extension) bool { return s.Exten != exten })
		if len(o.Steps) == 0 {
			return fmt.Sprintf("There is no existence of %s@%s extension\nCommand '%s' failed.\n", exten, o.Context, command)
		}
		return dialplan(o)
	}
	if name, ok := strings.CutPrefix(command, "dialplan show "); ok {
		return fmt.Sprintf("There is no existence of '%s' context\nCommand '%s' failed.\n", name, command)
	}
	return fmt.Sprintf("No such command '%s' (type 'core show help %s' for other possible commands)\n", command, command)
}

// attribute matches one attribute of one object in a question for several.
var attribute = regexp.MustCompile(`AST_SORCERY\(res_pjsip,(\w+),([^,]+),@`)

func list(label string, ids []string) string {
	if len(ids) == 0 {
		return "No objects found.\n\n"
	}
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s<Id......>\n==========\n\n", label)
	for _, id := range ids {
		fmt.Fprintf(&text, "%s%-50s Unavailable   0 of inf\n", label, id)
	}
	fmt.Fprintf(&text, "\nObjects found: %d\n\n", len(ids))
	return text.String()
}

// registrations lists ids in the one form that has no labels.
func registrations(ids []string) string {
	if len(ids) == 0 {
		return "No objects found.\n\n"
	}
	var text strings.Builder
	text.WriteString("\n <Registration/ServerURI..............................>  <Auth....................>  <Status.......>\n==========\n\n")
	for _, id := range ids {
		fmt.Fprintf(&text, " %-55s  %-26s  Unregistered\n", id+"/sip:192.0.2.1", id)
	}
	fmt.Fprintf(&text, "\nObjects found: %d\n\n", len(ids))
	return text.String()
}

func dialplan(o Objects) string {
	var text strings.Builder
	fmt.Fprintf(&text, "[ Context '%s' created by 'pbx_config' ]\n", o.Context)
	extens, last := 0, ""
	for i, step := range o.Steps {
		left := ""
		if i == 0 || step.Exten != last {
			left, last = "'"+step.Exten+"' =>", step.Exten
			extens++
		}
		right := fmt.Sprintf("%d. %s(%s)", step.Priority, step.App, step.AppData)
		if step.Priority == asterisk.HintPriority {
			right = "hint: " + step.AppData
		}
		fmt.Fprintf(&text, "  %-17s %-45s [%s:%d]\n", left, right, cmp.Or(step.File, "generated_routing.conf"), i+1)
	}
	fmt.Fprintf(&text, "\n-= %d extensions (%d priorities) in 1 context. =-\n", extens, len(o.Steps))
	return text.String()
}
