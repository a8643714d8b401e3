// Package proc starts other programs; nothing else in the program does.
//
// It uses no shell: a command is a list of arguments. Standard input is closed, the environment is PATH, LC_ALL=C and what the caller adds, the
// child leads a process group of its own, and that whole group is killed when the context ends. The output of a child is kept up to a limit and
// drained beyond it, so that no child can exhaust memory or hang on a full pipe. Interpreting output, retries and searching for programs outside of
// PATH are out of scope.
package proc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// MaxOutput is the maximum number of bytes that Run keeps of each of the two output streams.
const MaxOutput = 4 << 20

// fallbackPath is used if the portal itself was started without PATH.
const fallbackPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// waitDelay bounds how long output pipes may stay open after the child has ended or was killed: a grandchild that left the group could otherwise
// hold them forever.
const waitDelay = time.Second

// ErrNotFound means that the program is not in PATH.
var ErrNotFound = exec.ErrNotFound

// Find returns the path of a program in PATH, or ErrNotFound.
func Find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("cannot find %s: %w", name, err)
	}
	return path, nil
}

// Command describes what to start and how.
type Command struct {
	// Argv is the program, as a path or as a name to find in PATH, followed by its arguments.
	Argv []string
	// Dir is the working directory; empty means the portal's.
	Dir string
	// Env is added to PATH and LC_ALL=C, as KEY=value; a later entry wins.
	Env []string
	// Credential runs the child as another user, which requires root; nil means the portal's user.
	Credential *Credential
	// Outlive lets a daemon continue when the portal dies; otherwise the kernel ends the daemon with the portal, where supported.
	Outlive bool
	// EndWhenFull ends a command that prints more than MaxOutput. Otherwise the rest is discarded. Only Run uses it.
	EndWhenFull bool
	// OnLine receives each line of standard output and error as it arrives, without its line end, never concurrently. Only Run uses it.
	OnLine func(line string)
}

// Credential is the user and group of a child; it gets no supplementary groups.
type Credential struct {
	UID, GID uint32
}

// Result is the result of a command that ran to its end.
type Result struct {
	// ExitCode is the exit status, or 128 plus the signal's number for a child that a signal ended, as in shells.
	ExitCode int
	Stdout   string
	Stderr   string
	// Truncated reports that Stdout or Stderr is incomplete: more than MaxOutput was printed, or a grandchild still held the pipe when the child
	// had ended.
	Truncated bool
	// LeftOpen reports the second reason.
	LeftOpen bool
}

// Run starts the command and waits for its end. A non-zero exit is a Result, not an error; an error means that the command could not be started or
// that ctx ended first, and then Result contains the output up to that moment.
func Run(ctx context.Context, c Command) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("cannot run %s: %w", c.name(), err)
	}
	// The kernel sends the parent-death signal when the starting thread ends, not when the process does
	// (prctl(2), PR_SET_PDEATHSIG). Go ends a thread only when a goroutine locked to it returns. Holding the lock for the
	// whole call keeps any such goroutine off this thread while the child lives.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	var lines *lineWriter
	if c.OnLine != nil {
		lines = &lineWriter{emit: c.OnLine}
	}
	stdout := &cappedBuffer{limit: MaxOutput, refuse: c.EndWhenFull, lines: lines.stream()}
	stderr := &cappedBuffer{limit: MaxOutput, refuse: c.EndWhenFull, lines: lines.stream()}

	cmd := c.build(ctx)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = waitDelay
	cmd.Cancel = func() error { return signalGroup(cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		return Result{}, fmt.Errorf("cannot start %s: %w", c.name(), err)
	}
	err := cmd.Wait()
	leftOpen := errors.Is(err, exec.ErrWaitDelay)
	if leftOpen {
		// The child has ended, but a process it left behind holds its pipes.
		_ = signalGroup(cmd.Process.Pid, syscall.SIGKILL)
		stdout.cut()
	}
	stdout.lines.flush()
	stderr.lines.flush()

	result := Result{ExitCode: exitCode(cmd.ProcessState), LeftOpen: leftOpen}
	var outCut, errCut bool
	result.Stdout, outCut = stdout.contents()
	result.Stderr, errCut = stderr.contents()
	result.Truncated = outCut || errCut

	if ctxErr := ctx.Err(); ctxErr != nil && err != nil {
		return result, fmt.Errorf("cannot finish %s: %w", c.name(), ctxErr)
	}
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) || errors.Is(err, exec.ErrWaitDelay) || errors.Is(err, errFull) {
		return result, nil
	}
	return result, fmt.Errorf("cannot finish %s: %w", c.name(), err)
}

// errFull ends the copying of the output of a command that prints too much, whose next write then fails.
var errFull = errors.New("too much output")

// Process is a running program.
type Process struct {
	pid  int
	done chan struct{}

	mu     sync.Mutex // guards ended, so that no signal goes to a reused process number
	ended  bool
	result Result
	err    error
}

// Start starts a daemon whose output, both streams, is appended to the file logPath, and returns while it runs. It runs until it ends by itself, is
// killed, or the portal dies. Result of a daemon has no output; read the log.
func Start(c Command, logPath string) (*Process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log of %s: %w", c.name(), err)
	}
	defer func() { _ = log.Close() }()

	cmd := c.build(context.Background()) //nolint:forbidigo // a daemon intentionally outlives the call that starts it
	cmd.Stdout, cmd.Stderr = log, log
	p := &Process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// One thread stays with the child for its whole life; see Run for the reason.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if startErr := cmd.Start(); startErr != nil {
			started <- startErr
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.wait(cmd)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c.name(), err)
	}
	return p, nil
}

