package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/proc"
)

// bootTimeout is forty times what booting takes on two slow cores.
const bootTimeout = 20 * time.Second

// longestSocket is what fits into sockaddr_un with its final zero.
const longestSocket = 107

// AsteriskOptions are the options of an Asterisk; the zero value is useful.
type AsteriskOptions struct {
	// Dir keeps configuration, logs and state; empty means a temporary folder that Stop removes.
	Dir string
	// TempDir is the folder for temporary folders; empty means the system's.
	TempDir string
	// SIPHost is the IPv4 address of the UDP transport; empty means 127.0.0.1.
	SIPHost string
	// SIPPort is the port of the UDP transport; zero means a free one.
	SIPPort int
	// RTPStart and RTPEnd limit the ports of audio; zero means 20000 to 29999.
	RTPStart, RTPEnd int
	// PJSIP is appended to pjsip.conf, Dialplan to extensions.conf, Globals to the [globals] section.
	PJSIP, Dialplan, Globals string
	// Modules are loaded in addition to the usual ones, for example "res_ari.so".
	Modules []string
	// Ordinary removes the permission of an Asterisk started by root to read files despite their mode, which no packaged one has.
	Ordinary bool
}

// Asterisk is a running Asterisk started by this package.
type Asterisk struct {
	// ConfigDir holds asterisk.conf, pjsip.conf and the folders pjsip.d/synergycall and extensions.d/synergycall.
	ConfigDir string
	// ControlSocket is the path for asterisk.NewControl.
	ControlSocket string
	// SIPAddr is the host:port of the UDP transport.
	SIPAddr string
	// AMI is the address of its Manager Interface, on loopback, with a user that has exactly the permissions the portal needs.
	AMI asterisk.AMITarget

	tree      Tree
	options   AsteriskOptions
	dir       string
	temporary []string // folders Stop removes

	mu      sync.Mutex // guards process
	process *proc.Process
}

// StartAsterisk writes a minimal configuration, starts Asterisk with it and returns when it has fully booted.
func StartAsterisk(ctx context.Context, tree Tree, o AsteriskOptions) (*Asterisk, error) {
	if o.SIPHost == "" {
		o.SIPHost = "127.0.0.1"
	}
	if o.RTPStart == 0 {
		o.RTPStart, o.RTPEnd = 20000, 29999
	}
	a := &Asterisk{tree: tree, options: o}
	if err := a.makeFolders(); err != nil {
		a.removeTemporary()
		return nil, err
	}
	if err := a.startOnSomePort(ctx); err != nil {
		a.removeTemporary()
		return nil, err
	}
	return a, nil
}

// Control returns a control for this Asterisk.
func (a *Asterisk) Control() *asterisk.Control {
	control, err := asterisk.NewControl(a.ControlSocket)
	if err != nil {
		panic(err) // the path is valid
	}
	return control
}

// Client returns the command line of Asterisk's own client for this Asterisk, to be followed by -rx and a command.
func (a *Asterisk) Client() []string {
	return a.tree.argv("-C", filepath.Join(a.ConfigDir, "asterisk.conf"))
}

// PID returns the id of the running process, or of the last one.
func (a *Asterisk) PID() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.process.PID()
}

// Log returns the text of Asterisk's log so far.
func (a *Asterisk) Log() string {
	var all strings.Builder
	for _, name := range []string{"output.log", "messages.log"} {
		if text, err := os.ReadFile(filepath.Join(a.dir, "log", name)); err == nil {
			all.Write(text)
		}
	}
	return all.String()
}

// Stop ends Asterisk. If its folder is kept, it shuts down cleanly (up to a second: its database is written once a second); a temporary folder is
// removed, and Asterisk killed.
func (a *Asterisk) Stop() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.removeTemporary()
	if a.options.Dir == "" {
		return a.process.Kill()
	}
	return a.haltLocked()
}

// Kill ends Asterisk as a power cut would; its files are kept, so Restart can follow.
func (a *Asterisk) Kill() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.process.Kill()
}

// Suspend stops the process without ending it: it accepts connections and answers nothing.
func (a *Asterisk) Suspend() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.process.Signal(syscall.SIGSTOP)
}

// Resume continues a suspended process.
func (a *Asterisk) Resume() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.process.Signal(syscall.SIGCONT)
}

// Restart stops Asterisk cleanly if it runs, and starts it again with the same files and ports.
func (a *Asterisk) Restart(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.haltLocked(); err != nil {
		return err
	}
	return a.startLocked(ctx)
}

func (a *Asterisk) haltLocked() error {
	select {
	case <-a.process.Done():
		return nil
	default:
	}
	if err := a.process.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := a.Control().Run(ctx, "core stop now"); err == nil {
		if _, err := a.process.Wait(ctx); err == nil {
			return nil
		}
	}
	return a.process.Kill()
}

func (a *Asterisk) removeTemporary() {
	for _, dir := range a.temporary {
		_ = os.RemoveAll(dir)
	}
}

