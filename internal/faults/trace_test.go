//go:build linux

package faults_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

// call is a system call with an effect outside the process, just before it happens.
type call struct {
	name string // its name in the kernel
	on   string // a path, "asterisk", "database"
}

func (c call) String() string { return c.name + " " + c.on }

// traced is a process under ptrace, so that it can be stopped or killed before any system call that changes something.
// strace could do that too, but it counts the calls of each thread separately, and a Go program switches threads: some points would
// never be reached. All other calls, the large majority, do not stop the process: see beTraced.
type traced struct {
	pid     int
	mem     *os.File
	control string           // the path of Asterisk's control socket
	peers   map[int64]string // the peers of its sockets, by number
	calls   map[int]how      // what changing returns
}

// traceMe is set in the environment of a portal that calls beTraced.
const traceMe = "PBXPORTAL_TRACE_ME"

// cannotBeTraced is the exit code of a process that is not permitted to install the filter.
const cannotBeTraced = 97

// beTraced makes the kernel stop this process for its tracer before each call that changes something, and before close.
func beTraced() {
	names := []string{"close"}
	for _, how := range changing() {
		if how.about != aCreation {
			names = append(names, how.name)
		}
	}
	creation := seccomp.NameWithConditions{Name: "openat", Conditions: seccomp.ArgumentConditions{{Argument: 2, Operation: seccomp.BitsSet, Value: unix.O_CREAT}}}
	filter := seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls:      []seccomp.SyscallGroup{{Action: seccomp.ActionTrace, Names: names, NamesWithCondtions: []seccomp.NameWithConditions{creation}}},
	}}
	if err := seccomp.LoadFilter(filter); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(cannotBeTraced)
	}
}

// trace runs the portal to its end. Before each call that changes something, it calls at with the number of the call, from 1;
// false kills the process there. Of consecutive page writes to the same SQLite file every eighth counts, all of them in the long form. It returns the
// exit code, -1 after a kill, and the output; refused means that tracing is not permitted.
func (s *site) trace(t *testing.T, args []string, at func(n int, c call) bool) (code int, output string, refused bool) {
	t.Helper()
	v := s.startTraced(t, args, at)
	return v.wait(t)
}

// victim is a portal run by trace.
type victim struct {
	out     string // the file with its output
	code    int
	refused bool
	done    chan error
}

// startTraced is like trace, but returns while the portal runs. at is called on another goroutine.
func (s *site) startTraced(t *testing.T, args []string, at func(n int, c call) bool) *victim {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{out: out.Name(), done: make(chan error, 1)}
	control, env := s.asterisk.ControlSocket, s.environ()
	go func() {
		defer out.Close()
		runtime.LockOSThread() // a traced process belongs to one thread, which is not used for anything else
		var err error
		v.code, v.refused, err = traceHere(env, args, out, control, at)
		v.done <- err
	}()
	return v
}

func (v *victim) wait(t *testing.T) (code int, output string, refused bool) {
	t.Helper()
	if err := <-v.done; err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(v.out)
	if err != nil {
		t.Fatal(err)
	}
	return v.code, string(said), v.refused
}

func traceHere(env, args []string, out *os.File, control string, at func(n int, c call) bool) (code int, refused bool, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, false, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, false, err
	}
	defer null.Close()
	p, err := os.StartProcess(self, append([]string{self}, args...), &os.ProcAttr{
		Dir: filepath.Dir(out.Name()), Env: append(env, traceMe+"=1"), Files: []*os.File{null, out, out},
		Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL, Setpgid: true},
	})
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) {
		return 0, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	pid := p.Pid
	if err := p.Release(); err != nil { // the tracer waits for it and its threads
		return 0, false, err
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || !status.Stopped() {
		return 0, false, fmt.Errorf("the process did not stop at its start: %v, %w", status, err)
	}
	const options = unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(pid, options); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		return 0, true, nil // the caller has a fallback
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return 0, false, err
	}
	defer mem.Close()
	v := &traced{pid, mem, control, map[int64]string{}, changing()}
	if err := unix.PtraceCont(pid, 0); err != nil {
		return 0, false, err
	}
	code, err = v.watch(at)
	return code, code == cannotBeTraced, err
}

// watch lets the process run from call to call until it ends.
func (v *traced) watch(at func(n int, c call) bool) (code int, err error) {
	n, pages, killed, last, connecting := 0, 0, false, call{}, call{"connect", "asterisk"}
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD): // its last thread has ended
			return code, nil
		case err != nil:
			return 0, err
		case !status.Stopped():
			if tid == v.pid {
				code = status.ExitStatus() // -1 if a signal ended it
			}
			continue
		}
		deliver := 0
		switch sig := status.StopSignal(); {
		case status.TrapCause() == unix.PTRACE_EVENT_SECCOMP:
			if !killed {
				c, ok := v.look(tid)
				again := ok && c == last
				if again {
					pages++
				} else if ok {
					pages = 0
				}
				switch {
				case !ok:
				case again && c == connecting: // Asterisk queues clients, which try again: the same point
				case c.name == "pwrite64" && pages%labtest.Soak(8, 1) != 0: // consecutive pages of one SQLite transaction
				default:
					n++
					killed = !at(n, c)
				}
				if ok {
					last = c
				}
			}
			if killed {
				_ = unix.Kill(v.pid, unix.SIGKILL) // a process killed here no longer makes the call
				continue
			}
		case sig != unix.SIGTRAP && sig != unix.SIGSTOP: // a signal of the process itself; a new thread stops once
			deliver = int(sig)
		}
		if err := unix.PtraceCont(tid, deliver); err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, err
		}
	}
}

