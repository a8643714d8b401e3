package store_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// The errors of a server that restarts, fails over, is a replica, lacks a resource, or ends sessions on an administrator's request:
// none of them is an internal error, and each has a message with a fix.
func TestEveryStateOfAFailingServerHasAMessageAndIsNeverAnInternalError(t *testing.T) {
	t.Parallel()
	address := labtest.Postgres(t)
	s := storetest.Open(t, address)
	for code, want := range map[string]string{
		"08000": pbx.CodeDatabaseAway, "08003": pbx.CodeDatabaseAway, "08006": pbx.CodeDatabaseAway, "08P01": pbx.CodeDatabaseAway,
		"25006": pbx.CodeDatabaseFull, "25P02": pbx.CodeDatabaseAway, "25P03": pbx.CodeDatabaseAway, "25P04": pbx.CodeDatabaseAway,
		"40001": pbx.CodeRetryExhausted, "40P01": pbx.CodeRetryExhausted, "40003": pbx.CodeDatabaseAway,
		"53000": pbx.CodeDatabaseAway, "53100": pbx.CodeDatabaseFull, "53200": pbx.CodeDatabaseAway, "53300": pbx.CodeDatabaseAway, "53400": pbx.CodeDatabaseAway,
		"55P03": pbx.CodeDatabaseAway,
		"57000": pbx.CodeDatabaseAway, "57014": pbx.CodeDatabaseAway, "57P01": pbx.CodeDatabaseAway, "57P02": pbx.CodeDatabaseAway,
		"57P03": pbx.CodeDatabaseAway, "57P04": pbx.CodeDatabaseAway, "57P05": pbx.CodeDatabaseAway,
		"58000": pbx.CodeDatabaseAway, "58030": pbx.CodeDatabaseAway, "58P01": pbx.CodeDatabaseAway, "58P02": pbx.CodeDatabaseAway,
		"XX000": pbx.CodeDatabaseAway, "XX001": pbx.CodeDatabaseAway, "XX002": pbx.CodeDatabaseAway,
	} {
		execute(t, address, fmt.Sprintf(`CREATE OR REPLACE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'raised' USING ERRCODE = '%s'; END $$;
CREATE OR REPLACE TRIGGER fails BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION fails();
CREATE OR REPLACE TRIGGER fails BEFORE INSERT ON apply_audit_logs FOR EACH ROW EXECUTE FUNCTION fails()`, code))
		for what, err := range map[string]error{
			"a create": insert(t.Context(), s, newUser(1000, "a@example.com")),
			"a run":    storetest.SaveRun(t.Context(), s, pbx.Run{Log: pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "t", Outcome: pbx.Failure}}),
		} {
			if pbx.KindOf(err) != pbx.KindUnavailable || pbx.CodeOf(err) != want || !strings.Contains(fmt.Sprint(err), "nothing was changed") {
				t.Errorf("SQLSTATE %s in %s: %v, want code %s", code, what, err, want)
			}
		}
	}
}

// withSettings returns a handle whose sessions have these server settings.
func withSettings(t *testing.T, address, settings string) *store.Store {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("options", settings)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	s, err := store.Open(u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.UseKeys(storetest.Keys(t), false)
	return s
}

// The same errors from a real server, if it can be made to return them.
func TestSessionsThatTheServerEndsAreReportedAsUnavailable(t *testing.T) {
	t.Parallel()
	address := labtest.Postgres(t)
	storetest.Open(t, address)
	unavailable := func(what string, err error) {
		t.Helper()
		if pbx.KindOf(err) != pbx.KindUnavailable || !strings.Contains(fmt.Sprint(err), "nothing was changed") {
			t.Errorf("%s: %v", what, err)
		}
	}
	add := func(s *store.Store, meanwhile func(backend string)) error {
		return s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			//nolint:contextcheck // it looks from a connection of its own
			meanwhile(execute(t, address, `SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()`))
			return tx.InsertUsers(ctx, store.NewUser{User: newUser(1000, "a@example.com"), Event: event(ctx, pbx.ActionUserCreate)})
		})
	}
	gone := func(backend string) {
		for backend != "" && execute(t, address, `SELECT count(*) FROM pg_stat_activity WHERE pid = `+backend) != "0" {
		}
	}
	unavailable("idle in a transaction for too long", add(withSettings(t, address, "-c idle_in_transaction_session_timeout=50"), gone))
	unavailable("ended by the administrator", add(withSettings(t, address, ""), func(backend string) {
		execute(t, address, `SELECT pg_terminate_backend(`+backend+`, 10000)`)
	}))
	unavailable("a replica", add(withSettings(t, address, "-c default_transaction_read_only=on"), func(string) {}))

	blocker, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = blocker.Close(context.WithoutCancel(t.Context())) }()
	if _, err := blocker.Exec(t.Context(), `BEGIN; LOCK users`); err != nil {
		t.Fatal(err)
	}
	unavailable("a lock that is not free in time", insert(t.Context(), withSettings(t, address, "-c lock_timeout=50"), newUser(1000, "a@example.com")))
	unavailable("a statement that takes too long", insert(t.Context(), withSettings(t, address, "-c statement_timeout=50"), newUser(1000, "a@example.com")))
	if _, err := blocker.Exec(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}

	role := "few_" + uuid.NewString()[:8]
	execute(t, address, `CREATE ROLE `+role+` LOGIN CONNECTION LIMIT 0`)
	defer execute(t, address, `DROP ROLE `+role)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	few, err := store.Open(u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer few.Close()
	unavailable("too many connections", few.Ping(t.Context()))

	// Whatever the default of the database: transactions are those that the writers' lock is made for.
	for range 3 {
		if err := insert(t.Context(), withSettings(t, address, "-c default_transaction_isolation=serializable"), newUser(1000, "a@example.com")); err != nil {
			t.Error(err)
		}
		execute(t, address, `DELETE FROM users`)
	}
}
