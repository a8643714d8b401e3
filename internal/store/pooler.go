package store

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// poolerRefused returns the error of an address that leads through a pooler which does not keep or reset sessions.
func poolerRefused() *pbx.Error {
	return unavailable(pbx.Error{Msg: "DATABASE_URL leads through a connection pooler that passes connections on to other clients without resetting them, " +
		"and the portal's locks do not work through it; nothing was changed: connect to PostgreSQL directly, or set pool_mode=session and server_reset_query=DISCARD ALL " +
		"for this database in the pooler, then start again"})
}

// poolerRounds is how often connections are compared. A pooler hands a free server to the next client, which may not be this portal in the first
// round.
const poolerRounds = 5

// Pooled returns an error if a pooler assigns servers per transaction or per statement (pgbouncer with pool_mode=transaction or statement): locks,
// which belong to a connection, then exclude no one. A pooler that keeps a server for the whole connection (pool_mode=session) is accepted.
//
// A pooler of that kind cannot give a client the process id of its server for cancel requests, as PostgreSQL does, and makes one up: a connection that was given
// the right one needs no second connection for comparison, which takes the server longer than most commands of the portal.
//
// Otherwise one of two connections queries its server process, and keeps the answer in a setting of its session; then the other queries its own within a
// transaction, which keeps its server; then the first again. The same process on both, or a changed process or a lost setting on the first, means pooling;
// a single connection could get the same server each time and prove nothing. The setting is lost if the pooler resets a server after each transaction: the
// server is not free until that is done, so that both connections can have a server of their own each time.
func (s *Store) Pooled(ctx context.Context) error {
	if s.dialect.path != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	a, err := s.write.Conn(ctx)
	if err != nil {
		return s.fault("reach the database", err)
	}
	defer func() { _ = a.Close() }() // returns it to the pool
	if direct, err := isDirect(ctx, a); direct || err != nil {
		return s.fault("check whether the database is behind a pooler", err)
	}
	b, err := s.write.Conn(ctx)
	if err != nil {
		return s.fault("reach the database", err)
	}
	defer func() { _ = b.Close() }()
	for range poolerRounds {
		pooled, err := onePool(ctx, a, b)
		if err != nil {
			return s.fault("check whether the database is behind a pooler", err)
		}
		if pooled {
			return poolerRefused()
		}
	}
	return nil
}

// isDirect reports whether the server of a connection is the process that was named when it was opened.
func isDirect(ctx context.Context, conn *sql.Conn) (bool, error) {
	var named uint32
	if err := conn.Raw(func(driverConn any) error {
		named = driverConn.(*stdlib.Conn).Conn().PgConn().PID() //nolint:errcheck // it is the driver we opened
		return nil
	}); err != nil {
		return false, err
	}
	is, err := simply(ctx, conn, `SELECT pg_backend_pid()`)
	return is == strconv.FormatUint(uint64(named), 10), err
}

// onePool compares two connections once.
func onePool(ctx context.Context, a, b *sql.Conn) (pooled bool, err error) {
	before, err := simply(ctx, a, `SELECT set_config('pbxportal.server', pg_backend_pid()::text, false)`)
	if err != nil {
		return false, err
	}
	within, err := simply(ctx, b, `BEGIN; SELECT pg_backend_pid()`)
	if sqlState(err) == "08P01" { // pgbouncer with pool_mode=statement refuses transactions
		return true, nil
	}
	if err != nil {
		return false, err
	}
	after, err := simply(ctx, a, `SELECT concat(pg_backend_pid(), ' ', current_setting('pbxportal.server', true))`)
	if _, undo := simply(ctx, b, `ROLLBACK`); err == nil {
		err = undo
	}
	return before == within || after != before+" "+before, err
}

// simply executes statements with the simple protocol, which every pooler supports, and returns their single value.
func simply(ctx context.Context, conn *sql.Conn, statements string) (value string, err error) {
	err = conn.Raw(func(driverConn any) error {
		results, err := driverConn.(*stdlib.Conn).Conn().PgConn().Exec(ctx, statements).ReadAll() //nolint:errcheck // it is the driver we opened
		for _, r := range results {
			for _, row := range r.Rows {
				value = string(row[0])
			}
		}
		return err
	})
	return value, err
}
