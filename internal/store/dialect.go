package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
)

// dialect is what differs between the two engines.
type dialect struct {
	describe    string
	path        string // of the SQLite file; "" on PostgreSQL
	goose       goose.Dialect
	migrations  string   // the folder of migrations/ with this engine's files
	probe       []string // statements that write and are rolled back
	lockWriters string   // the statement that makes a transaction the only writer; "" where beginning it already does
	lockRows    string   // ends a query whose rows nobody else may change before the transaction ends; "" where nobody can

	// each runs a query without parameters and hands over the rows of its answer, one after the other.
	each func(ctx context.Context, db *sql.DB, query string, take func(row) error) error

	listIn   func(param string) string // a parameter with a JSON array of texts, as rows with text and i, its place from 1
	textsIn  func(param string) string // a parameter with a JSON array of texts, as the column files_written wants it
	textsOut func(column string) string
	jsonIn   func(param string) string // a parameter with JSON text, as the column reload_results wants it
	jsonOut  func(column string) string

	plain      func(expression string) string // the expression, so that the planner takes no index for it where it cannot know which one is short
	actionKind string                         // the first part of an event's action with its dot, as its index has it

	lower       func(expression string) string // the expression without its ASCII capitals, whatever the locale of the database
	schemaGiven bool                           // DATABASE_URL names the schema of the tables

	remedy    func(error) *pbx.Error // what to say where the words for the kinds below would mislead; nil where they fit
	full      func(error) bool       // there is no room, or no right, to write
	damaged   func(error) bool       // what is stored cannot be made sense of
	faulty    func(error) bool       // the database itself failed
	away      func(error) bool       // the database cannot be reached, is starting or stopping, or did not answer in time
	collision func(error) bool       // somebody else changed the same rows; trying again may succeed
}

// open opens both pools, for readers and for writers, of the database that rawURL names.
func open(rawURL string) (read, write *sql.DB, d dialect, err error) {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	switch {
	case ok && (scheme == "postgresql" || scheme == "postgres" || scheme == "postgresql+asyncpg"):
		return openPostgres("postgresql://" + rest)
	case ok && scheme == "sqlite" && len(rest) > 1 && rest[0] == '/':
		return openSQLite(strings.TrimPrefix(rest, "/"))
	}
	return nil, nil, d, errors.New("DATABASE_URL must be postgresql://user:password@host:port/name, or sqlite:///path of a file " +
		"(four slashes begin an absolute path)")
}

// openPostgres opens a PostgreSQL database. The text of rawURL must not reach an error: it may hold a password.
func openPostgres(rawURL string) (read, write *sql.DB, d dialect, err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, nil, d, errors.New("DATABASE_URL is not a valid URL: percent-encode special characters in user and password, and give the folder of a Unix socket as a " +
			"parameter (postgresql:///name?host=/var/run/postgresql)")
	}
	if strings.Contains(behindHost(rawURL), "@") { // a password such as 12/secret would be taken for a port and the name of a database, which are shown
		return nil, nil, d, errors.New("DATABASE_URL has an @ behind the first / ? or #: percent-encode special characters in user, password and parameters " +
			"(%2F for /, %3F for ?, %23 for #, %40 for @)")
	}
	q := u.Query()
	if ssl := q.Get("ssl"); ssl != "" { // asyncpg's name for sslmode
		q.Del("ssl")
		q.Set("sslmode", ssl)
		u.RawQuery = q.Encode()
	}
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, nil, d, errors.New("DATABASE_URL is not a usable PostgreSQL address: give postgresql://user:password@host:port/name. " +
			"sslmode is disable, allow, prefer, require, verify-ca or verify-full, and the files that sslrootcert, sslcert and sslkey name must be readable")
	}
	if config.Database == "" { // the server would take the one with the name of the user
		return nil, nil, d, errors.New("DATABASE_URL names no database: give postgresql://user:password@host:port/name")
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "pbxportal"
	}
	config.DialFunc = dialer(config.ConnectTimeout).DialContext
	_, schemaGiven := config.RuntimeParams["search_path"]
	pool := openPool(*config)
	return pool.db, pool.db, dialect{
		describe: fmt.Sprintf("PostgreSQL database %q on %s", config.Database, net.JoinHostPort(config.Host, fmt.Sprint(config.Port))),
		goose:    goose.DialectPostgres,
		// The rows take new pages: those in place may have room on a disk that has none.
		probe: []string{`UPDATE tenants SET name = name`, `
INSERT INTO apply_audit_logs (id, triggered_at, triggered_by, outcome, error_details)
SELECT gen_random_uuid(), now(), 'probe', 'failure', repeat('x', 1500) FROM generate_series(1, 130)`},
		migrations:  "postgres",
		lockWriters: fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", writersKey),
		lockRows:    " FOR UPDATE",
		each:        eachPostgres,
		actionKind:  `substr(action, 1, strpos(action, '.'))`,
		plain:       func(expression string) string { return expression }, // it keeps statistics
		listIn: func(p string) string {
			return "(SELECT text, i FROM jsonb_array_elements_text(CAST(" + p + " AS jsonb)) WITH ORDINALITY AS list (text, i))"
		},
		textsIn:     func(p string) string { return "ARRAY(SELECT jsonb_array_elements_text(CAST(" + p + " AS jsonb)))" },
		textsOut:    func(c string) string { return "CAST(to_json(" + c + ") AS text)" },
		jsonIn:      func(p string) string { return "CAST(" + p + " AS jsonb)" },
		jsonOut:     func(c string) string { return "CAST(" + c + " AS text)" },
		lower:       func(e string) string { return `lower(` + e + ` COLLATE "C")` },
		schemaGiven: schemaGiven,
		remedy:      pool.remedy,
		full:        postgresFull,
		damaged:     postgresDamaged,
		faulty:      postgresFaulty,
		away:        postgresAway,
		collision:   postgresCollision,
	}, nil
}

