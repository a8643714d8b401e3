package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/proc"
)

// pgbouncerSuite is the Debian suite of the pooler; its own libraries come along.
const pgbouncerSuite = "trixie"

const pgbouncerCure = "run the tests on a machine that reaches a Debian archive"

// Pgbouncer is an unpacked pgbouncer, the connection pooler.
type Pgbouncer struct {
	root    string
	machine machine
}

// FetchPgbouncer returns pgbouncer in a folder of its own, fetching it from Debian unless that was done before.
func FetchPgbouncer(ctx context.Context, o FetchOptions) (Pgbouncer, error) {
	m, err := thisMachine()
	if err != nil {
		return Pgbouncer{}, withCure(err, pgbouncerCure)
	}
	cache, err := o.cacheDir()
	if err != nil {
		return Pgbouncer{}, err
	}
	if o.Cache == "" && isRoot() {
		cache = sharedCache // it runs as another user
	}
	root, err := fetchOnce(ctx, o, cache, "pgbouncer-"+pgbouncerSuite+"-"+m.arch, func(partial string) error {
		o.progress("fetching pgbouncer from Debian %s into %s (once, about 15 MB)", pgbouncerSuite, cache)
		source, err := suiteApt(ctx, partial, m, pgbouncerSuite, o)
		if err != nil {
			return err
		}
		debs, err := source.download(ctx, "pgbouncer")
		if err != nil {
			return err
		}
		unpacked := filepath.Join(partial, "tree")
		if err := extract(ctx, debs, unpacked); err != nil {
			return err
		}
		result, err := proc.Run(ctx, proc.Command{Argv: Pgbouncer{unpacked, m}.argv("--version")})
		if err == nil && result.ExitCode != 0 {
			err = errors.New(tail(result.Stderr, 3))
		}
		if err != nil {
			return fmt.Errorf("cannot run the fetched pgbouncer: %w", err)
		}
		return nil
	})
	if err != nil {
		return Pgbouncer{}, withCure(fmt.Errorf("cannot fetch pgbouncer: %w", err), pgbouncerCure)
	}
	return Pgbouncer{root, m}, nil
}

func (p Pgbouncer) argv(args ...string) []string {
	libraries := filepath.Join(p.root, "usr/lib", p.machine.triplet)
	return append([]string{filepath.Join(libraries, p.machine.loader), "--library-path", libraries, filepath.Join(p.root, "usr/sbin/pgbouncer")}, args...)
}

// Start starts it before the PostgreSQL that an address leads to, with its files in dir, and returns the address that leads through it. The
// settings are lines of its section [pgbouncer]. It ends with stop, or with this process.
func (p Pgbouncer) Start(ctx context.Context, dir, address string, settings ...string) (through string, stop func() error, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", nil, fmt.Errorf("cannot read the address of PostgreSQL: %w", err)
	}
	port, err := freePort("tcp", "127.0.0.1")
	if err != nil {
		return "", nil, err
	}
	text := fmt.Sprintf("[databases]\n* = host=%s port=%s user=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\n",
		u.Hostname(), u.Port(), u.User.Username(), port)
	for _, line := range settings {
		text += line + "\n"
	}
	config, log := filepath.Join(dir, "pgbouncer.ini"), filepath.Join(dir, "pgbouncer.log")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return "", nil, fmt.Errorf("cannot configure pgbouncer: %w", err)
	}
	command := proc.Command{Argv: p.argv(config), Dir: "/"}
	if isRoot() { // it refuses root
		if command.Credential, err = nobody(); err != nil {
			return "", nil, err
		}
	}
	process, err := proc.Start(command, log)
	if err != nil {
		return "", nil, fmt.Errorf("cannot start pgbouncer: %w", err)
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := awaitConnection(ctx, process, u.String()); err != nil {
		said, _ := os.ReadFile(log)
		return "", nil, fmt.Errorf("cannot start pgbouncer: %w\n%s", errors.Join(err, process.KillWithChildren()), tail(string(said), 10))
	}
	return u.String(), process.KillWithChildren, nil
}

// awaitConnection waits until an address accepts connections.
func awaitConnection(ctx context.Context, process *proc.Process, address string) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, address)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not accept connections: %w", err)
		case <-process.Done():
			return errRefused
		case <-tick.C:
		}
	}
}
