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

	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/proc"
)

// Pgbouncer is an unpacked pgbouncer, the connection pooler.
type Pgbouncer struct{ program }

// FetchPgbouncer returns pgbouncer in its own folder, downloading it from Debian unless that was done before.
func FetchPgbouncer(ctx context.Context, o FetchOptions) (Pgbouncer, error) {
	cache, err := o.cacheDir()
	if err != nil {
		return Pgbouncer{}, err
	}
	if o.Cache == "" && isRoot() {
		cache = sharedCache // it runs as another user
	}
	p, err := fetchProgram(ctx, o, cache, "pgbouncer", "usr/sbin/pgbouncer", "--version")
	return Pgbouncer{p}, err
}

// Start starts it in front of the PostgreSQL at an address, with its files in dir, and returns the address of pgbouncer. The settings are lines of its
// section [pgbouncer]. It ends with stop, or with this process.
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
	if isRoot() { // it does not run as root
		if command.Credential, err = unprivileged(); err != nil {
			return "", nil, err
		}
	}
	process, err := proc.Start(command, log)
	if err != nil {
		return "", nil, fmt.Errorf("cannot start pgbouncer: %w", err)
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	connect := func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, u.String())
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
	if err := awaitConnection(ctx, process, connect); err != nil {
		said, _ := os.ReadFile(log)
		return "", nil, fmt.Errorf("cannot start pgbouncer: %w\n%s", errors.Join(err, process.KillWithChildren()), tail(string(said), 10))
	}
	return u.String(), process.KillWithChildren, nil
}