// Both ends of a connection notice within silence that the other is gone without a word (a host that lost its power, a link that was cut):
// the portal stops waiting, and the server gives back the locks of a portal that vanished.
const (
	probeAfter   = 3 // seconds without a sign of life
	probeEvery   = 1 // second
	probes       = 3
	silence      = (probeAfter + probes*probeEvery) * time.Second
	silenceInMil = int(silence / time.Millisecond)
)

// dialer opens connections to PostgreSQL.
func dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{
		Timeout:         timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probeAfter * time.Second, Interval: probeEvery * time.Second, Count: probes},
		Control: func(network, _ string, conn syscall.RawConn) (err error) {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			failed := conn.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, silenceInMil) // what was sent, and is not acknowledged
			})
			return errors.Join(failed, err)
		},
	}
}

// behindHost gives what stands in an address behind the host, or what is taken for it.
func behindHost(rawURL string) string {
	_, rest, _ := strings.Cut(rawURL, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[i:]
	}
	return ""
}

// The advisory locks of a PostgreSQL database that the portal uses. The numbers mean nothing; they must only never change.
const (
	writersKey   = 0x70_62_78_01
	applyKey     = 0x70_62_78_02
	migrationKey = 0x70_62_78_03
)

// row is one row of an answer, as database/sql and pgx give it.
type row interface{ Scan(into ...any) error }

