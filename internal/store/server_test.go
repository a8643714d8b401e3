package store_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// unusual creates another database on the server of an address, with the given options of CREATE DATABASE, and returns its address.
func unusual(t *testing.T, address, options string) string {
	t.Helper()
	name := "unusual_" + uuid.NewString()[:8]
	execute(t, address, `CREATE DATABASE `+name+` `+options)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.WithoutCancel(t.Context()), address)
		if err == nil {
			_, err = conn.Exec(context.WithoutCancel(t.Context()), `DROP DATABASE `+name+` WITH (FORCE)`)
		}
		if err != nil {
			t.Error(err)
		}
		_ = conn.Close(context.WithoutCancel(t.Context()))
	})
	return changed(t, address, func(u *url.URL) { u.Path = "/" + name })
}

// changed returns an address with a change.
func changed(t *testing.T, address string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

// with returns an address with a parameter more.
func with(t *testing.T, address, name, value string) string {
	t.Helper()
	return changed(t, address, func(u *url.URL) {
		q := u.Query()
		q.Set(name, value)
		u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	})
}

// newRole creates a role with these options, and returns the address with it.
func newRole(t *testing.T, address, options string) (role, as string) {
	t.Helper()
	role = "role_" + uuid.NewString()[:8]
	execute(t, address, `CREATE ROLE `+role+` `+options)
	t.Cleanup(func() {
		if err := storetest.Try(t, address, `DROP OWNED BY `+role+` CASCADE; DROP ROLE `+role); err != nil {
			t.Log(err) // it owns objects in another database; the server ends with the tests
		}
	})
	return role, changed(t, address, func(u *url.URL) { u.User = url.User(role) })
}

// migrate opens a database and returns the error of its migration.
func migrate(t *testing.T, address string) error {
	t.Helper()
	s, err := store.Open(address)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Migrate(t.Context())
	return err
}

// refused requires an error that says that nothing was changed, with these words.
func refused(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if pbx.KindOf(err) != pbx.KindUnavailable {
		t.Errorf("%s: %v", what, err)
		return
	}
	for _, word := range append(words, "nothing was changed: ") {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v; want %q", what, err, word)
		}
	}
}

func TestADatabaseThatIsNotUTF8IsRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	for _, encoding := range []string{"LATIN1", "LATIN9", "SQL_ASCII", "WIN1252", "EUC_JP"} {
		address := unusual(t, server, `ENCODING '`+encoding+`' LOCALE 'C' TEMPLATE template0`)
		refused(t, encoding, migrate(t, address), encoding, "ENCODING 'UTF8'", "DATABASE_URL")
		if n := execute(t, address, `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`); n != "0" {
			t.Errorf("%s: %s tables were made", encoding, n)
		}
	}
}

// The commands of docs/install.md, on a database that an earlier version filled: the bytes in it are UTF-8 whatever its encoding says.
func TestTextIsUTF8WhateverTheServerTheRoleOrTheAddressSay(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	role, _ := newRole(t, server, `LOGIN SUPERUSER`)
	execute(t, server, `ALTER ROLE `+role+` SET client_encoding = 'LATIN1'; ALTER ROLE `+role+` SET standard_conforming_strings = off; ALTER ROLE `+role+` SET DateStyle = 'German'`)
	for name, address := range map[string]string{
		"a role": changed(t, server, func(u *url.URL) { u.User = url.User(role) }), "the address": with(t, server, "client_encoding", "LATIN1"),
		"options": with(t, server, "options", "-c client_encoding=LATIN1"),
	} {
		s := storetest.Open(t, address)
		u := newUser(1000, "a@example.com")
		u.Name = `Jürgen "Łucja" \ O’Neill 李`
		if err := insert(t.Context(), s, u); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if stored := execute(t, server, `SELECT name FROM users`); stored != u.Name {
			t.Errorf("%s: stored as %q", name, stored)
		}
		execute(t, server, `DELETE FROM users`)
	}
}

