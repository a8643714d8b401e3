// Package asterisk talks to a running Asterisk: through its control socket, or through a command such as `docker exec pbx asterisk` that uses it; and
// through its Manager Interface, for events as they happen. It turns the answers into plain values.
//
// Asterisk answers every command with success, even if it refused it (the exit status of `asterisk -rx` only says whether Asterisk was reached), so the
// meaning of an answer is decided here, from its text. The package knows nothing about users, files or plans, never runs a command that prints a
// password, and neither starts nor stops an Asterisk.
package asterisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/synergycall/pbxportal/internal/proc"
)

// DefaultSocket is the control socket of a packaged Asterisk.
const DefaultSocket = "/var/run/asterisk/asterisk.ctl"

// DefaultTimeout is the timeout of one command, from connecting to the last byte of its answer.
const DefaultTimeout = 5 * time.Second

// MaxAnswer is the maximum length of an answer; a longer one is an error because half a list proves nothing.
const MaxAnswer = 4 << 20

// maxCommand is the maximum length that fits, with its prefix, into the one read of 512 bytes in which Asterisk looks for `cli quit after`
// (main/asterisk.c, netconsole).
const maxCommand = 480

// ErrCommand is returned for a command that cannot be sent as one line.
var ErrCommand = errors.New("not a single-line Asterisk command")

// ErrNoConsole means that a command was not sent because the portal's consoles were in use all the time.
var ErrNoConsole = errors.New("both of the portal's consoles are in use")

// Control sends commands to one Asterisk, two at a time. It holds no connection, so it is safe for concurrent use and survives restarts of Asterisk.
type Control struct {
	socket  string
	argv    []string // used instead of socket when set
	timeout time.Duration
	places  *places
	patient bool // lower priority
}

// Fault is the reason why a Reply is not a complete answer.
type Fault string

// Faults, from "never reached" to "reached, but not to be trusted".
const (
	FaultNone        Fault = ""            // the answer is complete as far as the connection shows
	FaultUnreachable Fault = "unreachable" // the command was not sent
	FaultTimeout     Fault = "timeout"     // no complete answer in time; the command may still take effect
	FaultLost        Fault = "lost"        // the connection broke before the end of the answer
	FaultTooLong     Fault = "too_long"    // the answer exceeds MaxAnswer
	FaultLeftOpen    Fault = "left_open"   // the control command ended and left a process that holds its output, so more of the answer may follow
)

// Reply is the result of a command, in the form of `asterisk -rx`.
type Reply struct {
	// ExitCode is 0 when Asterisk answered (with any text), 1 when it could not be reached, -1 when it was reached but gave no complete answer, 127 when
	// the control command does not exist, and otherwise the command's own.
	ExitCode int
	Stdout   string
	Stderr   string
	// Fault distinguishes the failures that share an exit code.
	Fault Fault
}

// NewControl returns a Control for target: the path of a control socket, or `exec:COMMAND`, whose fields are split at blanks and followed by -rx and the
// Asterisk command. An empty target is DefaultSocket. No connection is made yet.
func NewControl(target string) (*Control, error) {
	if strings.ContainsAny(target, "\x00\r\n") {
		return nil, fmt.Errorf("cannot use %q as Asterisk control: it contains a line break", target)
	}
	c := &Control{socket: target, timeout: DefaultTimeout, places: newPlaces()}
	if target == "" {
		c.socket = DefaultSocket
	}
	command, isExec := strings.CutPrefix(target, "exec:")
	if !isExec {
		return c, nil
	}
	c.socket, c.argv = "", strings.Fields(command)
	if len(c.argv) == 0 {
		return nil, errors.New("cannot use \"exec:\" as Asterisk control: no command follows it; write for example exec:asterisk")
	}
	return c, nil
}

// WithTimeout returns a copy of c that gives up on a command after d.
func (c *Control) WithTimeout(d time.Duration) *Control {
	other := *c
	other.timeout = d
	return &other
}

