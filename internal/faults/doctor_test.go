package faults_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/proc"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestDoctorDetectsADatabaseThatAnswersButCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T) (s *site, shell string){
		"the disk is full": func(t *testing.T) (*site, string) {
			dir := t.TempDir()
			small := mount(t, dir, 4096)
			s := lookAt(t, labtest.Asterisk(t), "sqlite:///"+filepath.Join(dir, "portal.db"))
			s.shut()
			s.open(t) // this truncates its log
			s.create(t)
			if small {
				fill(t, dir, 0)
				return s, ""
			}
			return s, "ulimit -f 200;"
		},
		"PostgreSQL is read-only": func(t *testing.T) (*site, string) {
			url := labtest.Postgres(t)
			s := lookAt(t, labtest.Asterisk(t), url)
			storetest.Execute(t, url, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`)
			return s, ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, shell := fault(t)
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			users := len(s.users(t))
			result, err := proc.Run(t.Context(), proc.Command{Argv: []string{"/bin/sh", "-c", shell + ` exec "$0" doctor`, self}, Env: s.environ(), Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			line, _, _ := strings.Cut(result.Stdout, "\nok")
			if result.ExitCode != 1 || !strings.HasPrefix(line, "broken   database: ") || !strings.Contains(line, "a test write failed") || !strings.Contains(line, "→ ") {
				t.Errorf("exit code %d; it says:\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
			}
			if got := len(s.users(t)); got != users {
				t.Errorf("%d users, there were %d", got, users)
			}
		})
	}
}
