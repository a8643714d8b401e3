package store

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// maxConnections is the size of the PostgreSQL connection pool.
const maxConnections = 10

// oldestPostgres is the oldest supported major version of PostgreSQL.
const oldestPostgres = 13

// While the server has no connection to spare, the pool uses the connections it has. After fewTime it tries to grow again. Without any connection
// it retries every fewPause. slowConnect bounds the wait for another connection while the pool has working ones: a pooler with an exhausted pool
// accepts the connection and does not respond.
const (
	fewTime     = 5 * time.Second
	fewPause    = 50 * time.Millisecond
	slowConnect = 2 * time.Second
)

// postgresPool opens the connections of a pool. When the server refuses another one because none are left (SQLSTATE 53300), the pool shrinks to the
// working ones, and the request waits for one of them as in a full pool.
type postgresPool struct {
	driver.Connector
	db      *sql.DB
	opening atomic.Int64 // connections being opened
	held    atomic.Int64 // connections that a lock keeps, and that no request gets
	refused atomic.Int64 // when the server last had no connection left, in nanoseconds since 1970; 0 if it has some

	mu   sync.Mutex
	grow *time.Timer // lets the pool grow again; nil where it is not limited
}

// openPool returns the pool of connections that config describes.
func openPool(config pgx.ConnConfig) *postgresPool {
	settings := config.RuntimeParams
	config.RuntimeParams = map[string]string{"application_name": settings["application_name"], "timezone": "UTC"}
	if options := settings["options"]; options != "" { // only the server can parse it
		config.RuntimeParams["options"] = options
	}
	statements := sessionSettings(settings)
	p := &postgresPool{Connector: stdlib.GetConnector(config, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		err := beginSession(ctx, conn.PgConn(), statements)
		if err != nil {
			_ = conn.Close(context.WithoutCancel(ctx)) // the driver would leave it open
		}
		return err
	}))}
	p.db = sql.OpenDB(p)
	p.limit(maxConnections)
	return p
}

// beginSession checks the server at the other end of a new connection, and makes the settings.
func beginSession(ctx context.Context, conn *pgconn.PgConn, settings string) error {
	if err := suitable(conn.ParameterStatus("server_version"), conn.ParameterStatus("server_encoding")); err != nil {
		return err
	}
	results, err := conn.Exec(ctx, settings).ReadAll()
	if err != nil {
		return err
	}
	if rows := results[0].Rows; len(rows) > 0 && len(rows[0][0]) > 0 {
		return poolerRefused()
	}
	return nil
}

// sessionSettings returns the statements that initialise a session. The first returns whether the portal has used the session before, which only a
// pooler can cause. Settings are made by statements because poolers refuse them at connection time. They override those of the database, the role
// and the environment (PG…): texts are sent and read as UTF-8, and transactions require this isolation level. The settings of DATABASE_URL, such as
// search_path, come first.
func sessionSettings(given map[string]string) string {
	var b strings.Builder
	b.WriteString("SELECT current_setting('pbxportal.session', true);")
	set := func(name, value string) {
		fmt.Fprintf(&b, "SELECT set_config(%s, %s, false);", quote(name), quote(value))
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if name != "application_name" && name != "options" {
			set(name, given[name])
		}
	}
	set("pbxportal.session", "begun")
	set("client_encoding", "UTF8")
	set("standard_conforming_strings", "on")
	set("timezone", "UTC")
	set("default_transaction_isolation", "read committed")
	set("tcp_keepalives_idle", strconv.Itoa(probeAfter))
	set("tcp_keepalives_interval", strconv.Itoa(probeEvery))
	set("tcp_keepalives_count", strconv.Itoa(probes))
	set("tcp_user_timeout", strconv.Itoa(silenceInMil))
	return b.String()
}

// quote returns a text as an SQL literal, whatever standard_conforming_strings is set to.
func quote(text string) string {
	return " E'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// suitable returns an error with the remedy if a server of this version, or a database with this encoding, cannot hold the portal's tables.
func suitable(version, encoding string) error {
	digits, _, _ := strings.Cut(version, ".")
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 { // 18beta1
		digits = digits[:end]
	}
	if major, err := strconv.Atoi(digits); err == nil && major < oldestPostgres {
		return &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway,
			Msg: fmt.Sprintf("the database is PostgreSQL %s, which is too old; nothing was changed: upgrade it to PostgreSQL %d or newer, then start again", version, oldestPostgres),
		}
	}
	if encoding != "UTF8" {
		return &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway,
			Msg: fmt.Sprintf("the database has the encoding %s, in which names such as Jürgen are damaged; nothing was changed: create a database with "+
				"CREATE DATABASE name OWNER role ENCODING 'UTF8' TEMPLATE template0, and set DATABASE_URL to it; docs/install.md shows how to move users that are in this one", encoding),
		}
	}
	return nil
}