// In a Turkish locale I is no capital of i, and ä sorts behind z in a Swedish one.
func TestEqualityAndOrderDoNotDependOnTheLocaleOfTheDatabase(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	var orders []string
	for _, locale := range []string{"", "tr-TR", "sv-SE", "de-DE-u-co-phonebk", "lt-LT"} {
		options := `ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0`
		if locale != "" {
			options = `ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE '` + locale + `' LOCALE 'C.UTF-8' TEMPLATE template0`
		}
		address := unusual(t, server, options)
		s := storetest.Open(t, address)
		if n := execute(t, address, `SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
AND c.relname <> 'goose_db_version' AND a.attnum > 0 AND a.attcollation = 'pg_catalog."default"'::regcollation`); n != "0" {
			t.Errorf("%q: %s columns have the locale of the database", locale, n)
		}
		if err := insert(t.Context(), s, newUser(1000, "INFO@EXAMPLE.COM")); err != nil {
			t.Fatal(err)
		}
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			places, err := tx.Allocate(ctx, []string{"info@example.com", "new@example.com", "INFO@EXAMPLE.COM"}, 1000, 1999, noon)
			if err == nil && (!places.Addresses[0].Taken || places.Addresses[0].Key != "info@example.com" || places.Addresses[1].Taken || places.Addresses[2] != places.Addresses[0]) {
				t.Errorf("%q: %+v", locale, places.Addresses)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"zoe", "Ida", "ina", "ärne", "Arne", "øyvind", "Zacharias"} {
			execute(t, address, `INSERT INTO accounts (id, name, email, role, created_at) VALUES (gen_random_uuid(), '`+name+`', 'INES`+string(rune('0'+i))+`@EXAMPLE.COM', 'auditor', now())`)
		}
		for _, email := range []string{"ines1@example.com", "INES1@example.com"} {
			if _, ok, err := s.AccountByEmail(t.Context(), email); !ok || err != nil {
				t.Errorf("%q: an account is not found by its address as %s: %v", locale, email, err)
			}
		}
		accounts, err := s.Accounts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		names := make([]string, 0, len(accounts))
		for _, a := range accounts {
			names = append(names, a.Name)
		}
		orders = append(orders, strings.Join(names, " "))
	}
	if slices.Sort(orders); orders[0] != orders[len(orders)-1] {
		t.Errorf("orders differ: %q", orders)
	}
}

func TestAMigrationThatFindsAViewOfAnotherProgramContinues(t *testing.T) {
	t.Parallel()
	address := labtest.Postgres(t)
	storetest.Open(t, address)
	execute(t, address, `DELETE FROM goose_db_version WHERE version_id = 16; ALTER TABLE users ALTER COLUMN name TYPE varchar(255) COLLATE "default";
CREATE VIEW theirs AS SELECT name FROM users`)
	if err := migrate(t, address); err != nil {
		t.Error(err)
	}
}

// The server has fewer connections left than the pool allows. Requests wait for those that the pool has.
func TestRequestsWaitForAPooledConnectionIfTheServerHasNoneLeft(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	_, three := newRole(t, server, `LOGIN SUPERUSER`)
	few := unusual(t, server, ``)
	role, _, _ := strings.Cut(strings.TrimPrefix(three, "postgres://"), "@")
	execute(t, server, `ALTER ROLE `+role+` NOSUPERUSER CONNECTION LIMIT 3`)
	name := few[strings.LastIndex(few, "/")+1 : strings.Index(few, "?")]
	execute(t, server, `ALTER DATABASE `+name+` OWNER TO `+role)
	pooled := labtest.Pgbouncer(t, server, "pool_mode = session", "default_pool_size = 3")
	clients := labtest.Pgbouncer(t, server, "pool_mode = session", "max_client_conn = 3")
	for what, address := range map[string]string{
		"a limit of the role": changed(t, few, func(u *url.URL) { u.User = url.User(role) }),
		"a pooler's servers":  pooled,
		"a pooler's clients":  clients,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := storetest.Open(t, address)
			var wg sync.WaitGroup
			failed := make(chan error, 192)
			for range 96 {
				wg.Go(func() {
					_, err := s.Users(t.Context(), pbx.DefaultTenant)
					failed <- err
					_, _, err = s.AccountByEmail(t.Context(), "a@example.com")
					failed <- err
				})
			}
			wg.Wait()
			close(failed)
			n := 0
			for err := range failed {
				if err != nil {
					n++
					t.Log(err)
				}
			}
			if n > 0 {
				t.Errorf("%d of 192 requests failed", n)
			}
		})
	}
}

