//go:build !race

// Nothing runs concurrently here.

package routing_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// world is what the database must contain.
type world struct {
	users map[pbx.UserID]pbx.User
	items map[pbx.ThingID]pbx.Item
}

// codeOf returns the code of the error that storing an item must have, "" for none.
func (w world) codeOf(i pbx.Item) string {
	g := i.Body.(*pbx.RingGroup)
	if len(g.Members) == 0 || g.Seconds < 5 || g.Seconds > 120 || i.Name == "" {
		return pbx.CodeInvalid
	}
	for _, other := range w.items {
		if other.ID != i.ID && strings.EqualFold(other.Name, i.Name) {
			return pbx.CodeNameTaken
		}
	}
	for _, r := range i.Body.References() {
		_, user := w.users[pbx.UserID(r.To.ID)]
		_, item := w.items[pbx.ThingID(r.To.ID)]
		if !user && !item && r.To.ID != string(i.ID) {
			return pbx.CodeInvalid
		}
	}
	if w.holds(g.Number, string(i.ID)) {
		return pbx.CodeNumberTaken
	}
	m := pbx.Model{Users: slices.Collect(maps.Values(w.users)), Items: []pbx.Item{i}}
	for _, other := range w.items {
		if other.ID != i.ID {
			m.Items = append(m.Items, other)
		}
	}
	if slices.ContainsFunc(callflow.Check(m), callflow.Fault.Refused) {
		return pbx.CodeInvalid
	}
	return ""
}

// holds reports whether another than the user or item with this id has a number.
func (w world) holds(number, but string) bool {
	for _, u := range w.users {
		if string(u.ID) != but && strconv.Itoa(int(u.Extension.Number)) == number {
			return true
		}
	}
	for _, i := range w.items {
		if string(i.ID) != but && i.Body.Claims()[0].Number == number {
			return true
		}
	}
	return false
}

// deleteUser returns the code of deleting a user, and takes the user out of the world if there is none.
func (w world) deleteUser(u pbx.User) string {
	without := map[pbx.ThingID]pbx.Body{}
	for _, i := range w.items {
		if slices.ContainsFunc(i.Body.References(), func(r pbx.Reference) bool { return r.To.ID == string(u.ID) }) {
			body, ok := i.Body.Replace(u.ID, "")
			if !ok {
				return pbx.CodeInUse
			}
			without[i.ID] = body
		}
	}
	for id, body := range without {
		i := w.items[id]
		i.Body, i.Version = body, i.Version+1
		w.items[id] = i
	}
	delete(w.users, u.ID)
	return ""
}

// pick returns one of the values, in an order that depends on the random source alone.
func pick[K ~string, V any](random *rand.Rand, all map[K]V) V {
	keys := slices.Sorted(maps.Keys(all))
	return all[keys[random.IntN(len(keys))]]
}