// eachPostgres asks pgx itself: on its way through database/sql a long answer takes half as much time again. The statement is planned
// each time: a plan kept since the tables were empty would join a thousand users row by row.
func eachPostgres(ctx context.Context, db *sql.DB, query string, take func(row) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // gives it back to the pool
	return conn.Raw(func(driverConn any) error {
		rows, err := driverConn.(*stdlib.Conn).Conn().Query(ctx, query, pgx.QueryExecModeCacheDescribe) //nolint:errcheck // it is the driver we opened
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := take(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// send carries out on PostgreSQL what is in the batch, with one wait for the server.
func (t *Tx) send(ctx context.Context, batch *pgx.Batch) error {
	if batch.Len() == 0 {
		return nil
	}
	return t.tx.(*sql.Conn).Raw(func(driverConn any) error { //nolint:errcheck // beginPostgres made it so
		return driverConn.(*stdlib.Conn).Conn().SendBatch(ctx, batch).Close() //nolint:errcheck // it is the driver we opened
	})
}

// beginPostgres begins a transaction and takes the writers' lock with one wait for the server, where database/sql would need two.
func (s *Store) beginPostgres(ctx context.Context) (*Tx, error) {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return nil, err
	}
	ended := false
	tx := &Tx{tx: conn, dialect: &s.dialect, secrets: &s.secrets, witness: &s.witness}
	tx.rollback = func() {
		if !ended {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if _, err := conn.ExecContext(undo, "ROLLBACK"); err != nil {
				_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // the pool drops the connection, and the server the transaction
			}
		}
		_ = conn.Close() // gives it back to the pool
	}
	tx.commit = func(ctx context.Context) error {
		if err := whole(conn); err != nil {
			return err
		}
		_, err := conn.ExecContext(ctx, "COMMIT")
		ended = err == nil
		return err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN; "+s.dialect.lockWriters); err != nil {
		tx.rollback()
		return nil, err
	}
	return tx, nil
}

// whole gives an error where a statement of the transaction has failed: COMMIT would roll back, and say nothing.
func whole(conn *sql.Conn) error {
	return conn.Raw(func(driverConn any) error {
		if driverConn.(*stdlib.Conn).Conn().PgConn().TxStatus() != 'T' { //nolint:errcheck // it is the driver we opened
			return pgx.ErrTxCommitRollback
		}
		return nil
	})
}

func postgresAway(err error) bool {
	if netAway(err) {
		return true
	}
	if _, connect := errors.AsType[*pgconn.ConnectError](err); connect { // also when the server refuses: no such database, wrong password
		return true
	}
	switch code := sqlState(err); code {
	case "25P02", "25P03", "25P04", // the transaction was ended: by an earlier error, idle for too long, open for too long
		"40001", "40P01", "40002", "40003", // or given up for another one, also where it is not tried again
		"55P03": // a lock was not free in time
		return true
	default:
		switch code[:min(2, len(code))] {
		case "08", "53", "57", "58": // connection; resources (too many connections, memory); operator (stopping, starting, cancelled, idle session); system
			return true
		}
	}
	return pgconn.SafeToRetry(err)
}

// sqlState returns the code of an error that the server reported; "" where it did not.
func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

func postgresFull(err error) bool {
	code := sqlState(err)
	return code == "53100" || code == "25006" // disk full; read-only, as a replica is
}

func postgresDamaged(err error) bool {
	code := sqlState(err)
	return code == "XX001" || code == "XX002" // a page, an index
}

func postgresFaulty(err error) bool { return strings.HasPrefix(sqlState(err), "XX") }

func postgresCollision(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01": // serialization failure, deadlock
		return true
	case "23505": // unique violation: under the writers' lock only somebody who does not take it can have been first
		return true
	}
	return false
}

// openSQLite opens the file at path; it is made by Migrate.
func openSQLite(path string) (read, write *sql.DB, d dialect, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, nil, d, fmt.Errorf("cannot find the current folder: %w", err)
	}
	// The pragmas stand in the DSN, so that every connection of a pool gets them; busy_timeout first, as the others may wait.
	// synchronous=FULL: what was acknowledged survives a power cut. secure_delete: what a secret leaves behind in the file is zeroed.
	// temp_store: where no folder for temporary files can be written, as on a read-only root, a statement that needs one works all the same.
	// mode=rw: a connection that finds no file must not make an empty one in the place of that which was lost.
	const dsn = "?mode=rw&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)&_pragma=secure_delete(ON)" +
		"&_pragma=temp_store(MEMORY)&_time_format=sqlite&_txlock=immediate"
	file := "file:" + (&url.URL{Path: path}).EscapedPath() + dsn
	named, err := sql.Open("sqlite", file) // nothing is opened yet; it knows the driver
	if err != nil {
		return nil, nil, d, fmt.Errorf("cannot open the database: %w", err)
	}
	if err = named.Close(); err != nil { // it would leave a goroutine behind
		return nil, nil, d, fmt.Errorf("cannot open the database: %w", err)
	}
	write = sql.OpenDB(regularFiles{named.Driver(), path, file})
	read = sql.OpenDB(regularFiles{named.Driver(), path, file + "&_pragma=query_only(ON)"})
	write.SetMaxOpenConns(1)
	read.SetMaxOpenConns(8)
	read.SetMaxIdleConns(8)
	same := func(s string) string { return s }
	return read, write, dialect{
		describe: "SQLite file " + path,
		path:     path,
		goose:    goose.DialectSQLite3,
		// What does not fit into the cache goes to the disk at once, or else only the end of a transaction would ask for room.
		probe:      []string{`PRAGMA cache_size = 8`, `CREATE TABLE probe (content BLOB)`, `INSERT INTO probe VALUES (zeroblob(262144))`},
		migrations: "sqlite",
		each:       eachSQLite,
		actionKind: `substr(action, 1, instr(action, '.'))`,
		plain:      func(expression string) string { return "+" + expression },
		listIn:     func(p string) string { return "(SELECT value AS text, key + 1 AS i FROM json_each(" + p + "))" },
		textsIn:    same,
		textsOut:   same,
		jsonIn:     same,
		jsonOut:    same,
		full:       sqliteFull,
		damaged:    sqliteDamaged,
		faulty:     sqliteFaulty,
		lower:      func(e string) string { return "lower(" + e + ")" },
		remedy:     func(error) *pbx.Error { return nil },
		away:       sqliteAway,
		collision:  sqliteCollision,
	}, nil
}

// regularFiles opens connections to SQLite. SQLite opens the files beside the database itself, whatever they are, and would wait for ever
// for a named pipe.
type regularFiles struct {
	driver    driver.Driver
	path, dsn string
}

// Connect opens a connection.
func (r regularFiles) Connect(context.Context) (driver.Conn, error) {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := regular.Check(r.path + suffix); err != nil {
			return nil, fileFault("the file of the database", err)
		}
	}
	return r.driver.Open(r.dsn)
}