// look returns the call that a thread is about to make, and whether it changes something.
func (v *traced) look(tid int) (call, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", v.pid, tid))
	if err != nil {
		return call{}, false
	}
	fields := strings.Fields(string(text))
	if len(fields) < 7 {
		return call{}, false
	}
	number, err := strconv.Atoi(fields[0])
	if err != nil {
		return call{}, false
	}
	how, ok := v.calls[number]
	if !ok && number != unix.SYS_CLOSE {
		return call{}, false
	}
	var args [6]int64
	for i := range args {
		a, err := strconv.ParseUint(strings.TrimPrefix(fields[i+1], "0x"), 16, 64)
		if err != nil {
			return call{}, false
		}
		args[i] = int64(a)
	}
	if number == unix.SYS_CLOSE {
		delete(v.peers, args[0])
		return call{}, false
	}
	c := call{name: how.name}
	switch how.about {
	case aPath:
		c.on = v.text(args[how.arg])
	case aConnection:
		c.on = v.connect(args[0], v.bytes(args[1], 110))
		return c, c.on != ""
	case aFile:
		path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", v.pid, args[0]))
		switch {
		case err != nil || strings.HasPrefix(path, "anon_inode:") || strings.HasPrefix(path, "pipe:") || args[0] <= 2:
			return c, false // a pipe to itself, or the terminal
		case strings.HasPrefix(path, "socket:"):
			c.on = cmp.Or(v.peers[args[0]], "client")
		default:
			c.on = path
		}
	case aCreation:
		if args[2]&unix.O_CREAT == 0 {
			return c, false
		}
		c.on = v.text(args[1])
	}
	return c, true
}

// connect records the peer of a socket: "" if it is neither Asterisk nor a database.
func (v *traced) connect(fd int64, address []byte) string {
	v.peers[fd] = ""
	if len(address) < 2 {
		return ""
	}
	switch binary.NativeEndian.Uint16(address) {
	case unix.AF_UNIX:
		if path, _, _ := bytes.Cut(address[2:], []byte{0}); string(path) == v.control {
			v.peers[fd] = "asterisk"
		}
	case unix.AF_INET, unix.AF_INET6:
		v.peers[fd] = "database"
	}
	return v.peers[fd]
}

func (v *traced) bytes(address int64, n int) []byte {
	text := make([]byte, n)
	n, _ = v.mem.ReadAt(text, address) // a string at the end of a page is shorter
	return text[:n]
}

func (v *traced) text(address int64) string {
	text, _, _ := bytes.Cut(v.bytes(address, 300), []byte{0})
	return string(text)
}

// The meaning of the arguments of a call.
const (
	aPath       = iota // the path in argument arg
	aFile              // the open file in the first
	aConnection        // the socket in the first, the address in the second
	aCreation          // openat: only if it can create a file
)

type how struct {
	name  string
	about int
	arg   int
}

// changing returns the calls with an effect outside the process.
func changing() map[int]how {
	all := map[int]how{
		unix.SYS_RENAMEAT2: {"renameat2", aPath, 3},
		unix.SYS_RENAMEAT:  {"renameat", aPath, 3},
		unix.SYS_SYMLINKAT: {"symlinkat", aPath, 2},
		unix.SYS_LINKAT:    {"linkat", aPath, 3},
		unix.SYS_MKDIRAT:   {"mkdirat", aPath, 1},
		unix.SYS_UNLINKAT:  {"unlinkat", aPath, 1},
		unix.SYS_FCHMODAT:  {"fchmodat", aPath, 1},
		unix.SYS_FCHOWNAT:  {"fchownat", aPath, 1},
		unix.SYS_FSYNC:     {"fsync", aFile, 0},
		unix.SYS_FDATASYNC: {"fdatasync", aFile, 0},
		unix.SYS_FTRUNCATE: {"ftruncate", aFile, 0},
		unix.SYS_FALLOCATE: {"fallocate", aFile, 0},
		unix.SYS_FCHMOD:    {"fchmod", aFile, 0},
		unix.SYS_FCHOWN:    {"fchown", aFile, 0},
		unix.SYS_FLOCK:     {"flock", aFile, 0},
		unix.SYS_PWRITE64:  {"pwrite64", aFile, 0},
		unix.SYS_WRITE:     {"write", aFile, 0},
		unix.SYS_WRITEV:    {"writev", aFile, 0},
		unix.SYS_SENDTO:    {"sendto", aFile, 0},
		unix.SYS_SENDMSG:   {"sendmsg", aFile, 0},
		unix.SYS_CONNECT:   {"connect", aConnection, 0},
		unix.SYS_OPENAT:    {"openat", aCreation, 1},
	}
	if runtime.GOARCH == "amd64" { // legacy calls, which newer architectures do not have; SQLite uses some
		all[82] = how{"rename", aPath, 1}
		all[83] = how{"mkdir", aPath, 0}
		all[84] = how{"rmdir", aPath, 0}
		all[86] = how{"link", aPath, 1}
		all[87] = how{"unlink", aPath, 0}
		all[88] = how{"symlink", aPath, 1}
		all[90] = how{"chmod", aPath, 0}
		all[92] = how{"chown", aPath, 0}
	}
	return all
}
