package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// wanted returns the requests of a group commit, each of another caller.
func wanted(emails ...string) []*createRequest {
	all := make([]*createRequest, len(emails))
	for i, email := range emails {
		actor := pbx.Actor{Kind: pbx.ActorToken, ID: email, Name: "of " + email, From: "127.0.0.1", RequestID: fmt.Sprint(i)}
		all[i] = &createRequest{actor: actor, tenant: pbx.DefaultTenant, wanted: pbx.NewUser{Name: "User", Email: email}}
	}
	return all
}

// crowd returns n addresses.
func crowd(n int) []string {
	emails := make([]string, n)
	for i := range emails {
		emails[i] = fmt.Sprintf("crowd%d@example.com", i)
	}
	return emails
}

// outcomes returns the result of each request: the number, or the code of the error.
func outcomes(all []*createRequest) string {
	said := make([]string, len(all))
	for i, c := range all {
		said[i] = fmt.Sprint(c.Extension.Number)
		if c.err != nil {
			said[i] = pbx.CodeOf(c.err)
		}
	}
	return strings.Join(said, " ")
}

// stored lists the users in the database, and checks that each has one event in the chain, with the caller as its actor.
func stored(t *testing.T, s *store.Store) string {
	t.Helper()
	users, err := s.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	var said, events, recorded []string
	for _, u := range users {
		said = append(said, fmt.Sprintf("%d %s", u.Extension.Number, u.Email))
		events = append(events, fmt.Sprintf("%s %d by %s", u.ID, u.Extension.Number, u.Email))
	}
	entries, err := s.EventsAfter(t.Context(), store.EventQuery{}, 0, 2*pbx.PoolSize)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if e.Event.Seq != int64(i+1) || i > 0 && e.Prev != entries[i-1].Hash {
			t.Errorf("event %d is at position %d, or is not linked to the one before", e.Event.Seq, i+1)
		}
		recorded = append(recorded, fmt.Sprintf("%s %s by %s", e.Event.Object.ID, e.Event.After["number"], e.Event.Actor.ID))
	}
	slices.Sort(events)
	slices.Sort(recorded)
	if diff := cmp.Diff(events, recorded); diff != "" {
		t.Errorf("users and their events:\n%s", diff)
	}
	return strings.Join(said, ", ")
}

func TestAGroupCommitAllocatesTheLowestNumbersInTheOrderOfItsRequests(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		d := New(s, time.Now)
		first := wanted("a@example.com", "b@example.com", "c@example.com", "d@example.com")
		d.createBatch(t.Context(), first)
		for _, i := range []int{0, 2} {
			if _, err := d.Delete(t.Context(), pbx.DefaultTenant, first[i].ID); err != nil {
				t.Fatal(err)
			}
		}
		all := wanted("e@example.com", "F@example.com", "f@Example.com", "B@example.com", "g@example.com", "e@example.com")
		d.createBatch(t.Context(), all)
		if got, want := outcomes(all), "1000 1002 "+pbx.CodeEmailTaken+" "+pbx.CodeEmailTaken+" 1004 "+pbx.CodeEmailTaken; got != want {
			t.Errorf("got %s; want %s", got, want)
		}
		for _, i := range []int{2, 3, 5} {
			if err := all[i].err; pbx.KindOf(err) != pbx.KindConflict || !strings.Contains(err.Error(), all[i].wanted.Email) || len(pbx.FieldsOf(err)) != 1 {
				t.Errorf("%s got %v", all[i].wanted.Email, err)
			}
		}
		users, err := s.Users(t.Context(), pbx.DefaultTenant)
		if err != nil {
			t.Fatal(err)
		}
		var emails []string
		for _, u := range users {
			emails = append(emails, u.Email)
		}
		want := []string{"e@example.com", "b@example.com", "F@example.com", "d@example.com", "g@example.com"}
		if diff := cmp.Diff(want, emails); diff != "" {
			t.Error(diff)
		}
	})
}

func TestEachRequestOfAGroupCommitHasItsOwnEventInOneChain(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		New(s, time.Now).createBatch(t.Context(), wanted(crowd(70)...))
		if got := stored(t, s); strings.Count(got, ",") != 69 || !strings.HasPrefix(got, "1000 crowd0@example.com, 1001 crowd1@example.com") {
			t.Error(got)
		}
	})
}

func TestAGroupCommitThatExhaustsThePoolAllocatesTheLastNumber(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		d := New(s, time.Now)
		for some := range slices.Chunk(crowd(pbx.PoolSize-2), 250) {
			d.createBatch(t.Context(), wanted(some...))
		}
		all := wanted("a@example.com", "b@example.com", "c@example.com", "B@example.com", "C@example.com")
		d.createBatch(t.Context(), all)
		none := pbx.CodePoolExhausted
		if got, want := outcomes(all), strings.Join([]string{"1998", "1999", none, pbx.CodeEmailTaken, none}, " "); got != want {
			t.Errorf("got %s; want %s", got, want)
		}
		for _, i := range []int{2, 4} {
			if err := all[i].err; pbx.KindOf(err) != pbx.KindConflict || !strings.Contains(err.Error(), "(1000 of 1000)") {
				t.Errorf("%s got %v", all[i].wanted.Email, err)
			}
		}
		if _, err := d.Delete(pbx.WithActor(t.Context(), all[0].actor), pbx.DefaultTenant, all[0].ID); err != nil {
			t.Fatal(err)
		}
		reserved := wanted("d@example.com", "e@example.com")
		d.WithQuarantine(time.Hour).createBatch(t.Context(), reserved)
		if err := reserved[1].err; outcomes(reserved) != none+" "+none || !strings.Contains(err.Error(), "999 of 1000 are in use") {
			t.Errorf("%s: %v", outcomes(reserved), err)
		}
	})
}

