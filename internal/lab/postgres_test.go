package lab_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

func ask(ctx context.Context, url, question string) (string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var answer string
	err = conn.QueryRow(ctx, question).Scan(&answer)
	return answer, err
}

func TestEveryCallGetsItsOwnDatabase(t *testing.T) {
	t.Parallel()
	one, two := labtest.Postgres(t), labtest.Postgres(t)
	if one == two {
		t.Fatalf("both are %s", one)
	}
	for _, url := range []string{one, two} {
		collation, err := ask(t.Context(), url, "SELECT datcollate || ' ' || pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()")
		if err != nil || collation != "C.UTF-8 UTF8" {
			t.Errorf("%s: got %q, %v", url, collation, err)
		}
	}
}

func TestAPostgresKeepsItsDataAcrossKillsAndRestarts(t *testing.T) {
	t.Parallel()
	server, url := labtest.PostgresServer(t)
	for name, stop := range map[string]func() error{"kill": server.Kill, "nothing": func() error { return nil }} {
		// A connection that is open during the stop must not keep the old server alive.
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := stop(); err != nil {
			t.Fatal(name, err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(name, err)
		}
		if err := conn.Ping(t.Context()); err == nil {
			t.Errorf("%s: the old connection still works", name)
		}
		_ = conn.Close(t.Context())
		if _, err := ask(t.Context(), url, "SELECT 'x'"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASuspendedPostgresAnswersNothingUntilItIsResumed(t *testing.T) {
	t.Parallel()
	server, _ := labtest.PostgresServer(t)
	conn, err := pgx.Connect(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if err := server.Suspend(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := conn.Ping(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("suspended: got %v, want a timeout", err)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t.Context(), server.URL, "SELECT 'x'"); err != nil {
		t.Errorf("resumed: %v", err)
	}
}

func TestAFetchedPostgresServesLikeAnInstalledOne(t *testing.T) {
	t.Parallel()
	programs, err := lab.FetchPostgresAnyway(t.Context(), lab.FetchOptions{Progress: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(programs.Bin, "/usr/lib/") {
		t.Fatalf("that is the installed one: %s", programs.Bin)
	}
	server, err := lab.StartPostgres(t.Context(), programs, lab.PostgresOptions{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if version, err := ask(t.Context(), server.URL, "SELECT version()"); err != nil || !strings.HasPrefix(version, "PostgreSQL") {
		t.Errorf("got %q, %v", version, err)
	}
}
