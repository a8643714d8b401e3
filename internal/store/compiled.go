package store

import (
	"context"
	"database/sql"
	"sync"
)

// compiled are the statements of creating a user, compiled once for the one connection that writes to SQLite: compiling them costs a
// fifth of a create. pgx does the same for PostgreSQL by itself.
type compiled struct {
	mu   sync.Mutex
	done map[string]*sql.Stmt
}

// frequent lists the statements that are worth it.
func (d *dialect) frequent() []string {
	return []string{d.allocationQuery(), insertEvent, insertUser, insertExtension, addCovered}
}

// prepare compiles the statements, before the first transaction that uses them begins; a database without its tables
// has to do without.
func (c *compiled) prepare(ctx context.Context, db *sql.DB, queries []string) map[string]*sql.Stmt {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done != nil {
		return c.done
	}
	done := map[string]*sql.Stmt{}
	for _, query := range queries {
		stmt, err := db.PrepareContext(ctx, query) //nolint:sqlclosecheck // closed with the database
		if err != nil {
			for _, s := range done {
				_ = s.Close() // nothing is lost with it
			}
			return nil
		}
		done[query] = stmt
	}
	c.done = done
	return done
}

// swift is a transaction that uses compiled statements where there are any.
type swift struct {
	*sql.Tx
	compiled map[string]*sql.Stmt
}

// ExecContext carries out a statement.
func (s swift) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if stmt := s.compiled[query]; stmt != nil {
		return s.StmtContext(ctx, stmt).ExecContext(ctx, args...) //nolint:sqlclosecheck // closed with the transaction
	}
	return s.Tx.ExecContext(ctx, query, args...)
}

// QueryContext asks for rows.
func (s swift) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := s.compiled[query]; stmt != nil {
		return s.StmtContext(ctx, stmt).QueryContext(ctx, args...) //nolint:sqlclosecheck // closed with the transaction
	}
	return s.Tx.QueryContext(ctx, query, args...)
}