func (a *Asterisk) makeFolders() error {
	a.dir = a.options.Dir
	if a.dir == "" {
		dir, err := a.temporaryDir()
		if err != nil {
			return err
		}
		a.dir = dir
	}
	dir, err := filepath.Abs(a.dir)
	if err != nil {
		return fmt.Errorf("cannot find the folder for Asterisk: %w", err)
	}
	a.dir, a.ConfigDir = dir, filepath.Join(dir, "etc")
	for _, sub := range []string{
		"etc/pjsip.d/synergycall", "etc/extensions.d/synergycall", "var", "spool", "log", "run", "cache", "keys/keys",
	} {
		if err := os.MkdirAll(filepath.Join(a.dir, sub), 0o755); err != nil {
			return fmt.Errorf("cannot create the folders for Asterisk: %w", err)
		}
	}
	a.ControlSocket = filepath.Join(a.dir, "run", "asterisk.ctl")
	if len(a.ControlSocket) > longestSocket {
		short, err := a.temporaryDir()
		if err != nil {
			return err
		}
		a.ControlSocket = filepath.Join(short, "asterisk.ctl")
	}
	return nil
}

func (a *Asterisk) temporaryDir() (string, error) {
	dir, err := os.MkdirTemp(a.options.TempDir, "pbx")
	if err == nil && len(filepath.Join(dir, "run", "asterisk.ctl")) > longestSocket {
		_ = os.RemoveAll(dir)
		dir, err = os.MkdirTemp("/tmp", "pbx")
	}
	if err != nil {
		return "", fmt.Errorf("cannot create a temporary folder for Asterisk: %w", err)
	}
	a.temporary = append(a.temporary, dir)
	return dir, nil
}

// The transport, or the Manager Interface, did not start.
var (
	errPortTaken = errors.New("the SIP port is taken")
	errAMITaken  = errors.New("the port of the Manager Interface is taken")
)

// startOnSomePort retries with another port when another process took the free one before Asterisk did.
func (a *Asterisk) startOnSomePort(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for attempt := 1; ; attempt++ {
		port := a.options.SIPPort
		if port == 0 {
			free, err := freePort("udp", a.options.SIPHost)
			if err != nil {
				return err
			}
			port = free
		}
		a.SIPAddr = net.JoinHostPort(a.options.SIPHost, fmt.Sprint(port))
		amiPort, err := freePort("tcp", "127.0.0.1")
		if err != nil {
			return err
		}
		a.AMI = asterisk.AMITarget{Addr: net.JoinHostPort("127.0.0.1", fmt.Sprint(amiPort)), User: "portal", Secret: rand.Text()}
		if err := a.writeConfig(); err != nil {
			return err
		}
		err = a.startLocked(ctx)
		if err == nil {
			return nil
		}
		if again := errors.Is(err, errAMITaken) || errors.Is(err, errPortTaken) && a.options.SIPPort == 0; !again || attempt == 5 {
			return err
		}
	}
}

func (a *Asterisk) startLocked(ctx context.Context) error {
	// A socket left by a killed Asterisk would only confuse the wait for the new one.
	if err := os.Remove(a.ControlSocket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove the old control socket: %w", err)
	}
	argv := append(a.Client(), "-f")
	if a.options.Ordinary && isRoot() {
		argv = append([]string{"setpriv", "--bounding-set", "-dac_override,-dac_read_search"}, argv...)
	}
	process, err := proc.Start(proc.Command{
		Argv: argv,
		Dir:  a.dir,
		Env:  []string{"HOME=" + a.dir},
	}, filepath.Join(a.dir, "log", "output.log"))
	if err != nil {
		return fmt.Errorf("cannot start Asterisk: %w", err)
	}
	a.process = process
	if err := a.awaitBoot(ctx); err != nil {
		_ = process.Kill()
		return fmt.Errorf("cannot start Asterisk: %w\n%s", err, tail(a.Log(), 20))
	}
	return nil
}

func (a *Asterisk) awaitBoot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	control := a.Control().WithTimeout(bootTimeout)
	// There is no notification when the socket appears.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for control.WaitBooted(ctx) != nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("it did not finish booting: %w", ctx.Err())
		case <-a.process.Done():
			return errors.New("it ended while booting")
		case <-tick.C:
		}
	}
	reply, err := control.Run(ctx, "pjsip show transport transport-udp")
	if err != nil {
		return err
	}
	if strings.Contains(reply.Stdout, "Unable to find object") {
		return fmt.Errorf("%w: %s", errPortTaken, a.SIPAddr)
	}
	ami, err := asterisk.DialAMI(ctx, a.AMI)
	if err != nil {
		return fmt.Errorf("%w: %w", errAMITaken, err)
	}
	ami.Close()
	return nil
}

// freePort returns a port that is not in use now; another process may still take it first.
func freePort(network, host string) (int, error) {
	var taken net.Addr
	if network == "udp" {
		conn, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
		if err != nil {
			return 0, fmt.Errorf("cannot find a free port: %w", err)
		}
		defer func() { _ = conn.Close() }()
		taken = conn.LocalAddr()
	} else {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return 0, fmt.Errorf("cannot find a free port: %w", err)
		}
		defer func() { _ = listener.Close() }()
		taken = listener.Addr()
	}
	address, err := netip.ParseAddrPort(taken.String())
	if err != nil {
		return 0, fmt.Errorf("cannot find a free port: %w", err)
	}
	return int(address.Port()), nil
}
