package store

import (
	"context"
	"database/sql"
	"sync"
)

// compiled holds the prepared statements of user creation and deletion and of the records of applies, prepared once for SQLite's single write connection:
// preparing them costs a fifth of a create, and more of a delete, which compiles all triggers of users and extensions. On PostgreSQL, pgx caches prepared
// statements itself.
type compiled struct {
	mu   sync.Mutex
	done map[string]*sql.Stmt
}

// frequent lists the statements to prepare.
func (d *dialect) frequent() []string {
	return []string{d.allocationQuery(), insertEvent, insertUser, insertExtension, addCovered, deleteUser, insertFreed, d.saveLogQuery(), d.saveRunQuery()}
}

// prepare prepares the statements before the first transaction that uses them. It returns none while the tables do not exist.
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
				_ = s.Close() // never executed, so nothing is lost
			}
			return nil
		}
		done[query] = stmt
	}
	c.done = done
	return done
}

// swift is a transaction that uses prepared statements where they exist.
type swift struct {
	*sql.Tx
	compiled map[string]*sql.Stmt
}

// ExecContext implements querier.
func (s swift) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if stmt := s.compiled[query]; stmt != nil {
		return s.StmtContext(ctx, stmt).ExecContext(ctx, args...) //nolint:sqlclosecheck // closed with the transaction
	}
	return s.Tx.ExecContext(ctx, query, args...)
}

// QueryContext implements querier.
func (s swift) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := s.compiled[query]; stmt != nil {
		return s.StmtContext(ctx, stmt).QueryContext(ctx, args...) //nolint:sqlclosecheck // closed with the transaction
	}
	return s.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext implements querier.
func (s swift) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := s.compiled[query]; stmt != nil {
		return s.StmtContext(ctx, stmt).QueryRowContext(ctx, args...) //nolint:sqlclosecheck // closed with the transaction
	}
	return s.Tx.QueryRowContext(ctx, query, args...)
}