func TestAnInvalidRequestOfAGroupCommitDoesNotFailTheOthers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		all := wanted("a@example.com", "b@example.com", "c@example.com")
		all[1].tenant = "11111111-1111-4111-8111-111111111111" // which the schema does not know
		New(s, time.Now).createBatch(t.Context(), all)
		if got := outcomes(all); got != "1000 internal 1001" || !all[1].Same(pbx.User{}) {
			t.Error(got)
		}
		if got := stored(t, s); got != "1000 a@example.com, 1001 c@example.com" {
			t.Error(got)
		}
	})
}

// refusing makes the database refuse addresses that begin with "bad": PostgreSQL at COMMIT, SQLite at once.
func refusing(t *testing.T, url string) {
	t.Helper()
	refuse := `CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE 'no'; END $$ LANGUAGE plpgsql;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.email LIKE 'bad%') EXECUTE FUNCTION refuse()`
	if strings.HasPrefix(url, "sqlite:") {
		refuse = `CREATE TRIGGER refuse AFTER INSERT ON users WHEN NEW.email LIKE 'bad%' BEGIN SELECT RAISE(ABORT, 'no'); END`
	}
	storetest.Execute(t, url, refuse)
}

func TestAFailedGroupCommitFailsAllItsRequestsAndCreatesNoUser(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		d := New(s, time.Now)
		refusing(t, url)
		all := wanted("bad1@example.com", "bad2@example.com", "bad3@example.com")
		if err := d.createTogether(t.Context(), all); err == nil {
			t.Error("no error")
		}
		d.createBatch(t.Context(), all)
		if got := outcomes(all); got != "internal internal internal" {
			t.Error(got)
		}
		if got := stored(t, s); got != "" {
			t.Error(got)
		}
		all = wanted("a@example.com", "bad@example.com", "b@example.com")
		d.createBatch(t.Context(), all)
		if got := outcomes(all); got != "1000 internal 1001" {
			t.Errorf("one of three is refused: %s", got)
		}
		if got := stored(t, s); got != "1000 a@example.com, 1001 b@example.com" {
			t.Error(got)
		}
	})
}

func TestDuringADatabaseOutageNoQueuedRequestIsRetried(t *testing.T) {
	t.Parallel()
	s, err := store.Open("postgresql://nobody@127.0.0.1:1/none")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all := wanted("a@example.com", "b@example.com", "c@example.com")
	New(s, time.Now).createBatch(t.Context(), all)
	for _, c := range all {
		if pbx.CodeOf(c.err) != pbx.CodeDatabaseAway || c.err != all[0].err { //nolint:errorlint // the very same
			t.Errorf("%s got %v", c.wanted.Email, c.err)
		}
	}
}

// Another program, which writes to the tables without the writers' lock, inserts a user with one of the numbers of the group.
func TestAGroupCommitYieldsToAWriterWithoutTheLock(t *testing.T) {
	t.Parallel()
	url := labtest.Postgres(t)
	s := storetest.Open(t, url)
	var once sync.Once
	d := New(s, time.Now).WithFingerprints(func(pbx.Secret) (string, error) { // called once the numbers are chosen
		once.Do(func() {
			storetest.Execute(t, url, `INSERT INTO users (id, tenant_id, name, email) VALUES
('22222222-2222-4222-8222-222222222222', '`+string(pbx.DefaultTenant)+`', 'Stranger', 'b@example.com');
INSERT INTO extensions (id, user_id, number, secret) VALUES ('33333333-3333-4333-8333-333333333333', '22222222-2222-4222-8222-222222222222', 1001, '')`)
		})
		return "", nil
	})
	all := wanted("a@example.com", "b@example.com", "c@example.com")
	d.createBatch(t.Context(), all)
	if got, want := outcomes(all), "1000 "+pbx.CodeEmailTaken+" 1002"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

func TestACreateInProgressContinuesAfterItsCallerDisconnects(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		ctx, leave := context.WithCancel(t.Context())
		d := New(storetest.Open(t, url), func() time.Time { leave(); return time.Now() })
		if u, err := d.Create(ctx, pbx.DefaultTenant, pbx.NewUser{Name: "Anna", Email: "a@example.com"}); err != nil || u.Extension.Number != 1000 {
			t.Errorf("number %d, error %v", u.Extension.Number, err)
		}
	})
}

func TestAPanicInAGroupCommitCreatesNoUserAndIsReportedToAllCallers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		left := 2 // the number of users before the panic
		d := New(s, time.Now).WithFingerprints(func(pbx.Secret) (string, error) {
			if left--; left == -1 {
				panic("boom")
			}
			return "", nil
		})
		all := wanted("a@example.com", "b@example.com", "c@example.com")
		for _, c := range all {
			c.err = errAborted
		}
		func() {
			defer func() {
				if v := recover(); v != "boom" {
					t.Errorf("the panic became %v", v)
				}
			}()
			d.createBatch(t.Context(), all)
		}()
		if got := outcomes(all); got != "internal internal internal" {
			t.Error(got)
		}
		if u, err := d.Create(pbx.WithActor(t.Context(), pbx.Actor{ID: "d@example.com"}), pbx.DefaultTenant, pbx.NewUser{Name: "D", Email: "d@example.com"}); err != nil || u.Extension.Number != 1000 {
			t.Errorf("the next one: number %d, error %v", u.Extension.Number, err)
		}
		if got := stored(t, s); got != "1000 d@example.com" {
			t.Error(got)
		}
	})
}