// An apply keeps a connection for its lock. The server allows one more, for which two requests ask at the same time: the refused one waits for it, also if
// it is just being opened.
func TestThePoolNeverShrinksToAConnectionThatIsInUse(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	role, address := newRole(t, server, `LOGIN SUPERUSER`)
	if err := migrate(t, address); err != nil {
		t.Fatal(err)
	}
	execute(t, server, `ALTER ROLE `+role+` NOSUPERUSER CONNECTION LIMIT 2`)
	for range 12 {
		s, err := store.Open(address)
		if err != nil {
			t.Fatal(err)
		}
		lock, err := s.TryApplyLock(t.Context())
		if err != nil || lock == nil {
			t.Fatal(lock, err)
		}
		hasty, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := s.Ping(hasty); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		cancel()
		lock.Release()
		_ = s.Close()
	}
}

// Other clients take all connections, and release some soon: the request waits, but not indefinitely.
func TestARequestWaitsForTheFirstConnectionAndReportsAFixIfThereIsNone(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	role, address := newRole(t, server, `LOGIN SUPERUSER`)
	execute(t, server, `ALTER ROLE `+role+` NOSUPERUSER CONNECTION LIMIT 1`)
	other, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(address)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	hasty, cancel := context.WithTimeout(t.Context(), time.Second) // enough for a refusal by a busy server
	defer cancel()
	refused(t, "no connection at all", s.Ping(hasty), "max_connections", "CONNECTION LIMIT", "default_pool_size")
	answered := make(chan error, 1)
	go func() { answered <- s.Ping(t.Context()) }()
	select {
	case err := <-answered:
		t.Errorf("it did not wait: %v", err)
	case <-time.After(200 * time.Millisecond): // refused several times by now
	}
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestMissingPermissionsAndObjectsAreReportedWithTheFix(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	role, as := newRole(t, server, `LOGIN`)
	_, closed := newRole(t, server, `NOLOGIN`)
	refused(t, "no such role", migrate(t, changed(t, server, func(u *url.URL) { u.User = url.User("stranger") })), "user or the password", "pg_hba.conf")
	refused(t, "a role that may not log in", migrate(t, closed), "user or the password")
	refused(t, "no such database", migrate(t, changed(t, server, func(u *url.URL) { u.Path = "/nowhere" })), "CREATE DATABASE")
	refused(t, "no right to create tables", migrate(t, as), "owner of the database", "GRANT CREATE ON SCHEMA")
	execute(t, server, `REVOKE CONNECT ON DATABASE `+as[strings.LastIndex(as, "/")+1:strings.Index(as, "?")]+` FROM PUBLIC`)
	refused(t, "no right to connect", migrate(t, as), "owner of the database")
	execute(t, server, `GRANT CONNECT ON DATABASE `+as[strings.LastIndex(as, "/")+1:strings.Index(as, "?")]+` TO PUBLIC`)

	s := storetest.Open(t, server)
	if err := insert(t.Context(), s, newUser(1000, "a@example.com")); err != nil {
		t.Fatal(err)
	}
	refused(t, "no right to read", migrate(t, as), "owner of the database")
	execute(t, server, `GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+role)
	reader, err := store.Open(as)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if _, err := reader.Migrate(t.Context()); err != nil {
		t.Errorf("a role that may only read: %v", err)
	}
	refused(t, "no right to write", reader.Probe(t.Context()), "owner of the database")

	execute(t, server, `ALTER ROLE `+role+` SET default_transaction_read_only = on`)
	readOnly, err := store.Open(as)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	refused(t, "a read-only role", readOnly.Probe(t.Context()), "replica", "default_transaction_read_only")
}

func TestAnAddressThatCannotWorkIsRefusedWithTheFix(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	refused(t, "encryption that the server does not offer", migrate(t, with(t, server, "sslmode", "require")), "sslmode=disable", "ssl_cert_file")
	refused(t, "a parameter that PostgreSQL does not know", migrate(t, with(t, server, "colour", "blue")), "correct or remove it")
	refused(t, "a certificate of an unknown authority", migrate(t, with(t, "postgres://portal@"+unknownAuthority(t)+"/portal", "sslmode", "verify-full")), "sslrootcert")
	for name, address := range map[string]string{
		"names no database": changed(t, server, func(u *url.URL) { u.Path = "" }), "sslmode is disable": with(t, server, "sslmode", "on"),
		"host=/var/run/postgresql": "postgresql://portal@%2Fvar%2Frun%2Fpostgresql/portal", "readable": with(t, server, "sslrootcert", "/nowhere.pem"),
	} {
		s, err := store.Open(address)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// unknownAuthority returns the address of a server that answers a request for encryption as PostgreSQL does, with a certificate of an unknown authority.
func unknownAuthority(t *testing.T) (address string) {
	t.Helper()
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS() // for its certificate
	certificates := web.TLS.Certificates
	web.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 8)
			if _, err := io.ReadFull(conn, request); err == nil {
				_, _ = conn.Write([]byte("S"))
				_ = tls.Server(conn, &tls.Config{Certificates: certificates}).Handshake()
			}
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

// By default the tables are in the schema that search_path names first. A role with a schema of its own would begin another installation there.
func TestASessionInAnotherSchemaThanTheTablesIsRefused(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	refused(t, "a schema that does not exist", migrate(t, with(t, server, "search_path", "nowhere")), "CREATE SCHEMA", "search_path=public")
	storetest.Open(t, server)
	role, as := newRole(t, server, `LOGIN SUPERUSER`)
	execute(t, server, `CREATE SCHEMA `+role+` AUTHORIZATION `+role+`; CREATE SCHEMA second`)
	refused(t, "a schema of the role's", migrate(t, as), `"public"`, role, "search_path=public")
	refused(t, "tables behind another schema", migrate(t, with(t, server, "search_path", "second,public")), `"public"`, `"second"`)
	for what, address := range map[string]string{
		"the schema of the tables":        with(t, as, "search_path", "public"),
		"a second installation on demand": with(t, server, "search_path", "second"),
		"through a pooler":                with(t, labtest.Pgbouncer(t, server, "pool_mode = session"), "search_path", "second"),
	} {
		if err := migrate(t, address); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := execute(t, server, `SELECT count(*) FROM pg_tables WHERE schemaname = 'second' AND tablename = 'users'`); n != "1" {
		t.Errorf("%s tables users in the second schema", n)
	}
}

// A pooler of sessions that does not reset them hands one client's prepared statements, settings and locks to the next.
func TestAPoolerThatDoesNotResetSessionsIsRefusedWithTheFix(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	storetest.Open(t, server)
	for what, settings := range map[string][]string{
		"no reset":          {"pool_mode = session", "server_reset_query ="},
		"another reset":     {"pool_mode = session", "server_reset_query = DEALLOCATE ALL"},
		"reset, not always": {"pool_mode = transaction", "server_reset_query = DISCARD ALL"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			through := labtest.Pgbouncer(t, server, settings...)
			var err error
			for range 3 { // the first sessions are new ones
				if err = migrate(t, through); err != nil {
					break
				}
			}
			refused(t, what, err, "directly", "pool_mode=session", "server_reset_query=DISCARD ALL")
		})
	}
	refused(t, "a parameter", migrate(t, with(t, labtest.Pgbouncer(t, server, "pool_mode = session"), "options", "-c lock_timeout=1000")), "ignore_startup_parameters")

	s := storetest.Open(t, server)
	for _, code := range []string{"42P05", "26000"} {
		execute(t, server, `CREATE OR REPLACE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'prepared statement "stmtcache_1" already exists' USING ERRCODE = '`+code+`'; END $$;
CREATE OR REPLACE TRIGGER fails BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION fails()`)
		refused(t, code, insert(t.Context(), s, newUser(1000, "a@example.com")), "pool_mode=session", "directly")
	}
}
