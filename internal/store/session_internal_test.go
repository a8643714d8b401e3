package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestAServerThatIsTooOldIsRefusedByItsVersion(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"9.6.24": false, "10.23": false, "12.22 (Debian 12.22-1.pgdg120+1)": false, "8.4.1": false,
		"13.0": true, "15.14 (Debian 15.14-0+deb12u1)": true, "18beta1": true, "19devel": true, "": true,
	} {
		err := suitable(version, "UTF8")
		if (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
		if !ok && (pbx.KindOf(err) != pbx.KindUnavailable || !strings.Contains(err.Error(), "upgrade it to PostgreSQL 13 or newer") || !strings.Contains(err.Error(), version)) {
			t.Errorf("%q: %v", version, err)
		}
	}
}

// refusesOnce is a server that has no connection left, and does not answer from the second attempt on.
type refusesOnce struct{ attempts int }

func (r *refusesOnce) Driver() driver.Driver { return nil }

func (r *refusesOnce) Connect(ctx context.Context) (driver.Conn, error) {
	if r.attempts++; r.attempts == 1 {
		return nil, &pgconn.PgError{Code: "53300"}
	}
	<-ctx.Done()
	return nil, fmt.Errorf("dial tcp: %w", os.ErrDeadlineExceeded)
}

func TestThatNoConnectionIsLeftIsReportedAlsoIfTheTimeEndsDuringAnotherAttempt(t *testing.T) {
	t.Parallel()
	p := &postgresPool{Connector: &refusesOnce{}}
	p.db = sql.OpenDB(p)
	defer p.db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 4*fewPause)
	defer cancel()
	if _, err := p.Connect(ctx); !noConnectionLeft(err) {
		t.Errorf("got %v", err)
	}
}
