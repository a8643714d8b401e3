//go:build !race

// Nothing runs concurrently here, and the trails are long.

package store_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// longEvent is the event with a number of a long trail: a third by the portal itself, the others by 200 people, about few things often and
// about many once, five seconds apart.
func longEvent(n int) pbx.AuditEvent {
	actions := []string{"user.create", "user.delete", "session.sign_in", "session.sign_in_failed", "apply.started", "apply.run", "token.create", "account.update"}
	e := pbx.AuditEvent{
		At: noon.Add(time.Duration(n) * 5 * time.Second), Action: actions[n*7%len(actions)], Result: pbx.AuditOK,
		Actor:  pbx.Actor{Kind: pbx.ActorPerson, ID: fmt.Sprintf("id-%d", n%200), Name: fmt.Sprintf("Person %d", n%200), From: "192.0.2.1", RequestID: fmt.Sprint("r", n)},
		Object: pbx.AuditObject{Type: "user", ID: fmt.Sprintf("object-%d", n), Name: fmt.Sprintf("User %d", n%1000)},
		After:  pbx.Facts{"name": "Anna Example", "number": "1000"},
	}
	if n%3 == 0 {
		e.Actor = pbx.Actor{Kind: pbx.ActorPortal, Name: "portal"}
		e.Object = pbx.AuditObject{Type: "apply", Name: "apply"}
		e.Action = actions[4+n%2]
	}
	return e
}

// longEvents inserts the events of longEvent for the numbers below n, at once. The hashes are not valid: a search does not read the chain.
func longEvents(sqlite bool, n int) string {
	at, hash := `timestamp '2026-11-23 12:00:00.123456' + n * interval '5 seconds'`, `decode(repeat('00', 32), 'hex')`
	if sqlite {
		at, hash = `strftime('%Y-%m-%d %H:%M:%S', 1795435200 + n * 5, 'unixepoch') || '.123456+00:00'`, `zeroblob(32)`
	}
	person := func(value, otherwise string) string {
		return `CASE WHEN n % 3 > 0 THEN ` + value + ` ELSE ` + otherwise + ` END, `
	}
	return `WITH RECURSIVE counted (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n + 1 < ` + strconv.Itoa(n) + `)
INSERT INTO audit_events SELECT n + 1, ` + at + `, ` + person(`'person'`, `'portal'`) + person(`'id-' || (n % 200)`, `''`) + person(`'Person ' || (n % 200)`, `'portal'`) +
		person(`'192.0.2.1'`, `''`) + person(`'r' || n`, `''`) + `CASE WHEN n % 3 = 0 THEN CASE n % 2 WHEN 0 THEN 'apply.started' ELSE 'apply.run' END ELSE CASE n * 7 % 8
    WHEN 0 THEN 'user.create' WHEN 1 THEN 'user.delete' WHEN 2 THEN 'session.sign_in' WHEN 3 THEN 'session.sign_in_failed'
    WHEN 4 THEN 'apply.started' WHEN 5 THEN 'apply.run' WHEN 6 THEN 'token.create' ELSE 'account.update' END END, ` +
		person(`'user'`, `'apply'`) + person(`'object-' || n`, `''`) + person(`'User ' || (n % 1000)`, `'apply'`) +
		`'null', '{"name":"Anna Example","number":"1000"}', 'ok', ` + hash + `, ` + hash + ` FROM counted`
}