// Patient returns a copy of c, with the same consoles, whose commands yield to those of c: for checks, which can wait while an apply cannot.
func (c *Control) Patient() *Control {
	other := *c
	other.patient = true
	return &other
}

// Target returns what c talks to, for people: the socket's path or the command.
func (c *Control) Target() string {
	if c.argv != nil {
		return strings.Join(c.argv, " ")
	}
	return c.socket
}

// ThroughCommand reports whether c runs a command instead of using the socket itself.
func (c *Control) ThroughCommand() bool { return c.argv != nil }

// Run sends one command and returns its result. The error is for a command that cannot be sent (ErrCommand) and for a ctx that ended; everything
// Asterisk did or failed to do is in the Reply.
func (c *Control) Run(ctx context.Context, command string) (Reply, error) {
	if err := checkCommand(command); err != nil {
		return Reply{}, err
	}
	return c.send(ctx, command)
}

// send is Run for a text that was checked: a command, or several with a zero byte between them.
func (c *Control) send(ctx context.Context, command string) (Reply, error) {
	if err := ctx.Err(); err != nil {
		return Reply{ExitCode: -1, Fault: FaultTimeout}, fmt.Errorf("cannot ask Asterisk: %w", err)
	}
	if err := c.places.take(ctx, c.patient); err != nil { // the timeout begins when the command is sent
		return Reply{ExitCode: -1, Fault: FaultTimeout}, fmt.Errorf("cannot ask Asterisk: %w: %w", ErrNoConsole, err)
	}
	defer c.places.leave()
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	reply := c.once(limited, command)
	// With dozens of consoles at once Asterisk occasionally does not find a command it has (seen: 15 of 4,000 times for "core show version"), several
	// times in a row when it is busy. It did nothing then, so retrying is safe.
	for pause := time.Millisecond; pause < 50*time.Millisecond && strings.HasPrefix(reply.Stdout, noSuchCommand); pause *= 2 {
		select {
		case <-limited.Done():
		case <-time.After(pause):
			reply = c.once(limited, command)
		}
	}
	if err := ctx.Err(); err != nil && reply.Fault == FaultTimeout {
		return reply, fmt.Errorf("cannot finish asking Asterisk: %w", err)
	}
	return reply, nil
}

// noSuchCommand is the beginning of Asterisk's answer to an unknown command.
const noSuchCommand = "No such command "

func (c *Control) once(ctx context.Context, command string) Reply {
	if c.argv != nil {
		return c.runProcess(ctx, command)
	}
	return c.runSocket(ctx, command)
}

func checkCommand(command string) error {
	if strings.TrimSpace(command) == "" {
		return fmt.Errorf("%w: it is empty", ErrCommand)
	}
	if len(command) > maxCommand {
		return fmt.Errorf("%w: it is longer than %d bytes", ErrCommand, maxCommand)
	}
	for _, b := range []byte(command) {
		if b < 0x20 || b == 0x7f {
			return fmt.Errorf("%w: it contains the control character %#02x", ErrCommand, b)
		}
	}
	return nil
}

