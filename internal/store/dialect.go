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

// dialect holds the differences between the two engines.
type dialect struct {
	describe    string
	path        string // of the SQLite file; "" on PostgreSQL
	goose       goose.Dialect
	migrations  string         // the folder in migrations/ with this engine's files
	migrating   func() *sql.DB // opens connections for migrations; nil where the write pool serves
	probe       []string       // statements that write and are rolled back
	lockWriters string         // the statement that makes a transaction the only writer; "" if beginning one does
	hold        func(n int64)  // counts connections that locks keep
	lockRows    string         // ends a query whose rows stay locked until the transaction ends; "" if not needed

	// each runs a query and passes its rows to take, one at a time.
	each func(ctx context.Context, db *sql.DB, query string, take func(row) error, args ...any) error

	among func(query string) string // the comparison with the few results of a query that an index serves

	listIn   func(param string) string // a parameter with a JSON array of texts, as rows of text and i, its index from 1
	textsIn  func(param string) string // a parameter with a JSON array of texts, in the form of the column files_written
	textsOut func(column string) string
	jsonIn   func(param string) string // a parameter with JSON text, in the form of the column reload_results
	jsonOut  func(column string) string

	plain      func(expression string) string // the expression, hidden from the choice of an index where the planner cannot know which is selective
	actionKind string                         // the first part of an event's action with its dot, as in its index
	infinite   string                         // a time after every other, if the planner needs a search by two columns in the order of their index; "" otherwise

	lower       func(expression string) string // the expression with ASCII letters in lower case, whatever the locale of the database
	schemaGiven bool                           // DATABASE_URL names the schema of the tables

	remedy    func(error) *pbx.Error // the error for cases that the general messages below would misrepresent; nil if they fit
	full      func(error) bool       // no space, or no permission, to write
	damaged   func(error) bool       // the stored data cannot be read
	faulty    func(error) bool       // an internal fault of the database
	away      func(error) bool       // the database is unreachable, starting, stopping, or did not respond in time
	collision func(error) bool       // a concurrent transaction changed the same rows; a retry may succeed
}

// open opens the read and write pools of the database that rawURL names.
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

// openPostgres opens a PostgreSQL database. rawURL must not appear in an error: it may contain a password.
func openPostgres(rawURL string) (read, write *sql.DB, d dialect, err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, nil, d, errors.New("DATABASE_URL is not a valid URL: percent-encode special characters in user and password, and give the folder of a Unix socket as a " +
			"parameter (postgresql:///name?host=/var/run/postgresql)")
	}
	if strings.Contains(behindHost(rawURL), "@") { // a password such as 12/secret would be parsed as a port and a database name, which are shown
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
		// The rows need new pages: existing ones may have space on a full disk.
		probe: []string{`UPDATE tenants SET name = name`, `
INSERT INTO apply_audit_logs (id, triggered_at, triggered_by, outcome, error_details)
SELECT gen_random_uuid(), now(), 'probe', 'failure', repeat('x', 1500) FROM generate_series(1, 130)`},
		migrations:  "postgres",
		lockWriters: fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", writersKey),
		lockRows:    " FOR UPDATE",
		each:        eachPostgres,
		among:       func(query string) string { return "= ANY (ARRAY(" + query + "))" },
		actionKind:  `substr(action, 1, strpos(action, '.'))`,
		infinite:    `infinity`,
		plain:       func(expression string) string { return expression }, // it has statistics
		listIn: func(p string) string {
			return "(SELECT text, i FROM jsonb_array_elements_text(CAST(" + p + " AS jsonb)) WITH ORDINALITY AS list (text, i))"
		},
		textsIn:     func(p string) string { return "ARRAY(SELECT jsonb_array_elements_text(CAST(" + p + " AS jsonb)))" },
		textsOut:    func(c string) string { return "CAST(to_json(" + c + ") AS text)" },
		jsonIn:      func(p string) string { return "CAST(" + p + " AS jsonb)" },
		jsonOut:     func(c string) string { return "CAST(" + c + " AS text)" },
		lower:       func(e string) string { return `lower(` + e + ` COLLATE "C")` },
		schemaGiven: schemaGiven,
		hold:        func(n int64) { pool.held.Add(n) },
		remedy:      pool.remedy,
		full:        postgresFull,
		damaged:     postgresDamaged,
		faulty:      postgresFaulty,
		away:        postgresAway,
		collision:   postgresCollision,
	}, nil
}