// Each random change is made in the database and in a model of it that knows the rules; both must agree on what is refused, and on all that is stored.
func TestRandomChangesOfUsersAndItemsDoExactlyWhatTheyNameAtLength(t *testing.T) {
	t.Parallel()
	steps := labtest.Soak(80, 4000)
	storetest.Each(t, func(t *testing.T, url string) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 14))
		p := open(t, url, 4)
		w := world{map[pbx.UserID]pbx.User{}, map[pbx.ThingID]pbx.Item{}}
		for _, u := range p.users {
			w.users[u.ID] = u
		}
		created, refused := 4, map[string]int{}
		alter := func(i *pbx.Item) {
			g := i.Body.(*pbx.RingGroup)
			for range 1 + random.IntN(3) {
				switch random.IntN(8) {
				case 0:
					i.Name = []string{"Sales", "sales", "Office", "Night", "Ärzte", ""}[random.IntN(6)]
				case 1:
					g.Number = strconv.Itoa([]int{600, 601, 602, 700, 1000, 1001, 4711}[random.IntN(7)])
				case 2:
					g.Members = nil
					for range random.IntN(4) {
						if u := pick(random, w.users); !slices.Contains(g.Members, u.ID) {
							g.Members = append(g.Members, u.ID)
						}
					}
				case 3:
					g.Strategy = pbx.RingStrategies()[random.IntN(3)]
				case 4:
					g.Seconds = 1 + random.IntN(125)
				case 5:
					g.SkipBusy = !g.SkipBusy
				case 6:
					g.Fallback = pbx.Destination{Kind: pbx.KindUser, ID: string(pick(random, w.users).ID)}
				case 7:
					if g.Fallback = (pbx.Destination{Kind: pbx.Hangup}); len(w.items) > 0 {
						g.Fallback = to(pick(random, w.items))
					}
				}
			}
		}
		for step := range steps {
			var what, want string
			var got error
			switch n := random.IntN(10); {
			case n < 3 || len(w.items) == 0:
				what = "create a group"
				i := pbx.Item{Meta: pbx.Meta{Name: fmt.Sprint("Group ", step)}, Body: p.emptyGroup(pick(random, w.users).ID)}
				alter(&i)
				number := i.Body.Claims()[0].Number
				want = w.codeOf(i)
				var made pbx.Item
				if made, got = p.routing.Create(t.Context(), pbx.DefaultTenant, i.Name, i.Body); got == nil {
					if number == "" {
						number = made.Body.Claims()[0].Number
						i.Body.SetNumber("number", number)
					}
					made.Body = i.Body
					w.items[made.ID] = made
				}
			case n < 7:
				what = "change a group"
				was := pick(random, w.items)
				i := was
				body := *was.Body.(*pbx.RingGroup)
				i.Body = &body
				alter(&i)
				want = w.codeOf(i)
				var now pbx.Item
				now, got = p.change(i.ID, []int64{0, i.Version}[random.IntN(2)], func(name *string, g *pbx.RingGroup) { *name, *g = i.Name, body })
				if got == nil {
					if !cmp.Equal(i, was) {
						i.Version++
					}
					i.UpdatedAt = now.UpdatedAt
					w.items[i.ID] = i
				}
			case n == 7:
				what = "delete a group"
				i := pick(random, w.items)
				for _, other := range w.items {
					if other.ID != i.ID && slices.ContainsFunc(other.Body.References(), func(r pbx.Reference) bool { return r.To.ID == string(i.ID) }) {
						want = pbx.CodeInUse
					}
				}
				if got = p.delete(i); got == nil {
					delete(w.items, i.ID)
				}
			case n == 8 && len(w.users) > 2:
				what = "delete a user"
				u := pick(random, w.users)
				want = w.deleteUser(u)
				_, got = p.people.Delete(t.Context(), pbx.DefaultTenant, u.ID)
			case n == 8:
				what = "create a user"
				created++
				var u pbx.User
				u, got = p.people.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "Somebody", Email: fmt.Sprintf("u%d@example.com", created)})
				if w.holds(strconv.Itoa(int(u.Extension.Number)), "") {
					t.Errorf("the new user gets %d, which is taken", u.Extension.Number)
				}
				w.users[u.ID] = u
			default:
				what = "change a user"
				u := pick(random, w.users)
				was := u
				switch random.IntN(4) {
				case 0:
					u.Extension.Number = pbx.Number([]int{600, 1000, 1002, 4711, 5000}[random.IntN(5)])
				case 1:
					u.Name = []string{"Anna", "Berta"}[random.IntN(2)]
				case 2:
					u.Disabled = !u.Disabled
				case 3:
					u.Email = []string{"", fmt.Sprintf("c%d@example.com", step)}[random.IntN(2)]
				}
				if w.holds(strconv.Itoa(int(u.Extension.Number)), string(u.ID)) {
					want = pbx.CodeNumberTaken
				}
				var now pbx.User
				now, got = p.people.Change(t.Context(), pbx.DefaultTenant, u.ID, 0, func(v *pbx.User) error {
					v.Name, v.Email, v.Disabled, v.Extension.Number = u.Name, u.Email, u.Disabled, u.Extension.Number
					return nil
				})
				if got == nil {
					if u.UpdatedAt = now.UpdatedAt; now.Version != was.Version {
						u.Version = now.Version
					}
					w.users[u.ID] = u
				}
			}
			code := ""
			if got != nil {
				code = pbx.CodeOf(got)
				refused[code]++
			}
			if code != want {
				t.Fatalf("step %d: %s: %v, want %q", step, what, got, want)
			}
			p.compare(step, what, w)
		}
		p.compareTables(url, w)
		t.Logf("%d steps; refused: %v; in the end %d users and %d groups", steps, refused, len(w.users), len(w.items))
	})
}

