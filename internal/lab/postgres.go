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
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/proc"
)

// PostgresOptions are the options of a PostgreSQL server; the zero value is useful.
type PostgresOptions struct {
	// Dir keeps the data; empty means a temporary folder that Stop removes.
	Dir string
	// TempDir is the folder for temporary folders; empty means the system's.
	TempDir string
	// Port is the TCP port on 127.0.0.1; zero means a free one.
	Port int
	// NoSync lets the server lose committed data when the machine loses power: faster, and enough for tests.
	NoSync bool
	// Trust is a network whose hosts can connect as well, and are trusted; empty means only this machine.
	Trust string
}

// Postgres is a running PostgreSQL server started by this package, which trusts every user of this machine.
type Postgres struct {
	// URL is that of the database postgres as user postgres.
	URL string

	programs   PostgresPrograms
	options    PostgresOptions
	dir        string
	port       int
	credential *proc.Credential

	mu      sync.Mutex // guards process
	process *proc.Process

	asking sync.Mutex // guards asked
	asked  *pgx.Conn  // nil until exec was called
}

// StartPostgres creates a data folder if there is none, starts a server on it and returns when it accepts connections. PostgreSQL does not run as root,
// so root starts it as the user nobody.
func StartPostgres(ctx context.Context, programs PostgresPrograms, o PostgresOptions) (*Postgres, error) {
	p := &Postgres{programs: programs, options: o}
	if isRoot() {
		credential, err := unprivileged()
		if err != nil {
			return nil, err
		}
		p.credential = credential
	}
	if err := p.makeData(ctx); err != nil {
		p.removeTemporary()
		return nil, err
	}
	if err := p.startOnSomePort(ctx); err != nil {
		p.removeTemporary()
		return nil, err
	}
	return p, nil
}

// CreateDatabase creates an empty database and returns its URL.
func (p *Postgres) CreateDatabase(ctx context.Context, name string) (string, error) {
	if err := p.exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", fmt.Errorf("cannot create database %s: %w", name, err)
	}
	return p.databaseURL(name), nil
}

// CopyDatabase creates a database as a copy of the one at the URL template, to which no session may be connected, and returns its URL.
func (p *Postgres) CopyDatabase(ctx context.Context, name, template string) (string, error) {
	from, err := pgx.ParseConfig(template)
	if err != nil {
		return "", fmt.Errorf("cannot copy a database: %w", err)
	}
	if err := p.exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE "+pgx.Identifier{from.Database}.Sanitize()); err != nil {
		return "", fmt.Errorf("cannot copy database %s to %s: %w", from.Database, name, err)
	}
	return p.databaseURL(name), nil
}

// DropDatabase removes a database and closes the connections that still use it.
func (p *Postgres) DropDatabase(ctx context.Context, name string) error {
	if err := p.exec(ctx, "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("cannot drop database %s: %w", name, err)
	}
	return nil
}

// exec runs a statement on the database postgres. The connection is kept: each costs the server a process.
func (p *Postgres) exec(ctx context.Context, statement string) error {
	p.asking.Lock()
	defer p.asking.Unlock()
	if p.asked == nil || p.asked.Ping(ctx) != nil { // the server may have been restarted
		conn, err := pgx.Connect(ctx, p.URL)
		if err != nil {
			return err
		}
		p.asked = conn
	}
	_, err := p.asked.Exec(ctx, statement)
	return err
}

// forget closes the connection of exec.
func (p *Postgres) forget() {
	p.asking.Lock()
	defer p.asking.Unlock()
	if p.asked != nil {
		_ = p.asked.PgConn().Conn().Close() // without a word to the server, which may be suspended
	}
}

// PID returns the id of the running server, or of the last one.
func (p *Postgres) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process.PID()
}

// Log returns the text of the server's log so far.
func (p *Postgres) Log() string {
	text, err := os.ReadFile(p.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Stop ends the server. If its folder is kept, it shuts down cleanly; a temporary folder is removed, and the server killed.
func (p *Postgres) Stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.removeTemporary()
	p.forget()
	if p.options.Dir == "" {
		return p.process.KillWithChildren()
	}
	return p.haltLocked()
}

// Kill ends the server and all its children as a power cut would; the data is kept, so Restart can follow.
func (p *Postgres) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process.KillWithChildren()
}

// Suspend stops the server and the processes of all its connections without ending them: queries get no response.
func (p *Postgres) Suspend() error { return p.signalAll(syscall.SIGSTOP) }

// Resume continues a suspended server.
func (p *Postgres) Resume() error { return p.signalAll(syscall.SIGCONT) }

// Restart stops the server cleanly if it runs, and starts it again with the same data and port.
func (p *Postgres) Restart(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.haltLocked(); err != nil {
		return err
	}
	return p.startLocked(ctx)
}

// signalAll also signals the connections: each is served by a child that leads its own process group.
func (p *Postgres) signalAll(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.process.Signal(sig); err != nil {
		return err
	}
	return p.process.SignalChildren(sig)
}