// Connect opens a connection.
func (p *postgresPool) Connect(ctx context.Context) (driver.Conn, error) {
	p.opening.Add(1)
	defer p.opening.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	var refusal error // the last one
	for attempt := 1; ; attempt++ {
		conn, err := p.connect(ctx)
		switch {
		case err == nil:
			return conn, nil
		case refusal != nil && ctx.Err() != nil:
			return nil, refusal // says more than that the time ended during another attempt
		case !noConnectionLeft(err):
			return nil, err
		}
		refusal = err
		p.refused.Store(time.Now().UnixNano()) //nolint:forbidigo // a duration, which no test sets
		// Another connection that is just being opened counts as soon as it is open: without it the pool could shrink to one that is in use.
		settled := p.opening.Load() == 1 || attempt == 4 || errors.Is(err, errNoConnection)
		if working := p.working(); working > 0 && settled {
			p.keepTo(working)
			return nil, driver.ErrBadConn // the pool waits for one of its own
		}
		again := time.NewTimer(fewPause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil, err
		}
	}
}

// connect opens a connection, with a short timeout while the pool has working ones.
func (p *postgresPool) connect(ctx context.Context) (driver.Conn, error) {
	if p.working() <= 0 {
		return p.Connector.Connect(ctx)
	}
	brief, cancel := context.WithTimeout(ctx, slowConnect)
	defer cancel()
	conn, err := p.Connector.Connect(brief)
	if err != nil && brief.Err() != nil && ctx.Err() == nil {
		err = errors.Join(errNoConnection, err)
	}
	return conn, err
}

var errNoConnection = errors.New("no further connection in time")

// working returns the number of connections in the pool that requests can get, without those being opened.
func (p *postgresPool) working() int {
	return p.db.Stats().OpenConnections - int(p.opening.Load()) - int(p.held.Load())
}

// keepTo limits the pool to its working connections for a time.
func (p *postgresPool) keepTo(working int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit(working + int(p.held.Load()))
	if p.grow == nil {
		p.grow = time.AfterFunc(fewTime, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.grow = nil
			p.limit(maxConnections)
		})
	}
}

func (p *postgresPool) limit(n int) {
	p.db.SetMaxOpenConns(n)
	p.db.SetMaxIdleConns(n)
}

// Close stops what Connect has started; the pool calls it when it is closed.
func (p *postgresPool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.grow != nil {
		p.grow.Stop()
	}
	return nil
}

// few reports whether the server recently had no connection left.
func (p *postgresPool) few() bool {
	return time.Since(time.Unix(0, p.refused.Load())) < fewTime+QueryTimeout
}

// noConnectionLeft reports whether the server, or a pooler, has no connection left. pgbouncer has no SQLSTATE of its own for that.
func noConnectionLeft(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return errors.Is(err, errNoConnection) || ok && (pg.Code == "53300" || pg.Code == "08P01" &&
		(strings.Contains(pg.Message, "no more connections allowed") || strings.Contains(pg.Message, "query_wait_timeout") || strings.Contains(pg.Message, "too many")))
}

// unavailable returns the error of a database that cannot be used.
func unavailable(e pbx.Error) *pbx.Error {
	e.Kind, e.Code = pbx.KindUnavailable, pbx.CodeDatabaseAway
	return &e
}