func (c *Control) runSocket(ctx context.Context, command string) Reply {
	conn, err := dial(ctx, c.socket)
	if err != nil {
		return c.notConnected(ctx, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	in := &console{r: conn}
	if err := in.greeting(); err != nil {
		return c.broken(ctx, "", fmt.Errorf("it sent no greeting: %w", err))
	}
	if _, err := io.WriteString(conn, "cli quit after "+command+"\x00"); err != nil {
		return c.broken(ctx, "", err)
	}
	answer, err := in.answer()
	switch {
	case errors.Is(err, errTooLong):
		return tooLong(answer)
	case err != nil:
		return c.broken(ctx, answer, err)
	}
	return Reply{Stdout: answer}
}

// dial retries while the socket's queue is full: Asterisk accepts one connection at a time from a backlog of two (main/asterisk.c, ast_makesocket), and
// a full unix queue refuses at once instead of waiting.
func dial(ctx context.Context, path string) (net.Conn, error) {
	pause := time.Millisecond
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, syscall.EAGAIN) {
			return nil, err
		}
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil, fmt.Errorf("its queue of connections stayed full: %w", ctx.Err())
		case <-wait.C:
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
}

func (c *Control) notConnected(ctx context.Context, err error) Reply {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return c.timedOut("")
	}
	var cause string
	switch {
	case errors.Is(err, os.ErrNotExist):
		cause = "There is no such socket: Asterisk is not running, or it keeps its socket elsewhere. " +
			"Start Asterisk, or set ASTERISK_CONTROL to the asterisk.ctl in its astrundir."
	case errors.Is(err, syscall.ECONNREFUSED):
		cause = "The socket is stale: no process listens on it: Asterisk is not running. Start Asterisk."
	case errors.Is(err, os.ErrPermission):
		cause = "This user has no permission to use the socket. Add it to the group that owns the socket (astctlgroup and " +
			"astctlpermissions in asterisk.conf)."
	default:
		cause = fmt.Sprintf("The system says: %v. Check ASTERISK_CONTROL.", err)
	}
	return Reply{
		ExitCode: 1, Fault: FaultUnreachable,
		Stderr: fmt.Sprintf("Unable to connect to remote asterisk (does %s exist?)\n%s\n", c.socket, cause),
	}
}

// broken returns the reply for an exchange that began and failed.
func (c *Control) broken(ctx context.Context, answer string, err error) Reply {
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return c.timedOut(answer)
	}
	return Reply{
		ExitCode: -1, Fault: FaultLost, Stdout: answer,
		Stderr: fmt.Sprintf("Asterisk closed the connection before its answer was complete (%v). "+
			"It stopped or restarted meanwhile; check its log, then try again.\n", err),
	}
}

func (c *Control) timedOut(answer string) Reply {
	return Reply{
		ExitCode: -1, Fault: FaultTimeout, Stdout: answer,
		Stderr: fmt.Sprintf("Asterisk did not answer within %v. It is overloaded, stopped or hangs; "+
			"the command may still take effect when it recovers.\n", c.timeout),
	}
}

func tooLong(answer string) Reply {
	return Reply{
		ExitCode: -1, Fault: FaultTooLong, Stdout: answer,
		Stderr: fmt.Sprintf("The answer is longer than %d bytes and was not read to its end.\n", MaxAnswer),
	}
}

func (c *Control) runProcess(ctx context.Context, command string) Reply {
	argv := append(append([]string(nil), c.argv...), "-rx", command)
	result, err := proc.Run(ctx, proc.Command{Argv: argv, Env: append(proc.Inherited(), "LC_ALL=C"), EndWhenFull: true})
	result.Stdout, result.Stderr = unwrap(result.Stdout), legible(result.Stderr)
	reply := Reply{ExitCode: result.ExitCode, Stdout: result.Stdout, Stderr: result.Stderr}
	switch {
	case err != nil && ctx.Err() != nil:
		late := c.timedOut(result.Stdout)
		late.Stderr = result.Stderr + late.Stderr
		return late
	case err != nil:
		reply.ExitCode, reply.Fault = 127, FaultUnreachable
		reply.Stderr = fmt.Sprintf("The control command did not run (%v). Check ASTERISK_CONTROL.\n", err)
	case result.LeftOpen && result.ExitCode == 0:
		reply.ExitCode, reply.Fault = -1, FaultLeftOpen
		reply.Stderr += "The command ended, but a process that it left in the background still holds its output, so the answer may be incomplete. " +
			"Redirect the output of that process, for example to /dev/null.\n"
	case result.Truncated && !result.LeftOpen:
		cut := tooLong(result.Stdout)
		cut.Stderr = result.Stderr + cut.Stderr
		return cut
	case result.ExitCode != 0:
		reply.Fault = FaultUnreachable
		if strings.Contains(result.Stderr+result.Stdout, "Disconnected from Asterisk server") {
			reply.Fault = FaultLost
		}
	}
	return reply
}
