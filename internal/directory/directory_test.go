package directory_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func newUser(i int) pbx.NewUser {
	return pbx.NewUser{Name: fmt.Sprintf("User %d", i), Email: fmt.Sprintf("user%d@example.com", i)}
}

// open returns two directories over one database, as in two processes of the portal.
func open(t *testing.T, url string) []*directory.Directory {
	t.Helper()
	return []*directory.Directory{
		directory.New(storetest.Open(t, url), time.Now),
		directory.New(storetest.Open(t, url), time.Now),
	}
}

func TestAThousandUsersCreatedAtOnceGetAThousandNumbersAndTheNextNone(t *testing.T) {
	t.Parallel()
	clients, users := 64, pbx.PoolSize
	if testing.Short() { // the race detector makes SQLite thirty times slower
		clients, users = 8, 100
	}
	storetest.Each(t, func(t *testing.T, url string) {
		dirs := open(t, url)
		var mu sync.Mutex
		ids := map[pbx.Number]pbx.UserID{}
		work := make(chan int)
		var all sync.WaitGroup
		for c := range clients {
			all.Go(func() {
				for i := range work {
					u, err := dirs[c%2].Create(t.Context(), pbx.DefaultTenant, newUser(i))
					if err != nil {
						t.Errorf("user %d: %v", i, err)
						continue
					}
					mu.Lock()
					if _, twice := ids[u.Extension.Number]; twice {
						t.Errorf("number %d was allocated twice", u.Extension.Number)
					}
					ids[u.Extension.Number] = u.ID
					mu.Unlock()
				}
			})
		}
		for i := range users {
			work <- i
		}
		close(work)
		all.Wait()
		numbers := slices.Sorted(maps.Keys(ids))
		if len(numbers) != users || numbers[0] != pbx.FirstNumber || numbers[users-1] != pbx.FirstNumber+pbx.Number(users)-1 {
			t.Fatalf("%d numbers", len(numbers))
		}
		if testing.Short() {
			return
		}
		_, err := dirs[0].Create(t.Context(), pbx.DefaultTenant, newUser(5000))
		if pbx.CodeOf(err) != pbx.CodePoolExhausted || pbx.KindOf(err) != pbx.KindConflict {
			t.Errorf("the 1001st user: error %v", err)
		}
		// Whichever users are deleted, the lowest released number is allocated next.
		for _, n := range []pbx.Number{1999, 1500, 1000, 1001} {
			if _, err := dirs[1].Delete(t.Context(), pbx.DefaultTenant, ids[n]); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []pbx.Number{1000, 1001, 1500, 1999} {
			if u, err := dirs[0].Create(t.Context(), pbx.DefaultTenant, newUser(6000+i)); err != nil || u.Extension.Number != want {
				t.Errorf("got %d, error %v; want %d", u.Extension.Number, err, want)
			}
		}
	})
}

func TestADuplicateAddressConsumesNoNumber(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		d := open(t, url)[0]
		for i, want := range []pbx.Number{1000, 1001} {
			if u, err := d.Create(t.Context(), pbx.DefaultTenant, newUser(i)); err != nil || u.Extension.Number != want {
				t.Fatalf("got %d, error %v; want %d", u.Extension.Number, err, want)
			}
			_, err := d.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "Other", Email: "USER0@Example.com"})
			if pbx.CodeOf(err) != pbx.CodeEmailTaken || pbx.KindOf(err) != pbx.KindConflict {
				t.Fatalf("error %v", err)
			}
		}
	})
}

func TestOneAddressCreatedManyTimesAtOnceIsCreatedOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		dirs := open(t, url)
		codes := make([]string, 16)
		var all sync.WaitGroup
		for i := range codes {
			all.Go(func() {
				_, err := dirs[i%2].Create(t.Context(), pbx.DefaultTenant, newUser(1))
				codes[i] = pbx.CodeOf(err)
			})
		}
		all.Wait()
		slices.Sort(codes)
		if codes[0] != pbx.CodeEmailTaken || codes[14] != pbx.CodeEmailTaken || codes[15] != pbx.CodeInternal { // CodeOf(nil) is internal
			t.Errorf("codes %v, want 15 conflicts and one success", codes)
		}
	})
}