// remedy returns the error for cases that the general messages would misrepresent; nil if they fit.
func (p *postgresPool) remedy(err error) *pbx.Error {
	pg, _ := errors.AsType[*pgconn.PgError](err)
	switch code := sqlState(err); {
	case noConnectionLeft(err), errors.Is(err, context.DeadlineExceeded) && p.few():
		return unavailable(pbx.Error{Msg: "the database has no connection left for the portal; nothing was changed: end other clients, or allow more connections (max_connections of PostgreSQL, " +
			"CONNECTION LIMIT of the role or database, max_client_conn and default_pool_size of pgbouncer); the portal uses up to 10"})
	case tlsFault(err):
		return unavailable(pbx.Error{Msg: "no encrypted connection to the database could be made; nothing was changed: set up TLS in PostgreSQL (ssl, ssl_cert_file, ssl_key_file), name the " +
			"authority of its certificate with sslrootcert in DATABASE_URL, or, on a network that is trusted, set sslmode=disable"})
	case code == "42704" && strings.Contains(pg.Message, "configuration parameter"):
		return unavailable(pbx.Error{Msg: "DATABASE_URL has a parameter that PostgreSQL does not know; nothing was changed: correct or remove it"})
	case code == "28P01", code == "28000":
		return unavailable(pbx.Error{Msg: "the database refuses the user or the password of DATABASE_URL; nothing was changed: correct them, or allow this user and host in pg_hba.conf"})
	case code == "3D000":
		return unavailable(pbx.Error{Msg: "the database server has no database of the name in DATABASE_URL; nothing was changed: create it with " +
			"CREATE DATABASE name OWNER role ENCODING 'UTF8' TEMPLATE template0, or correct DATABASE_URL"})
	case code == "25006":
		return unavailable(pbx.Error{Msg: "the database is read-only: it is a replica, or default_transaction_read_only is set; nothing was changed: set DATABASE_URL to the primary server, " +
			"or reset that setting (ALTER ROLE or ALTER DATABASE … RESET default_transaction_read_only)"})
	case code == "42P05", code == "26000":
		return poolerRefused()
	case code == "08P01" && strings.Contains(pg.Message, "startup parameter"):
		return unavailable(pbx.Error{Msg: "a connection pooler refuses a parameter of DATABASE_URL; nothing was changed: remove the parameter, or add its name to ignore_startup_parameters of pgbouncer " +
			"(settings such as search_path can be given by name, as in ?search_path=portal)"})
	case code == "3F000":
		return noSchema()
	case code == "42501":
		return unavailable(pbx.Error{Msg: "the database refuses this to the role of DATABASE_URL; nothing was changed: make that role the owner of the database and of the portal's tables (ALTER … OWNER TO; " +
			"in PostgreSQL 15 and newer another role also needs GRANT CREATE ON SCHEMA public), or run pbxportal migrate once as their owner and grant it the rest"})
	}
	return nil
}

// tlsFault reports whether a connection failed because both ends did not agree on encryption, or the server's certificate is not trusted.
func tlsFault(err error) bool {
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	return unverified || err != nil && strings.Contains(err.Error(), "server refused TLS connection")
}

func noSchema() *pbx.Error {
	return unavailable(pbx.Error{Msg: "no schema of the search_path exists, or the role of DATABASE_URL may use none; nothing was changed: create the schema " +
		"(CREATE SCHEMA name AUTHORIZATION role), or add search_path=public to DATABASE_URL"})
}

// MayAnswerLater reports whether an error means that PostgreSQL is unreachable, starting or out of connections, so that waiting can help.
func (s *Store) MayAnswerLater(err error) bool {
	if s.dialect.path != "" || pbx.CodeOf(err) != pbx.CodeDatabaseAway {
		return false
	}
	state := sqlState(err)
	return netAway(err) || noConnectionLeft(err) || s.dialect.remedy(err) == nil && (strings.HasPrefix(state, "08") || strings.HasPrefix(state, "53") || strings.HasPrefix(state, "57"))
}

// Placed returns an error if the portal's tables are in another schema than the one in which this session creates tables: a migration would split
// the tables between two schemas, or begin an empty installation beside the existing one.
func (s *Store) Placed(ctx context.Context) error {
	if s.dialect.path != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	var own, found string
	err := s.read.QueryRowContext(ctx, `WITH places AS (SELECT c.oid, CAST(n.nspname AS text) COLLATE "C" AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = 'apply_audit_logs' AND c.relkind IN ('r', 'p'))
SELECT coalesce(current_schema(), ''), coalesce((SELECT min(schema) FROM places WHERE (NOT $1 OR oid = to_regclass('apply_audit_logs'))
AND NOT EXISTS (SELECT 1 FROM places WHERE schema = current_schema())), '')`, s.dialect.schemaGiven).Scan(&own, &found)
	switch {
	case err != nil:
		return s.fault("find the schema of the tables", err)
	case own == "":
		return noSchema()
	case found != "":
		return &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway,
			Msg: fmt.Sprintf("the portal's tables are in the schema %q of the database, and this session would create tables in %q; nothing was changed: add search_path=%[1]s to DATABASE_URL, "+
				"or search_path=%[2]s if a second installation is meant", found, own),
		}
	}
	return nil
}
