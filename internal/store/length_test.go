package store_test

import (
	"database/sql"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

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

// lengthen writes a trail of n events, whose links fit, as quickly as the engine can take it. Its indexes are made when it is there.
func lengthen(t *testing.T, url string, n int) {
	t.Helper()
	type index struct{ name, text string }
	head := chain.Head{}
	row := func(i int) []any {
		entry := chain.Append(head, longEvent(i))
		head = chain.Head{Seq: entry.Event.Seq, Hash: entry.Hash}
		return store.EventValues(entry)
	}
	if path, ok := strings.CutPrefix(url, "sqlite:///"); ok {
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=synchronous(0)&_pragma=cache_size(-200000)&_pragma=temp_store(2)")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		db.SetMaxOpenConns(1)
		var indexes []index
		rows, err := db.QueryContext(t.Context(), `SELECT name, sql FROM sqlite_master WHERE type = 'index' AND name LIKE 'ix_audit_events%' ORDER BY name`)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var x index
			if err := rows.Scan(&x.name, &x.text); err != nil {
				t.Fatal(err)
			}
			indexes = append(indexes, x)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		run := func(statement string, args ...any) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
				t.Fatal(err)
			}
		}
		for _, x := range indexes {
			run(`DROP INDEX ` + x.name)
		}
		run(`BEGIN`)
		const together = 100
		single := "(" + strings.TrimSuffix(strings.Repeat("?,", 16), ",") + ")"
		insert, err := db.PrepareContext(t.Context(), `INSERT INTO audit_events VALUES `+strings.TrimSuffix(strings.Repeat(single+",", together), ","))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < n; i += together {
			values := make([]any, 0, 16*together)
			for k := range together {
				values = append(values, row(i+k)...)
			}
			if _, err := insert.ExecContext(t.Context(), values...); err != nil {
				t.Fatal(err)
			}
		}
		if err := insert.Close(); err != nil {
			t.Fatal(err)
		}
		for _, x := range indexes {
			run(x.text)
		}
		run(`COMMIT`)
		return
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	found, err := conn.Query(t.Context(), `SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'ix_audit_events%' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	indexes, err := pgx.CollectRows(found, func(r pgx.CollectableRow) (x index, err error) { return x, r.Scan(&x.name, &x.text) })
	if err != nil {
		t.Fatal(err)
	}
	run := func(statement string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	run(`SET synchronous_commit = off; SET maintenance_work_mem = '256MB'`)
	for _, x := range indexes {
		run(`DROP INDEX ` + x.name)
	}
	columns := strings.Fields("seq at actor_kind actor_id actor_name source request_id action object_type object_id object_name before after result prev hash")
	if _, err := conn.CopyFrom(t.Context(), pgx.Identifier{"audit_events"}, columns, pgx.CopyFromSlice(n, func(i int) ([]any, error) { return row(i), nil })); err != nil {
		t.Fatal(err)
	}
	for _, x := range indexes {
		run(x.text)
	}
	run(`ANALYZE audit_events`) // as autovacuum does
}

// A page of the newest, and of what is somewhere in the middle, comes quickly for whatever is searched for, and no search reads the table.
func TestSearchesOfALongAuditTrailStayFastAtLength(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		events, tries := labtest.Soak(300_000, 5_000_000), labtest.Soak(20, 200)
		if strings.HasPrefix(url, "sqlite:") { // takes five times as long to be filled
			events = labtest.Soak(60_000, 5_000_000)
		}
		s := storetest.Open(t, url)
		begin := time.Now()
		lengthen(t, url, events)
		t.Logf("%d events in %v", events, time.Since(begin).Round(time.Millisecond))
		middle := longEvent(events / 2).At
		rare := longEvent(events/2 + 2 - events/2%3 + 2)
		searches := map[string]store.EventQuery{
			"all": {}, "an actor's id": {Actor: "id-7"}, "an actor's name": {Actor: "Person 7"}, "an actor of a third of all": {Actor: "portal"}, "nobody": {Actor: "nobody"},
			"an action": {Action: "user.delete"}, "actions of a kind": {Action: "apply."}, "no action": {Action: "user.fly"}, "no kind": {Action: "x."},
			"an object's id": {Object: rare.Object.ID}, "an object's name": {Object: "User 7"}, "an object of a third of all": {Object: "apply"}, "no object": {Object: "nothing"},
			"since": {Since: middle}, "until": {Until: middle}, "an hour": {Since: middle, Until: middle.Add(time.Hour)}, "long before": {Until: noon.Add(-time.Hour)},
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
				// Beside other tests the slowest of a few says how busy the machine is: the short form holds the median, the long one 99 of 100.
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
		if events < 1_000_000 {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := trail(t, s).Verify(t.Context(), nil)
		runtime.ReadMemStats(&after)
		if err != nil || r.Broken != nil || r.Events != int64(events) {
			t.Errorf("%+v, %v, %v", r, r.Broken, err)
		}
		if held := int64(after.HeapSys) - int64(before.HeapSys); held > 64<<20 {
			t.Errorf("verifying %d events took %d MiB", events, held>>20)
		}
	})
}

// planOf asks the database how it would answer.
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