func TestUsersAreFoundListedAndDeleted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		d := open(t, url)[0]
		for _, n := range []pbx.NewUser{{Name: "Anna", Email: "a@example.com"}, {Name: "Émile", Email: "b@example.com"}, {Name: "Carl", Email: "c@other.com"}} {
			if _, err := d.Create(t.Context(), pbx.DefaultTenant, n); err != nil {
				t.Fatal(err)
			}
		}
		for _, tc := range []struct {
			query directory.Query
			names []string
			next  pbx.Number
		}{
			{directory.Query{}, []string{"Anna", "Émile", "Carl"}, 0},
			{directory.Query{Text: "éMI"}, []string{"Émile"}, 0},
			{directory.Query{Text: " emi\u200e "}, []string{"Émile"}, 0},
			{directory.Query{Text: "E\u0301mi"}, []string{"Émile"}, 0},
			{directory.Query{Text: "１００２"}, []string{"Carl"}, 0},
			{directory.Query{Text: "EXAMPLE"}, []string{"Anna", "Émile"}, 0},
			{directory.Query{Text: "1002"}, []string{"Carl"}, 0},
			{directory.Query{Text: "%"}, nil, 0},
			{directory.Query{Limit: 2}, []string{"Anna", "Émile"}, 1001},
			{directory.Query{Limit: 2, After: 1001}, []string{"Carl"}, 0},
			{directory.Query{Limit: 3}, []string{"Anna", "Émile", "Carl"}, 0},
			{directory.Query{Limit: 1, Text: "example"}, []string{"Anna"}, 1000},
		} {
			page, err := d.List(t.Context(), pbx.DefaultTenant, tc.query)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, u := range page.Users {
				names = append(names, u.Name)
			}
			if diff := cmp.Diff(tc.names, names); diff != "" || page.Next != tc.next {
				t.Errorf("%+v: next %d, want %d; names:\n%s", tc.query, page.Next, tc.next, diff)
			}
		}
		page, err := d.List(t.Context(), pbx.DefaultTenant, directory.Query{Text: "carl"})
		if err != nil {
			t.Fatal(err)
		}
		carl := page.Users[0]
		if got, err := d.Get(t.Context(), pbx.DefaultTenant, carl.ID); err != nil || got.Email != carl.Email {
			t.Errorf("Get: %+v, %v", got, err)
		}
		if deleted, err := d.Delete(t.Context(), pbx.DefaultTenant, carl.ID); err != nil || deleted.Extension.Number != 1002 {
			t.Errorf("Delete: %+v, %v", deleted, err)
		}
		for _, id := range []pbx.UserID{carl.ID, "", "1002", "not-a-uuid", "{" + carl.ID + "}", "urn:uuid:" + carl.ID} {
			_, getErr := d.Get(t.Context(), pbx.DefaultTenant, id)
			_, deleteErr := d.Delete(t.Context(), pbx.DefaultTenant, id)
			if pbx.KindOf(getErr) != pbx.KindNotFound || pbx.KindOf(deleteErr) != pbx.KindNotFound {
				t.Errorf("%q: Get %v, Delete %v; want not found", id, getErr, deleteErr)
			}
		}
	})
}

func TestADisconnectedCallerCreatesNoUser(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		d := open(t, url)[0]
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := d.Create(gone, pbx.DefaultTenant, newUser(1)); err == nil {
			t.Error("no error")
		}
		if page, err := d.List(t.Context(), pbx.DefaultTenant, directory.Query{}); err != nil || len(page.Users) > 0 {
			t.Errorf("%d users, error %v", len(page.Users), err)
		}
	})
}

func TestAPoolExhaustedByTheHostIsReportedAsSuch(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		looks := 0
		d := directory.New(s, time.Now).WithHost(func(ctx context.Context) {
			looks++
			var all []pbx.HostObject
			for n := pbx.FirstNumber; n <= pbx.LastNumber; n++ {
				if n != 1500 {
					all = append(all, pbx.HostObject{Kind: "endpoint", Number: n})
				}
			}
			if err := s.NoteHost(ctx, store.HostFiles, all); err != nil {
				t.Error(err)
			}
		})
		if u, err := d.Create(t.Context(), pbx.DefaultTenant, newUser(1)); err != nil || u.Extension.Number != 1500 {
			t.Errorf("the first user gets %d, error %v", u.Extension.Number, err)
		}
		_, err := d.Create(t.Context(), pbx.DefaultTenant, newUser(2))
		if pbx.CodeOf(err) != pbx.CodePoolExhausted || !strings.Contains(err.Error(), "1 of 1000 are in use by users and other objects, and Asterisk's own configuration has 999 of the rest") || !strings.Contains(err.Error(), "pbxportal plan") {
			t.Errorf("the second: %v", err)
		}
		if looks != 2 {
			t.Errorf("the host was checked %d times for two users", looks)
		}
	})
}

func TestAReleasedNumberIsReservedForTheQuarantine(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		clock := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		d := directory.New(storetest.Open(t, url), func() time.Time { return clock }).WithQuarantine(time.Hour)
		create := func(i int) pbx.User {
			t.Helper()
			u, err := d.Create(t.Context(), pbx.DefaultTenant, newUser(i))
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		first := create(1)
		if _, err := d.Delete(t.Context(), pbx.DefaultTenant, first.ID); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(59 * time.Minute)
		if u := create(2); u.Extension.Number != 1001 {
			t.Errorf("within the quarantine: %d, want 1001", u.Extension.Number)
		}
		clock = clock.Add(2 * time.Minute)
		if u := create(3); u.Extension.Number != 1000 {
			t.Errorf("after the quarantine: %d, want 1000", u.Extension.Number)
		}
	})
}