// emptyGroup returns a ring group of one user, as it is stored.
func (p *portal) emptyGroup(member pbx.UserID) *pbx.RingGroup {
	return &pbx.RingGroup{Strategy: pbx.RingAll, Members: []pbx.UserID{member}, Seconds: 20, Fallback: pbx.Destination{Kind: pbx.Hangup}}
}

// compare compares what the store returns with what it must.
func (p *portal) compare(step int, what string, w world) {
	p.Helper()
	m, err := p.store.Model(p.Context(), pbx.DefaultTenant)
	if err != nil {
		p.Fatal(err)
	}
	want := pbx.Model{Users: slices.Collect(maps.Values(w.users)), Items: slices.Collect(maps.Values(w.items))}
	slices.SortFunc(want.Users, func(a, b pbx.User) int { return int(a.Extension.Number - b.Extension.Number) })
	slices.SortFunc(want.Items, pbx.CompareItems)
	ignored := cmp.FilterPath(func(path cmp.Path) bool { return path.Last().String() == ".UpdatedAt" }, cmp.Ignore()) // a user who leaves a group changes it
	secrets := cmp.Comparer(func(a, b pbx.Secret) bool { return a.Reveal() == b.Reveal() })
	if diff := cmp.Diff(want, m, ignored, secrets, cmp.Transformer("empty", func(items []pbx.Item) map[int]pbx.Item {
		all := map[int]pbx.Item{}
		for n, i := range items {
			all[n] = i
		}
		return all
	})); diff != "" {
		p.Fatalf("step %d: after %s:\n%s", step, what, diff)
	}
	if page, err := p.routing.List(p.Context(), pbx.DefaultTenant, pbx.KindRingGroup, routing.Query{}); err != nil || len(page.Items) != len(w.items) {
		p.Fatalf("step %d: %d items are listed, error %v", step, len(page.Items), err)
	}
}

// compareTables compares the numbers and references in the database with those of the users and items.
func (p *portal) compareTables(url string, w world) {
	p.Helper()
	var numbers, references []string
	for _, u := range w.users {
		numbers = append(numbers, fmt.Sprint(u.Extension.Number, "=", u.ID))
	}
	for _, i := range w.items {
		numbers = append(numbers, i.Body.Claims()[0].Number+"="+string(i.ID))
		for _, r := range i.Body.References() {
			references = append(references, fmt.Sprint(i.ID, " ", r.Field, " ", r.Ordinal, " ", r.To.ID))
		}
	}
	for _, c := range []struct {
		query string
		want  []string
	}{
		{`SELECT coalesce(string_agg(number || '=' || CAST(coalesce(user_id, thing_id) AS text), '; '), '') FROM numbers`, numbers},
		{`SELECT coalesce(string_agg(CAST(from_id AS text) || ' ' || field || ' ' || ordinal || ' ' || CAST(coalesce(to_user, to_thing) AS text), '; '), '') FROM thing_refs`, references},
	} {
		got := strings.Split(storetest.Ask(p.T, url, c.query), "; ")
		got = slices.DeleteFunc(got, func(text string) bool { return text == "" })
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			p.Errorf("%s:\n%q, want\n%q", c.query, got, c.want)
		}
	}
}
