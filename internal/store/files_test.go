package store_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// revision returns a run that created a revision with this PJSIP file, and a dialplan that is the same in all.
func revision(number int, pjsip string) pbx.Run {
	r := sealedRun()
	r.Revision, r.Saved = number, nil
	r.Files = []pbx.File{{Path: pbx.PJSIPPath, Content: []byte(pjsip)}, {Path: pbx.DialplanPath, Content: []byte("exten")}}
	return r
}

func TestContentThatRevisionsShareIsStoredOnceUntilTheLastOfThemIsDeleted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		kept := func(want string) {
			t.Helper()
			if n := ask(t, url, `SELECT CAST(count(*) AS text) FROM file_contents`); n != want {
				t.Errorf("%s contents are kept, want %s", n, want)
			}
		}
		readable := func(runs ...pbx.Run) {
			t.Helper()
			for _, r := range runs {
				got, ok, err := s.Revision(t.Context(), r.Revision)
				if diff := cmp.Diff(r.Files, got.Files); diff != "" || !ok || err != nil {
					t.Errorf("revision %d: ok %v, error %v\n%s", r.Revision, ok, err, diff)
				}
			}
		}
		one, two, three := revision(1, "[1000]"), revision(2, "[1000]\n[1001]"), revision(3, "[1000]")
		for _, r := range []pbx.Run{one, two, three} {
			if err := storetest.SaveRun(t.Context(), s, r); err != nil {
				t.Fatal(err)
			}
		}
		kept("3")
		readable(one, two, three)

		// A lost key: what it sealed is not used again, also for the same content.
		older := storetest.Keys(t)
		s.UseKeys(newKeys(t), false)
		four := revision(4, "[1000]\n[1001]")
		if err := storetest.SaveRun(t.Context(), s, four); err != nil {
			t.Fatal(err)
		}
		readable(four, two) // the same content, sealed with the present key now
		if n, err := s.DropRunsSealedBy(t.Context(), older.Current()); n != 2 || err != nil {
			t.Errorf("%d runs are given up, error %v; want 1 and 3", n, err)
		}
		readable(four, two)
		kept("2")

		lock, err := s.TryApplyLock(t.Context())
		if lock == nil || err != nil {
			t.Fatalf("lock %v, error %v", lock, err)
		}
		defer lock.Release()
		if err := lock.ForgetRevisions(t.Context(), 1, 4, 0); err != nil {
			t.Fatal(err)
		}
		readable(four)
		kept("2")
		if err := lock.ForgetRevisions(t.Context(), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		kept("0")
		path, sqlite := strings.CutPrefix(url, "sqlite:///")
		if !sqlite {
			return
		}
		before, err := os.ReadFile(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		if err := lock.ForgetRevisions(t.Context(), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		if after, err := os.ReadFile(path + "-wal"); !bytes.Equal(before, after) || err != nil {
			t.Errorf("forgetting nothing has written to the disk, error %v", err)
		}
	})
}

func TestTheFilesOfRevisionsOfAnEarlierVersionStayReadable(t *testing.T) {
	t.Parallel()
	storetest.EachEmpty(t, func(t *testing.T, url string) {
		folder, value := "migrations/postgres", `'\x%s'`
		if strings.HasPrefix(url, "sqlite") {
			folder, value = "migrations/sqlite", "x'%s'"
		}
		storetest.Older(t, url, folder, 17)
		keys := storetest.Keys(t)
		literal := func(content []byte) string { return fmt.Sprintf(value, hex.EncodeToString(content)) }
		zip := func(text string) []byte {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			if _, err := w.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		seal := func(purpose, id, text string) []byte {
			sealed, err := keys.SealBytes(purpose, id, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			return sealed
		}
		sealed, open, forgotten := uuid.NewString(), uuid.NewString(), uuid.NewString()
		for i, row := range []struct{ id, pjsip, dialplan, with string }{
			{sealed, literal(seal("revision", sealed, string(zip("[1000]")))), literal(zip("exten")), "'" + keys.Current() + "'"},
			{open, literal([]byte("[1001]")), literal(nil), "NULL"},
			{forgotten, "NULL", "NULL", "''"},
		} {
			execute(t, url, fmt.Sprintf(`INSERT INTO apply_audit_logs (id, triggered_at, triggered_by, outcome) VALUES ('%s', '2026-11-29 12:00:00', 'test', 'success')`, row.id))
			execute(t, url, fmt.Sprintf(`INSERT INTO apply_runs (id, revision, result, verification, story, pjsip, dialplan, sealed_with)
VALUES ('%s', %d, 'applied', 'confirmed', '{"plan":{},"events":[]}', %s, %s, %s)`, row.id, i+1, row.pjsip, row.dialplan, row.with))
		}
		s, err := store.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		s.UseKeys(keys, false)
		if _, err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if at, err := s.AtRest(t.Context()); at.Sealed[keys.Current()] != 1 || at.Open != 1 || err != nil {
			t.Errorf("at rest %+v, error %v", at, err)
		}
		check := func() {
			t.Helper()
			for number, want := range map[int][]string{1: {"[1000]", "exten"}, 2: {"[1001]", ""}, 3: nil} {
				r, ok, err := s.Revision(t.Context(), number)
				var got []string
				for _, f := range r.Files {
					got = append(got, string(f.Content))
				}
				if diff := cmp.Diff(want, got); diff != "" || !ok || err != nil {
					t.Errorf("revision %d: ok %v, error %v\n%s", number, ok, err, diff)
				}
			}
		}
		check()
		if did, err := s.Reseal(t.Context()); did.Rows != 1 || err != nil {
			t.Errorf("sealed: %+v, error %v", did, err)
		}
		check()
	})
}