func (p *Postgres) haltLocked() error {
	select {
	case <-p.process.Done():
		return nil
	default:
	}
	if err := p.process.SignalChildren(syscall.SIGCONT); err != nil {
		return err
	}
	for _, sig := range []syscall.Signal{syscall.SIGCONT, syscall.SIGINT} { // SIGINT: fast shutdown
		if err := p.process.Signal(sig); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := p.process.Wait(ctx); err == nil {
		return nil
	}
	return p.process.KillWithChildren()
}

func (p *Postgres) removeTemporary() {
	if p.options.Dir == "" && p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}

func (p *Postgres) data() string    { return filepath.Join(p.dir, "data") }
func (p *Postgres) logFile() string { return filepath.Join(p.dir, "postgres.log") }

func (p *Postgres) databaseURL(name string) string {
	address := url.URL{
		Scheme: "postgres", User: url.User("postgres"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)),
		Path: "/" + name, RawQuery: "sslmode=disable",
	}
	return address.String()
}

func (p *Postgres) makeData(ctx context.Context) error {
	p.dir = p.options.Dir
	if p.dir == "" {
		dir, err := os.MkdirTemp(p.options.TempDir, "pbxpg")
		if err != nil {
			return fmt.Errorf("cannot create a folder for PostgreSQL: %w", err)
		}
		p.dir = dir
	}
	dir, err := filepath.Abs(p.dir)
	if err != nil {
		return fmt.Errorf("cannot find the folder for PostgreSQL: %w", err)
	}
	p.dir = dir
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("cannot create a folder for PostgreSQL: %w", err)
	}
	if p.credential != nil {
		if err := os.Chown(p.dir, int(p.credential.UID), int(p.credential.GID)); err != nil {
			return fmt.Errorf("cannot give the folder to the user of PostgreSQL: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(p.data(), "PG_VERSION")); err == nil {
		return nil
	}
	argv := []string{
		filepath.Join(p.programs.Bin, "initdb"), "-D", p.data(), "-U", "postgres",
		"-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
	}
	if p.options.NoSync {
		argv = append(argv, "--no-sync")
	}
	result, err := proc.Run(ctx, p.command(argv...))
	if err != nil {
		return fmt.Errorf("cannot make a database: %w", err)
	}
	if result.ExitCode != 0 {
		return fmt.Errorf("cannot create a database: initdb says:\n%s", tail(result.Stdout+result.Stderr, 8))
	}
	if p.options.Trust == "" {
		return nil
	}
	rules, err := os.OpenFile(filepath.Join(p.data(), "pg_hba.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = fmt.Fprintf(rules, "host all all %s trust\n", p.options.Trust)
		err = errors.Join(err, rules.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot allow other hosts: %w", err)
	}
	return nil
}

// listen returns the addresses to listen on.
func (p *Postgres) listen() string {
	if p.options.Trust != "" {
		return "*"
	}
	return "127.0.0.1"
}

func (p *Postgres) command(argv ...string) proc.Command {
	return proc.Command{Argv: argv, Dir: p.dir, Env: append(p.programs.env(), "TZ=UTC", "HOME="+p.dir), Credential: p.credential}
}

// errRefused means that the server ended while starting.
var errRefused = errors.New("it ended while starting")

// startOnSomePort retries when another process took the free port before the server did.
func (p *Postgres) startOnSomePort(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for attempt := 1; ; attempt++ {
		p.port = p.options.Port
		if p.port == 0 {
			free, err := freePort("tcp", "127.0.0.1")
			if err != nil {
				return err
			}
			p.port = free
		}
		p.URL = p.databaseURL("postgres")
		err := p.startLocked(ctx)
		if err == nil || p.options.Port != 0 || !errors.Is(err, errRefused) || attempt == 3 {
			return err
		}
	}
}

func (p *Postgres) startLocked(ctx context.Context) error {
	sync := "on"
	if p.options.NoSync {
		sync = "off"
	}
	argv := []string{
		filepath.Join(p.programs.Bin, "postgres"), "-D", p.data(),
		"-c", "listen_addresses=" + p.listen(), "-c", "port=" + strconv.Itoa(p.port), "-c", "unix_socket_directories=",
		"-c", "fsync=" + sync, "-c", "synchronous_commit=" + sync, "-c", "full_page_writes=" + sync,
		"-c", "max_connections=200", "-c", "log_timezone=UTC", "-c", "timezone=UTC",
	}
	if p.options.NoSync { // nor does it last long enough to need maintenance, or have replicas
		argv = append(argv, "-c", "autovacuum=off", "-c", "wal_level=minimal", "-c", "max_wal_senders=0")
	}
	process, err := proc.Start(p.command(argv...), p.logFile())
	if err != nil {
		return fmt.Errorf("cannot start PostgreSQL: %w", err)
	}
	p.process = process
	if err := p.awaitReady(ctx); err != nil {
		_ = p.process.KillWithChildren()
		return fmt.Errorf("cannot start PostgreSQL: %w\n%s", err, tail(p.Log(), 10))
	}
	return nil
}

func (p *Postgres) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	// The server reports only in its log that it is ready.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, p.URL)
		if err == nil {
			return p.isOurs(ctx, conn)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not accept connections: %w", err)
		case <-p.process.Done():
			return errRefused
		case <-tick.C:
		}
	}
}

// isOurs detects another server that took the port first and trusts us as well.
func (p *Postgres) isOurs(ctx context.Context, conn *pgx.Conn) error {
	defer func() { _ = conn.Close(ctx) }()
	var data string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&data); err != nil {
		return fmt.Errorf("cannot ask the server: %w", err)
	}
	if data != p.data() {
		return fmt.Errorf("%w: another server has its port", errRefused)
	}
	return nil
}
