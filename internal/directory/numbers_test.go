package directory_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// addPool creates a pool.
func addPool(t *testing.T, r *routing.Routing, name string, p pbx.Pool) pbx.ThingID {
	t.Helper()
	i, err := r.Create(t.Context(), pbx.DefaultTenant, name, &p)
	if err != nil {
		t.Fatal(err)
	}
	return i.ID
}

func TestUsersCreatedAtOnceInAllPoolsGetEachNumberOnce(t *testing.T) {
	t.Parallel()
	clients, each := 64, 150
	if testing.Short() {
		clients, each = 8, 30
	}
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		r := routing.New(s, time.Now)
		dirs := open(t, url)
		pools := map[pbx.ThingID]pbx.Number{"": pbx.FirstNumber}
		for i, order := range []pbx.PoolOrder{pbx.LowestFirst, pbx.NextFirst, pbx.RandomFirst} {
			first := pbx.Number(2000 + 1000*i)
			pools[addPool(t, r, string(order), pbx.Pool{First: first, Last: first + pbx.Number(each) - 1, Order: order})] = first
		}
		type job struct {
			pool   pbx.ThingID
			number pbx.Number
		}
		work := make(chan job)
		var mu sync.Mutex
		got, exhausted := map[pbx.ThingID][]pbx.Number{}, 0
		var all sync.WaitGroup
		for c := range clients {
			all.Go(func() {
				for j := range work {
					u, err := dirs[c%2].Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "User", EmailOptional: true, Pool: j.pool, Number: j.number})
					mu.Lock()
					switch {
					case err == nil:
						got[j.pool] = append(got[j.pool], u.Extension.Number)
					case pbx.CodeOf(err) == pbx.CodePoolExhausted, pbx.CodeOf(err) == pbx.CodeNumberTaken && j.number != 0:
						exhausted++
					default:
						t.Error(err)
					}
					mu.Unlock()
				}
			})
		}
		for range each {
			for pool := range pools {
				work <- job{pool, 0}
			}
			work <- job{"", 1900} // explicit: one gets it
		}
		close(work)
		all.Wait()
		seen := map[pbx.Number]bool{}
		for pool, first := range pools {
			numbers := got[pool]
			slices.Sort(numbers)
			numbers = slices.DeleteFunc(numbers, func(n pbx.Number) bool { return n == 1900 })
			for i, n := range numbers {
				if n != first+pbx.Number(i) || seen[n] {
					t.Fatalf("the numbers of a pool from %d are %v", first, numbers)
				}
				seen[n] = true
			}
			if len(numbers) != each {
				t.Errorf("%d users in the pool from %d", len(numbers), first)
			}
		}
		if exhausted != each-1 {
			t.Errorf("%d refused, want all but one with the same explicit number", exhausted)
		}
		for pool, first := range pools {
			if pool == "" {
				continue
			}
			_, err := dirs[0].Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "More", EmailOptional: true, Pool: pool})
			if pbx.CodeOf(err) != pbx.CodePoolExhausted || !strings.Contains(err.Error(), fmt.Sprintf("%d–%d", first, int(first)+each-1)) {
				t.Errorf("the pool from %d has another one: %v", first, err)
			}
		}
	})
}

func TestANumberOfAPoolIsAssignedInItsOrder(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		r, d := routing.New(s, time.Now), directory.New(s, time.Now)
		next := addPool(t, r, "Next", pbx.Pool{First: 2000, Last: 2003, Order: pbx.NextFirst})
		random := addPool(t, r, "Random", pbx.Pool{First: 3000, Last: 3999, Order: pbx.RandomFirst})
		create := func(pool pbx.ThingID) pbx.User {
			t.Helper()
			u, err := d.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "User", EmailOptional: true, Pool: pool})
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		del := func(u pbx.User) {
			t.Helper()
			if _, err := d.Delete(t.Context(), pbx.DefaultTenant, u.ID); err != nil {
				t.Fatal(err)
			}
		}
		first := create(next)
		del(first)
		var users []pbx.User
		for _, want := range []pbx.Number{2001, 2002, 2003, 2000} {
			u := create(next)
			if users = append(users, u); u.Extension.Number != want {
				t.Errorf("got %d, want %d", u.Extension.Number, want)
			}
		}
		del(users[1])
		del(users[2])
		if u := create(next); u.Extension.Number != 2002 {
			t.Errorf("after 2000 came %d", u.Extension.Number)
		}
		ascending, last := true, pbx.Number(0)
		for range 20 {
			n := create(random).Extension.Number
			ascending, last = ascending && n > last, n
		}
		if ascending {
			t.Error("random numbers ascend")
		}
	})
}