// Both ends of a connection detect within silence that the other has vanished (power loss, cut link): the portal stops waiting, and the server
// releases the portal's locks.
const (
	probeAfter   = 3 // seconds without traffic
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
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, silenceInMil) // sent data that is not acknowledged
			})
			return errors.Join(failed, err)
		},
	}
}

// behindHost returns the part of a URL behind the host, or what would be parsed as such.
func behindHost(rawURL string) string {
	_, rest, _ := strings.Cut(rawURL, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[i:]
	}
	return ""
}

// The advisory locks that the portal uses in a PostgreSQL database. The numbers are arbitrary and must never change.
const (
	writersKey   = 0x70_62_78_01
	applyKey     = 0x70_62_78_02
	migrationKey = 0x70_62_78_03
)

// row is a result row of database/sql or pgx.
type row interface{ Scan(into ...any) error }

// eachPostgres queries through pgx directly: through database/sql a long result takes half as long again. The statement is planned each time: a
// plan cached while the tables were empty would join a thousand users row by row.
func eachPostgres(ctx context.Context, db *sql.DB, query string, take func(row) error, args ...any) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // returns it to the pool
	return conn.Raw(func(driverConn any) error {
		args = append([]any{pgx.QueryExecModeCacheDescribe}, args...)
		rows, err := driverConn.(*stdlib.Conn).Conn().Query(ctx, query, args...) //nolint:errcheck // it is the driver we opened
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

// send executes a batch on PostgreSQL in one round trip.
func (t *Tx) send(ctx context.Context, batch *pgx.Batch) error {
	if batch.Len() == 0 {
		return nil
	}
	return t.tx.(*sql.Conn).Raw(func(driverConn any) error { //nolint:errcheck // beginPostgres made it so
		return driverConn.(*stdlib.Conn).Conn().SendBatch(ctx, batch).Close() //nolint:errcheck // it is the driver we opened
	})
}

// beginPostgres begins a transaction and takes the writers' lock in one round trip, where database/sql would need two.
func (s *Store) beginPostgres(ctx context.Context) (*Tx, error) {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return nil, err
	}
	ended := false
	tx := &Tx{tx: conn, dialect: &s.dialect, secrets: &s.secrets, witness: &s.witness, items: &s.items}
	tx.rollback = func() {
		if !ended {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if _, err := conn.ExecContext(undo, "ROLLBACK"); err != nil {
				_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // the pool drops the connection, and the server the transaction
			}
		}
		_ = conn.Close() // returns it to the pool
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

// whole returns an error if a statement of the transaction has failed: COMMIT would silently roll back.
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
	case "25P02", "25P03", "25P04", // the transaction was ended: after an earlier error, idle or open for too long
		"40001", "40P01", "40002", "40003", // or aborted because of another one, also where it is not retried
		"55P03": // lock timeout
		return true
	default:
		switch code[:min(2, len(code))] {
		case "08", "53", "57", "58": // connection; resources (too many connections, memory); operator (stopping, starting, cancelled, idle session); system
			return true
		}
	}
	return pgconn.SafeToRetry(err)
}

// sqlState returns the SQLSTATE of an error that the server reported; "" for other errors.
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
	case "23505": // unique violation: only a writer that bypasses the writers' lock can cause it
		return true
	}
	return false
}

// How long SQLite waits for a lock, in milliseconds. It asks for it more and more rarely, up to every 100 ms: a process that writes without pause
// leaves the lock free for less, so another one may not get it for seconds. Transactions that write therefore wait shortly, and begin again.
const (
	busyWriter = "10"
	busyOther  = "5000"
)