// lengthen fills the table with what fill does, as quickly as the engine can: without the indexes and triggers, which are there again
// afterwards.
func lengthen(t *testing.T, url string, fill func(sqlite bool, run func(statement string, args ...any))) {
	t.Helper()
	path, sqlite := strings.CutPrefix(url, "sqlite:///")
	driver, source := "pgx", url
	if sqlite {
		driver, source = "sqlite", "file:"+path+"?_pragma=synchronous(0)&_pragma=cache_size(-400000)&_pragma=temp_store(2)"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	run := func(statement string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	kept := `SELECT CASE type WHEN 'index' THEN 'DROP INDEX ' ELSE 'DROP TRIGGER ' END || name, sql FROM sqlite_master WHERE tbl_name = 'audit_events' AND sql <> '' AND type <> 'table'`
	if !sqlite {
		run(`SET synchronous_commit = off; SET maintenance_work_mem = '512MB'`)
		kept = `SELECT 'DROP INDEX ' || indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'ix_audit_events%'`
	}
	rows, err := db.QueryContext(t.Context(), kept)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var drop, restore []string
	for rows.Next() {
		var without, with string
		if err := rows.Scan(&without, &with); err != nil {
			t.Fatal(err)
		}
		drop, restore = append(drop, without), append(restore, with)
	}
	if err := rows.Err(); err != nil || len(drop) < 11 {
		t.Fatal(drop, err)
	}
	run(`BEGIN`)
	for _, statement := range drop {
		run(statement)
	}
	fill(sqlite, run)
	for _, statement := range restore {
		run(statement)
	}
	run(`COMMIT`)
	if !sqlite {
		run(`ANALYZE audit_events`) // as autovacuum does
	}
}

// For every kind of search, a page of the newest events and one of the middle are returned quickly, and no search reads the whole table.
func TestSearchesOfALongAuditTrailStayFastAtLength(t *testing.T) {
	t.Parallel()
	var one sync.Mutex // filling one engine would slow down the searches of the other
	storetest.Each(t, func(t *testing.T, url string) {
		one.Lock()
		defer one.Unlock()
		events, tries := labtest.Soak(100_000, 5_000_000), labtest.Soak(10, 200)
		s := storetest.Open(t, url)
		begin := time.Now()
		lengthen(t, url, func(sqlite bool, run func(string, ...any)) { run(longEvents(sqlite, events)) })
		t.Logf("%d events in %v", events, time.Since(begin).Round(time.Millisecond))
		if err := storetest.Try(t, url, `DELETE FROM audit_events WHERE seq = 1`); err == nil {
			t.Error("the database lets go of events after it was filled")
		}
		for n := events/2 - 3; n < events/2+3; n++ {
			entries, err := s.EventsAfter(t.Context(), store.EventQuery{}, int64(n), 1)
			want := longEvent(n)
			if want.Seq = int64(n) + 1; err != nil || len(entries) != 1 || !cmp.Equal(want, entries[0].Event) {
				t.Fatalf("the table holds %+v, %v; want %+v", entries, err, want)
			}
		}
		middle := longEvent(events / 2).At
		rare := longEvent(events/2 + 2 - events/2%3 + 2)
		searches := map[string]store.EventQuery{
			"all": {}, "an actor's id": {Actor: "id-7"}, "an actor's name": {Actor: "Person 7"}, "an actor of a third of all": {Actor: "portal"}, "nobody": {Actor: "nobody"},
			"an action": {Action: "user.delete"}, "actions of a kind": {Action: "apply."}, "no action": {Action: "user.fly"}, "no kind": {Action: "x."},
			"an object's id": {Object: rare.Object.ID}, "an object's name": {Object: "User 7"}, "an object of a third of all": {Object: "apply"}, "no object": {Object: "nothing"},
			"since": {Since: middle}, "until": {Until: middle}, "an hour": {Since: middle, Until: middle.Add(time.Hour)}, "long before": {Until: noon.Add(-time.Hour)}, "long after": {Since: noon.AddDate(10, 0, 0)},
			"an actor's action": {Actor: "id-7", Action: "session.sign_in"}, "an actor's action that never was": {Actor: "portal", Action: "session.sign_in"},
			"an actor's kind": {Actor: "portal", Action: "apply."}, "an actor until": {Actor: "portal", Until: middle}, "an action since": {Action: "apply.run", Since: middle},
			"a kind an actor never did": {Actor: "portal", Action: "user."}, "an object's action": {Object: "User 7", Action: "user.create"}, "an actor's object": {Actor: "id-7", Object: "User 7"}, "a kind for an hour": {Action: "user.", Since: middle, Until: middle.Add(time.Hour)},
		}
		for name, q := range searches {
			for _, cursor := range []int64{0, int64(events / 2)} {
				for _, oldestFirst := range []bool{false, true} {
					query, args := s.SearchText(q, cursor, 51, oldestFirst)
					for _, line := range planOf(t, url, query, args) {
						if strings.Contains(line, "SCAN audit_events") || strings.Contains(line, "Seq Scan on audit_events") {
							t.Errorf("%s: reads the whole table: %s", name, line)
						}
					}
				}
				var took []time.Duration
				for range tries {
					begin := time.Now()
					if _, err := s.EventsBefore(t.Context(), q, cursor, 51); err != nil {
						t.Fatal(err)
					}
					took = append(took, time.Since(begin))
				}
				slices.Sort(took)
				// Among parallel tests the slowest of a few depends on the load of the machine: the short form checks the median, the long one 99 of 100.
				if slow := took[labtest.Soak(len(took)/2, len(took)*99/100)]; slow > 100*time.Millisecond {
					t.Errorf("%s: %v, median %v", name, slow, took[len(took)/2])
				}
			}
		}
		t.Logf("%d searches of %d kinds", 2*tries*len(searches), len(searches))
		for _, line := range planOf(t, url, s.HashesText(), []any{`["1","2"]`}) {
			if strings.Contains(line, "SCAN audit_events") || strings.Contains(line, "Seq Scan on audit_events") {
				t.Errorf("looking up heads reads the whole table: %s", line)
			}
		}
	})
}

// A verification reads a bounded number of events at a time. It is not parallel to other tests, whose memory would be counted.
func TestVerifyTakesNoMoreMemoryForALongerTrailAtLength(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	for name, url := range map[string]string{"sqlite": storetest.SQLite(t), "postgres": labtest.Postgres(t)} {
		t.Run(name, func(t *testing.T) {
			events := labtest.Soak(14_000, 1_000_000)
			s := storetest.Open(t, url)
			lengthen(t, url, func(sqlite bool, run func(string, ...any)) {
				const together = 100
				row, insert := make([]string, 16), make([]string, together)
				for i := range insert {
					for k := range row {
						row[k] = "$" + strconv.Itoa(i*len(row)+k+1)
					}
					insert[i] = "(" + strings.Join(row, ",") + ")"
				}
				head, values := chain.Head{}, []any{}
				for i := range events {
					e := longEvent(i)
					e.After = pbx.Facts{"name": strings.Repeat("x", 1000), "email": strings.Repeat("y", 1000)}
					entry := chain.Append(head, e)
					head = chain.Head{Seq: entry.Event.Seq, Hash: entry.Hash}
					if values = append(values, store.EventValues(entry)...); len(values) == together*len(row) {
						run(`INSERT INTO audit_events VALUES `+strings.Join(insert, ","), values...)
						values = values[:0]
					}
				}
			})
			most := labtest.HeapWhile(func() {
				r, err := trail(t, s).Verify(t.Context(), nil)
				if err != nil || r.Broken != nil || r.Events != int64(events) {
					t.Errorf("%+v, %v, %v", r, r.Broken, err)
				}
			})
			t.Logf("%d events, their texts alone %d MiB: %d MiB", events, events*2000>>20, most>>20)
			if most > 20<<20 {
				t.Errorf("verifying %d events took %d MiB", events, most>>20)
			}
		})
	}
}

// planOf returns the query plan of the database.
func planOf(t *testing.T, url, query string, args []any) (lines []string) {
	t.Helper()
	if path, ok := strings.CutPrefix(url, "sqlite:///"); ok {
		db, err := sql.Open("sqlite", "file:"+path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		rows, err := db.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+query, args...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id, parent, unused int
			var line string
			if err := rows.Scan(&id, &parent, &unused, &line); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return lines
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	rows, err := conn.Query(t.Context(), `EXPLAIN `+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	if lines, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		t.Fatal(err)
	}
	return lines
}