func TestTheNumberOfADeletedUserWaitsForTheCoolDownOfItsPool(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		now := time.Now()
		clock := func() time.Time { return now }
		r, d := routing.New(s, clock), directory.New(s, clock).WithQuarantine(time.Hour)
		days, none := 2, 0
		one := addPool(t, r, "One", pbx.Pool{First: 2000, Last: 2001, CoolDownDays: &days})
		other := addPool(t, r, "Other", pbx.Pool{First: 3000, Last: 3001, CoolDownDays: &none})
		again := func(pool pbx.ThingID, pass time.Duration, number pbx.Number) pbx.Number {
			t.Helper()
			u, err := d.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "User", EmailOptional: true, Pool: pool})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Delete(t.Context(), pbx.DefaultTenant, u.ID); err != nil {
				t.Fatal(err)
			}
			now = now.Add(pass)
			n := pbx.NewUser{Name: "Next", EmailOptional: true, Pool: pool, Number: number}
			if number != 0 {
				n.Pool = ""
			}
			if u, err = d.Create(t.Context(), pbx.DefaultTenant, n); err != nil {
				t.Fatal(err)
			}
			got := u.Extension.Number
			if _, err := d.Delete(t.Context(), pbx.DefaultTenant, u.ID); err != nil {
				t.Fatal(err)
			}
			now = now.Add(10 * 24 * time.Hour)
			return got
		}
		if n := again(one, 47*time.Hour, 0); n != 2001 {
			t.Errorf("before the cool-down of two days: %d", n)
		}
		if n := again(one, 49*time.Hour, 0); n != 2000 {
			t.Errorf("after it: %d", n)
		}
		if n := again(one, 0, 2000); n != 2000 {
			t.Errorf("given explicitly: %d", n)
		}
		if n := again(other, 0, 0); n != 3000 {
			t.Errorf("without a cool-down: %d", n)
		}
		if n := again("", 59*time.Minute, 0); n != 1001 {
			t.Errorf("in the cool-down of the installation: %d", n)
		}
		if _, err := r.Change(t.Context(), pbx.DefaultTenant, pbx.KindOrganisation, pbx.OrganisationID, 0, func(i *pbx.Item) error {
			if o, ok := i.Body.(*pbx.Organisation); ok {
				o.CoolDownDays = &days
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if n := again("", 47*time.Hour, 0); n != 1001 {
			t.Errorf("in the cool-down of the organisation: %d", n)
		}
	})
}

// Another program, such as the Python portal, inserts users without the portal.
func TestNumbersThatAnotherProgramTookAreNotAssigned(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		r, d := routing.New(s, time.Now), directory.New(s, time.Now)
		for i, order := range []pbx.PoolOrder{pbx.LowestFirst, pbx.NextFirst, pbx.RandomFirst} {
			first := 2000 + 1000*i
			pool := addPool(t, r, string(order), pbx.Pool{First: pbx.Number(first), Last: pbx.Number(first + 3), Order: order})
			for j, n := range []int{first, first + 2} {
				storetest.Execute(t, url, fmt.Sprintf(`INSERT INTO users (id, tenant_id, name, email) VALUES ('c000000%d-0000-4000-8000-00000000000%d', 'a0000000-0000-0000-0000-000000000000', 'X', 'x%d@example.com');
INSERT INTO extensions (id, number, user_id, secret) VALUES ('d000000%d-0000-4000-8000-00000000000%d', %d, 'c000000%[1]d-0000-4000-8000-00000000000%[2]d', 'x')`, i, j, n, i, j, n))
			}
			var got []pbx.Number
			for range 2 {
				u, err := d.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "User", EmailOptional: true, Pool: pool})
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, u.Extension.Number)
			}
			if slices.Sort(got); !slices.Equal(got, []pbx.Number{pbx.Number(first + 1), pbx.Number(first + 3)}) {
				t.Errorf("%s: %v", order, got)
			}
			if _, err := d.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "User", EmailOptional: true, Pool: pool}); pbx.CodeOf(err) != pbx.CodePoolExhausted {
				t.Errorf("%s: %v", order, err)
			}
		}
	})
}

func TestAPoolThatAnotherProcessChangedIsUsedAsItIsNow(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		d, r := directory.New(storetest.Open(t, url), time.Now), routing.New(storetest.Open(t, url), time.Now)
		for i, want := range []pbx.Number{1000, 1500, 1600} {
			if i > 0 {
				if _, err := r.Change(t.Context(), pbx.DefaultTenant, pbx.KindPool, pbx.UserPoolID, 0, func(item *pbx.Item) error {
					if p, ok := item.Body.(*pbx.Pool); ok {
						p.First = want
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			for next := range pbx.Number(2) {
				if u, err := d.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "User", EmailOptional: true}); err != nil || u.Extension.Number != want+next {
					t.Errorf("got %d, want %d, error %v", u.Extension.Number, want+next, err)
				}
			}
		}
	})
}
