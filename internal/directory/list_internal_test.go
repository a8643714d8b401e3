package directory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Users are created, changed, renumbered and deleted between lists.
func TestAChangedListOfUsersIsInTheOrdersOfANewOne(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	orders := []Order{ByNumber, ByName, ByEmail, ByCreated, ByUpdated}
	all := map[pbx.Number]pbx.User{}
	var held views
	for round := range 300 {
		for range random.IntN(4) {
			n := pbx.Number(1000 + random.IntN(40))
			u, exists := all[n]
			delete(all, n)
			switch what := random.IntN(3); {
			case !exists:
				u = pbx.User{ID: pbx.UserID(fmt.Sprint(round, n)), CreatedAt: time.Unix(int64(round), 0)}
			case what == 0: // it is deleted
				continue
			case what == 1: // the number of another one, who is deleted
				n = pbx.Number(1000 + random.IntN(40))
			}
			u.Version++
			u.Name, u.Email = fmt.Sprint("Ä", random.IntN(9)), fmt.Sprintf("%d@example.com", random.IntN(9))
			u.Extension.Number, u.UpdatedAt = n, time.Unix(int64(round), 0)
			all[n] = u
		}
		users := make([]pbx.User, 0, len(all))
		for _, u := range all {
			users = append(users, u)
		}
		slices.SortFunc(users, func(a, b pbx.User) int { return int(a.Extension.Number - b.Extension.Number) })
		order := orders[random.IntN(len(orders))]
		places, texts := held.of(users, order, true)
		wantPlaces, wantTexts := (&views{}).of(users, order, true)
		if !slices.Equal(places, wantPlaces) || !slices.Equal(texts, wantTexts) {
			t.Fatalf("round %d, by %s:\n%v\nwant\n%v", round, order, places, wantPlaces)
		}
	}
}
