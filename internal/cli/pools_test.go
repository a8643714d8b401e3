package cli_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// tenure is the time for which a user had a number of a pool, as far as the clients know it: from the response that has the number, to the request that
// deletes the user.
type tenure struct {
	id         string
	number     int
	begun, end time.Time // end is zero for a user who is there
}

// until reports whether the tenure ended before another time.
func (t tenure) until(other time.Time) bool { return !t.end.IsZero() && !t.end.After(other) }

// createIn creates a user with a number of a pool, or an explicit one; ok is false if it is refused with the status 409.
func (s *server) createIn(t *testing.T, body string) (created tenure, ok bool) {
	t.Helper()
	got, err := s.ask(t.Context(), "POST", "/api/v1/users", body)
	if err != nil || got.status != 201 && got.status != 409 {
		t.Errorf("%s: %v %v", body, got, err)
	}
	if err != nil || got.status != 201 {
		return created, false
	}
	user := decode(t, got.body)
	number, err := strconv.Atoi(fmt.Sprint(user["number"]))
	if err != nil {
		t.Error(err)
	}
	return tenure{id: fmt.Sprint(user["id"]), number: number, begun: time.Now()}, true
}

// Users are created and deleted through two processes at once. A pool with a cool-down, and one that assigns the next number, give each number out once
// until they are exhausted, whatever is deleted meanwhile. The lowest free number of a pool without a cool-down may be that of a deleted user, but never
// that of another one.
func TestTwoProcessesAnd64ClientsShareAllPoolsWhileUsersAreDeletedAtLength(t *testing.T) {
	t.Parallel()
	clients, each := 64, labtest.Soak(60, 1000)
	if testing.Short() {
		clients, each = 8, 20
	}
	storetest.Each(t, func(t *testing.T, url string) {
		s := newSettings(t)
		s["DATABASE_URL"] = url
		servers := []*server{s.serve(t), s.serve(t)}
		const lowest, next, random, reused, explicit = 0, 1, 2, 3, 4
		const wanted = 10 // explicit numbers, for which all clients compete
		orders := []string{lowest: `"lowest","cool_down_days":1`, next: `"next","cool_down_days":0`, random: `"random","cool_down_days":1`, reused: `"lowest","cool_down_days":0`, explicit: `"lowest"`}
		var bodies []string
		first := func(pool int) int { return 20_000 + 2000*pool }
		for pool, order := range orders {
			p := servers[pool%2].want(t, 201, "POST", "/api/v1/pools", fmt.Sprintf(`{"name":"Pool %d","from":"%d","to":"%d","order":%s}`, pool, first(pool), first(pool)+each-1, order))
			bodies = append(bodies, fmt.Sprintf(`{"name":"User","pool":%q}`, p["id"]))
		}
		var mu sync.Mutex
		all, refused := make([][]tenure, len(orders)), make([]int, len(orders))
		work := make(chan int)
		var wait sync.WaitGroup
		for c := range clients {
			wait.Go(func() {
				for pool := range work {
					body := bodies[pool]
					if pool == explicit {
						body = fmt.Sprintf(`{"name":"User","number":"%d"}`, first(pool)+rand.IntN(wanted))
					}
					u, ok := servers[c%2].createIn(t, body)
					if ok && pool != explicit && rand.IntN(3) == 0 {
						u.end = time.Now()
						if got, err := servers[rand.IntN(2)].ask(t.Context(), "DELETE", "/api/v1/users/"+u.id, ""); err != nil || got.status != 204 {
							t.Errorf("deleting %d: %v %v", u.number, got, err)
						}
					}
					mu.Lock()
					if ok {
						all[pool] = append(all[pool], u)
					} else {
						refused[pool]++
					}
					mu.Unlock()
				}
			})
		}
		for range each {
			for pool := range orders {
				work <- pool
			}
		}
		close(work)
		wait.Wait()
		for pool := range orders {
			slices.SortFunc(all[pool], func(a, b tenure) int { return a.begun.Compare(b.begun) })
			holders := map[int][]tenure{}
			for _, u := range all[pool] {
				before := holders[u.number]
				if len(before) > 0 && (pool != reused || !before[len(before)-1].until(u.begun)) {
					t.Errorf("pool %d: %d was given out twice: %v", pool, u.number, append(before, u))
				}
				holders[u.number] = append(before, u)
			}
			got := refused[pool]
			switch {
			case pool == explicit:
				if len(holders)+got != each || len(holders) > wanted {
					t.Errorf("%d users have an explicit number, %d were refused", len(holders), got)
				}
			case got > 0 || pool != reused && len(holders) != each:
				t.Errorf("pool %d: %d of %d numbers were given out, %d users refused", pool, len(holders), each, got)
			}
			for number := range holders {
				if number < first(pool) || number >= first(pool)+each {
					t.Errorf("pool %d gave out %d", pool, number)
				}
			}
		}
		// With a cool-down the pools are exhausted; without one, what is free is given out, from the lowest on.
		for pool := range explicit {
			free := map[int]bool{}
			for n := range each {
				free[first(pool)+n] = true
			}
			for _, u := range all[pool] {
				if u.end.IsZero() || pool == lowest || pool == random {
					delete(free, u.number)
				}
			}
			deleted := len(free)
			for n := range each {
				if number := first(pool) + n; free[number] {
					if u, ok := servers[n%2].createIn(t, bodies[pool]); !ok || u.number != number {
						t.Fatalf("pool %d: the next user gets %d, want %d", pool, u.number, number)
					}
				}
			}
			if u, ok := servers[pool%2].createIn(t, bodies[pool]); ok {
				t.Errorf("pool %d: one more user gets %d", pool, u.number)
			}
			t.Logf("pool %d: %d users created by %d clients, %d numbers free at the end", pool, len(all[pool]), clients, deleted)
		}
	})
}