func sqliteBusy(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code() == sqlite3.SQLITE_BUSY
}

// openSQLite opens the file at path; Migrate creates it.
func openSQLite(path string) (read, write *sql.DB, d dialect, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, nil, d, fmt.Errorf("cannot find the current folder: %w", err)
	}
	// The pragmas are in the DSN, so that every connection of a pool gets them; busy_timeout first, as the others may wait. synchronous=FULL:
	// acknowledged transactions survive a power cut. secure_delete: deleted secrets are zeroed in the file. temp_store: statements that need
	// temporary files also work on a read-only root. mode=rw: a connection must not create an empty file in the place of a lost one.
	const dsn = "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=secure_delete(ON)" +
		"&_pragma=temp_store(MEMORY)&_time_format=sqlite&_txlock=immediate"
	open := func(busy string) string {
		return "file:" + (&url.URL{Path: path}).EscapedPath() + "?mode=rw&_pragma=busy_timeout(" + busy + ")" + dsn
	}
	migrated := open(busyOther) // without foreign keys, as SQLite requires for replacing a table
	file := migrated + "&_pragma=foreign_keys(ON)"
	named, err := sql.Open("sqlite", file) // opens nothing yet; it knows the driver
	if err != nil {
		return nil, nil, d, fmt.Errorf("cannot open the database: %w", err)
	}
	if err = named.Close(); err != nil { // it would leak a goroutine
		return nil, nil, d, fmt.Errorf("cannot open the database: %w", err)
	}
	write = sql.OpenDB(regularFiles{named.Driver(), path, open(busyWriter) + "&_pragma=foreign_keys(ON)"})
	read = sql.OpenDB(regularFiles{named.Driver(), path, file + "&_pragma=query_only(ON)"})
	write.SetMaxOpenConns(1)
	read.SetMaxOpenConns(8)
	read.SetMaxIdleConns(8)
	same := func(s string) string { return s }
	return read, write, dialect{
		describe: "SQLite file " + path,
		path:     path,
		goose:    goose.DialectSQLite3,
		// What does not fit into the cache is written at once; otherwise space would be needed only at the end of a transaction.
		probe:      []string{`PRAGMA cache_size = 8`, `CREATE TABLE probe (content BLOB)`, `INSERT INTO probe VALUES (zeroblob(262144))`},
		migrations: "sqlite",
		migrating: func() *sql.DB {
			db := sql.OpenDB(regularFiles{named.Driver(), path, migrated})
			db.SetMaxOpenConns(1)
			return db
		},
		each:       eachSQLite,
		among:      func(query string) string { return "IN (" + query + ")" },
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

// regularFiles opens connections to SQLite on regular files only. SQLite itself opens any kind of file, and would block forever on a named pipe.
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

// Driver returns the driver.
func (r regularFiles) Driver() driver.Driver { return r.driver }

// makeSQLite creates the file and its folder if they are missing, once, and remembers the file's identity. SQLite would create the file readable
// for all; its -wal and -shm files take the mode of this one.
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

// inPlace returns an error if the SQLite file does not exist yet, or was removed or replaced: the connections would continue on the removed file,
// and their writes would be lost. It costs one stat, and nothing on PostgreSQL.
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
		err = fmt.Errorf("%s is not the file that was opened", s.dialect.path)
	case opened == nil || !errors.Is(err, fs.ErrNotExist):
		return away("reach the database", err)
	}
	return &pbx.Error{
		Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Err: err,
		Msg: "the database file was removed or replaced while the portal was running; nothing was changed: restore it, from a backup if necessary, and restart the portal",
	}
}

// makeSQLite creates the file and its folder if they are missing, and checks that the file can be written.
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

func eachSQLite(ctx context.Context, db *sql.DB, query string, take func(row) error, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
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

// netAway reports the network errors that both engines share. A bare errno could come from a file; network errors are wrapped in a net.OpError.
func netAway(err error) bool {
	failed, network := errors.AsType[net.Error](err)
	if _, number := failed.(syscall.Errno); number {
		network = false
	}
	return network || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
