package cli_test

import (
	"context"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/proc"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// A host that starts after a power cut starts the portal before PostgreSQL answers.
func TestServeWaitsForADatabaseThatDoesNotAnswerYet(t *testing.T) {
	t.Parallel()
	database, address := labtest.PostgresServer(t)
	s := newSettings(t)
	s["DATABASE_URL"] = address
	if err := database.Kill(); err != nil {
		t.Fatal(err)
	}
	ended, log := s.begin(t, "serve")
	waits, waitingLog := s.begin(t, "serve")
	for _, log := range []string{log, waitingLog} {
		eventually(t, "the server says that it waits", func() bool { return strings.Contains(content(t, log), `msg="waiting for the database"`) })
	}
	send(t, ended, syscall.SIGTERM)
	if r, err := ended.Wait(t.Context()); err != nil || r.ExitCode != 0 {
		t.Errorf("asked to end while it waits: exit code %d, %v\n%s", r.ExitCode, err, content(t, log))
	}
	if code, _, errs := s.run(t, "user", "list"); code != 5 || !strings.Contains(errs, "does not respond") {
		t.Errorf("another command does not wait: exit code %d\n%s", code, errs)
	}
	if err := database.Restart(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server serves", func() bool { return strings.Contains(content(t, waitingLog), "msg=serving") })
	if err := waits.Kill(); err != nil {
		t.Fatal(err)
	}
}

func TestServeEndsWhereWaitingForTheDatabaseCannotHelp(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	address := func(name string) string {
		return strings.Replace(server, server[strings.LastIndex(server, "/"):strings.Index(server, "?")], "/"+name, 1)
	}
	for database, want := range map[string]string{
		beside(t, server, "LATIN1"):                                      "ENCODING 'UTF8'",
		address("nowhere"):                                               "CREATE DATABASE",
		labtest.Pgbouncer(t, server, "pool_mode = transaction"):          "pool_mode=session",
		strings.Replace(server, "postgres@", "stranger@", 1):             "pg_hba.conf",
		strings.Replace(server, "sslmode=disable", "sslmode=require", 1): "TLS",
	} {
		s := newSettings(t)
		s["DATABASE_URL"] = database
		if code, _, errs := s.run(t, "serve"); code != 5 || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, want 5 and %q\n%s", database, code, want, errs)
		}
		code, out, _ := s.run(t, "doctor")
		if _, remedies, _ := strings.Cut(out, "→"); code != 1 || !strings.Contains(remedies, want) && want != "TLS" {
			t.Errorf("%s: doctor, exit code %d, want 1 and %q\n%s", database, code, want, out)
		}
	}
}

// The commands of docs/install.md, on a database that an earlier version filled: its texts are UTF-8, whatever its encoding says.
func TestUsersOfADatabaseWithAnotherEncodingAreMigratedAsDocumented(t *testing.T) {
	t.Parallel()
	server := labtest.Postgres(t)
	s := newSettings(t)
	s["DATABASE_URL"] = server
	s.must(t, "user", "add", "Jürgen Ł 李", "j@example.com")
	programs, err := lab.FetchPostgres(t.Context(), lab.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	move := func(from, to, encoding string) {
		t.Helper()
		r, err := proc.Run(t.Context(), proc.Command{
			Argv: []string{"sh", "-ec", `pg_dump --no-owner "$1" | sed "s/^SET client_encoding = .*/SET client_encoding = '$3';/" | psql -q -v ON_ERROR_STOP=1 "$2"`, "sh", from, to, encoding},
			Env:  []string{"PATH=" + programs.Bin + ":" + os.Getenv("PATH"), "LD_LIBRARY_PATH=" + programs.Libraries},
		})
		if err != nil || r.ExitCode != 0 || r.Stderr != "" {
			t.Fatalf("%v\n%s%s", err, r.Stdout, r.Stderr)
		}
	}
	for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
		damaged, moved := beside(t, server, encoding), beside(t, server, "UTF8")
		move(server, damaged, encoding) // byte by byte, as an earlier version stored them
		if name := storetest.Execute(t, damaged, `SET client_encoding = 'UTF8'; SELECT name FROM users`); encoding == "LATIN1" && name != "JÃ¼rgen Å\u0081 æ\u009d\u008e" {
			t.Errorf("the database to move holds %q", name)
		}
		move(damaged, moved, "UTF8")
		s["DATABASE_URL"] = moved
		if users := s.must(t, "user", "list"); !strings.Contains(users, "Jürgen Ł 李") {
			t.Errorf("%s: moved is\n%s", encoding, users)
		}
		s.must(t, "audit", "verify")
	}
}

// beside creates a database with an encoding on the server of an address, and returns its address.
func beside(t *testing.T, address, encoding string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/beside_" + uuid.NewString()[:8]
	storetest.Execute(t, address, `CREATE DATABASE `+u.Path[1:]+` ENCODING '`+encoding+`' LOCALE 'C' TEMPLATE template0`)
	return u.String()
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