// PID returns the process number, which is also the number of its group.
func (p *Process) PID() int { return p.pid }

// Done returns a channel that is closed when the process has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait blocks until the process or ctx has ended.
func (p *Process) Wait(ctx context.Context) (Result, error) {
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("cannot wait for process %d: %w", p.pid, ctx.Err())
	}
}

// Signal sends a signal to the whole group; it is not an error if the process has ended already.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	if err := signalGroup(p.pid, sig); err != nil {
		return fmt.Errorf("cannot signal process %d: %w", p.pid, err)
	}
	return nil
}

// SignalChildren sends a signal to the direct children, which may have left the group, as those of PostgreSQL do. It does nothing on systems other
// than Linux.
func (p *Process) SignalChildren(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	for _, pid := range childrenOf(p.pid) {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("cannot signal process %d: %w", pid, err)
		}
	}
	return nil
}

// Kill kills the whole group and waits until it has ended.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// KillWithChildren is Kill for daemons whose direct children leave the group; those have ended as well when it returns.
func (p *Process) KillWithChildren() error {
	// A stopped daemon neither starts new children nor reaps dead ones.
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	p.mu.Lock()
	if !p.ended {
		killAndAwait(childrenOf(p.pid))
	}
	p.mu.Unlock()
	return p.Kill()
}

func (p *Process) wait(cmd *exec.Cmd) {
	var err error
	if awaitExit(p.pid) {
		// Children that outlive the daemon would be lost. Its number is not reused before it is reaped.
		_ = signalGroup(p.pid, syscall.SIGKILL)
		p.mu.Lock()
		err = cmd.Wait()
	} else {
		err = cmd.Wait()
		p.mu.Lock()
	}
	p.ended = true
	p.result = Result{ExitCode: exitCode(cmd.ProcessState)}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.err = fmt.Errorf("cannot wait for process %d: %w", p.pid, err)
	}
	p.mu.Unlock()
	close(p.done)
}

func (c Command) name() string {
	if len(c.Argv) == 0 {
		return "a command without a name"
	}
	return c.Argv[0]
}

func (c Command) build(ctx context.Context) *exec.Cmd {
	name, args := "", []string(nil)
	if len(c.Argv) > 0 {
		name, args = c.Argv[0], c.Argv[1:]
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = c.Dir
	cmd.Env = append([]string{"PATH=" + cmp.Or(os.Getenv("PATH"), fallbackPath), "LC_ALL=C"}, c.Env...)
	cmd.SysProcAttr = attributes(c.Outlive)
	if c.Credential != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.Credential.UID, Gid: c.Credential.GID}
	}
	return cmd
}

// signalGroup treats a group that no longer exists as success: there is nothing left to signal.
func signalGroup(pid int, sig syscall.Signal) error {
	err := syscall.Kill(-pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

func exitCode(state *os.ProcessState) int {
	if state == nil {
		return -1
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// cappedBuffer keeps the first limit bytes and discards the rest, so that the writer never blocks.
type cappedBuffer struct {
	limit  int
	refuse bool // fails instead of discarding
	lines  *lineStream

	mu        sync.Mutex // guards the fields below: after WaitDelay a copying goroutine may still be writing
	kept      bytes.Buffer
	truncated bool
}

func (b *cappedBuffer) Write(p []byte) (int, error) {
	b.lines.write(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	keep := min(len(p), b.limit-b.kept.Len())
	b.kept.Write(p[:keep])
	b.truncated = b.truncated || keep < len(p)
	if b.refuse && keep < len(p) {
		return keep, errFull
	}
	return len(p), nil
}

func (b *cappedBuffer) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.truncated = true
}

func (b *cappedBuffer) contents() (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept.String(), b.truncated
}

// lineWriter serialises the lines of both streams into one callback.
type lineWriter struct {
	mu   sync.Mutex // guards emit and the unfinished line of every stream
	emit func(string)
}

// lineStream assembles the lines of one stream; a nil one ignores everything.
type lineStream struct {
	to      *lineWriter
	partial []byte
}

// maxLine bounds the unfinished line kept in memory; longer ones are delivered in pieces.
const maxLine = 64 << 10

func (w *lineWriter) stream() *lineStream {
	if w == nil {
		return nil
	}
	return &lineStream{to: w}
}

func (s *lineStream) write(p []byte) {
	if s == nil {
		return
	}
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	s.partial = append(s.partial, p...)
	for {
		end := bytes.IndexByte(s.partial, '\n')
		if end < 0 {
			break
		}
		s.to.emit(string(bytes.TrimSuffix(s.partial[:end], []byte("\r"))))
		s.partial = s.partial[end+1:]
	}
	if len(s.partial) > maxLine {
		s.to.emit(string(s.partial))
		s.partial = nil
	}
}

func (s *lineStream) flush() {
	if s == nil {
		return
	}
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	if len(s.partial) > 0 {
		s.to.emit(string(s.partial))
		s.partial = nil
	}
}