// Driver is what opens them.
func (r regularFiles) Driver() driver.Driver { return r.driver }

// makeSQLite makes the file and its folder if they are missing, once, and remembers which file that is. SQLite would make the file
// readable for all; its -wal and -shm files take the mode of this one.
func (s *Store) makeSQLite() error {
	if s.opened.Load() != nil {
		return s.inPlace()
	}
	if err := makeSQLite(s.dialect.path); err != nil {
		return err
	}
	info, err := os.Stat(s.dialect.path)
	if err != nil {
		return away("reach the database", err)
	}
	s.opened.CompareAndSwap(nil, &info)
	return nil
}

// inPlace gives an error where the SQLite file is not there yet, is gone, or another one has taken its place: the connections would go on
// with the lost one, and what they write would be gone as soon as they end. It costs one look at the file's name, and none on PostgreSQL.
func (s *Store) inPlace() error {
	if s.dialect.path == "" {
		return nil
	}
	info, err := os.Stat(s.dialect.path)
	opened := s.opened.Load()
	switch {
	case err == nil && (opened == nil || os.SameFile(*opened, info)):
		return nil
	case err == nil:
		err = fmt.Errorf("%s is another file than the one that was opened", s.dialect.path)
	case opened == nil || !errors.Is(err, fs.ErrNotExist):
		return away("reach the database", err)
	}
	return &pbx.Error{
		Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Err: err,
		Msg: "the file of the database was removed or replaced while the portal runs; nothing was changed: put it back, from the backup if need be, and restart the portal",
	}
}

// makeSQLite makes what is missing of the two, and finds out whether the file can be written.
func makeSQLite(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fileFault("the folder of the database", err)
	}
	err := makeFor(filepath.Dir(path), path)
	if err == nil {
		var f *os.File
		if f, _, err = regular.Open(path, os.O_RDWR|os.O_CREATE); err == nil {
			err = f.Close()
		}
	}
	if err == nil {
		return nil
	}
	return fileFault("the file of the database", err)
}

func eachSQLite(ctx context.Context, db *sql.DB, query string, take func(row) error) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := take(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func sqliteAway(err error) bool {
	if netAway(err) {
		return true
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_INTERRUPT:
			return true
		}
	}
	return false
}

func sqliteFull(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()&0xff == sqlite3.SQLITE_FULL || e.Code()&0xff == sqlite3.SQLITE_READONLY
	}
	return false
}

func sqliteDamaged(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB
	}
	return false
}

func sqliteFaulty(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && slices.Contains([]int{sqlite3.SQLITE_INTERNAL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS}, e.Code()&0xff)
}

func sqliteCollision(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
			return true
		}
	}
	return false
}

// netAway reports the signs of an unreachable or silent database that both engines share. A bare number of the system, which would pass for
// an error of the network, comes from a file; what comes from the network stands in a net.OpError.
func netAway(err error) bool {
	failed, network := errors.AsType[net.Error](err)
	if _, number := failed.(syscall.Errno); number {
		network = false
	}
	return network || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
