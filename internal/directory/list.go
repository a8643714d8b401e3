package directory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Order is a field by which users are listed. Users with the same value follow each other by number.
type Order string

// The orders.
const (
	ByNumber  Order = "number"
	ByName    Order = "name"
	ByEmail   Order = "email"
	ByCreated Order = "created_at"
	ByUpdated Order = "updated_at"
)

// Selection selects users, and a part of them in an order.
type Selection struct {
	Text       string     // as in Query
	Number     pbx.Number // 0: any
	Email      string     // without regard to case; "": any
	Disabled   *bool      // nil: both
	Order      Order
	Descending bool
	After      Position // the zero Position: from the beginning
	Limit      int      // maximum number of users; 0: all
	Count      bool
}

// Position is the place of a user in an order.
type Position struct {
	Key    string
	Number pbx.Number // 0: before the first user, in either direction
}

// Selected is one page of a Selection.
type Selected struct {
	Users []pbx.User
	Next  Position // the After of the next page; zero on the last
	Total int      // the number of users on all pages, if it was asked for
}

// Select returns the tenant's users of a selection. They are selected here and not in SQL: the list is cached, and both engines fold only ASCII letters.
func (d *Directory) Select(ctx context.Context, tenant pbx.TenantID, s Selection) (Selected, error) {
	users, err := d.store.Users(ctx, tenant)
	if err != nil {
		return Selected{}, err
	}
	text, email := pbx.Fold(s.Text), pbx.FoldEmail(s.Email)
	places, texts := d.views.of(users, s.Order, text != "")
	begin := 0
	if s.After.Number != 0 {
		begin = sort.Search(len(places), func(i int) bool { // the first place behind the position in ascending order
			c := places[i].compare(s.After)
			return c > 0 || c == 0 && s.Descending
		})
	} else if s.Descending {
		begin = len(places)
	}
	found := Selected{Users: []pbx.User{}}
	rest := func(yield func(place) bool) {
		for _, p := range places[begin:] {
			if !s.Descending && !yield(p) {
				return
			}
		}
		for i := begin - 1; s.Descending && i >= 0 && yield(places[i]); i-- {
		}
	}
	matching := func(p place) bool {
		u := &users[p.user]
		return (s.Number == 0 || u.Extension.Number == s.Number) && (s.Email == "" || email != "" && pbx.FoldEmail(u.Email) == email) &&
			(s.Disabled == nil || u.Disabled == *s.Disabled) && (text == "" || strings.Contains(texts[p.user], text))
	}
	var last place
	for p := range rest {
		if !matching(p) {
			continue
		}
		if s.Limit > 0 && len(found.Users) == s.Limit {
			found.Next = last.Position
			break
		}
		found.Users, last = append(found.Users, users[p.user]), p
	}
	if s.Count {
		for _, p := range places {
			if matching(p) {
				found.Total++
			}
		}
	}
	return found, nil
}

// place is a user's place in an order.
type place struct {
	Position
	user int // the index in the list
}

func (p place) compare(other Position) int {
	return cmp.Or(cmp.Compare(p.Key, other.Key), cmp.Compare(p.Number, other.Number))
}

// views holds what Select computes of a list of users: folding and sorting ten thousand texts takes longer than finding a page of them.
type views struct {
	mu     sync.Mutex // guards the fields below
	users  []pbx.User
	texts  []string // what a text is searched in
	orders map[Order][]place
}

// of returns the places of an order, and, where they are needed, the texts of the users of a list.
func (v *views) of(users []pbx.User, order Order, withTexts bool) ([]place, []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.orders == nil || len(users) != len(v.users) || len(users) > 0 && &users[0] != &v.users[0] { // the store returns the same slice while nothing changes
		v.follow(users)
	}
	if withTexts && v.texts == nil {
		v.texts = make([]string, len(users))
		for i := range users {
			v.texts[i] = textOf(users[i])
		}
	}
	places, ok := v.orders[order]
	if !ok {
		places = make([]place, len(users))
		for i := range users {
			places[i] = placeOf(users, i, order)
		}
		slices.SortFunc(places, place.before)
		v.orders[order] = places
	}
	return places, v.texts
}

// follow takes over another list of users. It computes what is held of the users that are not in the list before, and moves the rest.
func (v *views) follow(users []pbx.User) {
	now := make([]int, len(v.users)) // the index of each user of the list before; -1 if it is not the same
	var others []int                 // the indices of the users that were not the same before
	old := 0
	for i := range users {
		for old < len(v.users) && v.users[old].Extension.Number < users[i].Extension.Number {
			now[old] = -1
			old++
		}
		if old < len(v.users) && v.users[old].ID == users[i].ID && v.users[old].Version == users[i].Version {
			now[old] = i
			old++
		} else {
			others = append(others, i)
		}
	}
	for ; old < len(v.users); old++ {
		now[old] = -1
	}
	next := views{users: users, orders: map[Order][]place{}}
	if v.texts != nil {
		next.texts = make([]string, len(users))
		for was, i := range now {
			if i >= 0 {
				next.texts[i] = v.texts[was]
			}
		}
		for _, i := range others {
			next.texts[i] = textOf(users[i])
		}
	}
	for order, places := range v.orders {
		added := make([]place, len(others))
		for n, i := range others {
			added[n] = placeOf(users, i, order)
		}
		slices.SortFunc(added, place.before)
		all := make([]place, 0, len(users))
		for _, p := range places {
			if p.user = now[p.user]; p.user < 0 {
				continue
			}
			for len(added) > 0 && added[0].before(p) < 0 {
				all, added = append(all, added[0]), added[1:]
			}
			all = append(all, p)
		}
		next.orders[order] = append(all, added...)
	}
	v.users, v.texts, v.orders = next.users, next.texts, next.orders
}

// before compares two places of an order.
func (p place) before(other place) int { return p.compare(other.Position) }

// placeOf returns the place of a user in an order.
func placeOf(users []pbx.User, i int, order Order) place {
	return place{Position{keyOf(users[i], order), users[i].Extension.Number}, i}
}

// textOf returns the text that is searched for a user.
func textOf(u pbx.User) string {
	return strings.Join([]string{pbx.Fold(u.Name), pbx.Fold(u.Email), fmt.Sprint(u.Extension.Number)}, "\n")
}

// keyOf returns a text that orders users by a field. Numbers need none: they order what is the same otherwise.
func keyOf(u pbx.User, order Order) string {
	const sortable = "2006-01-02T15:04:05.000000"
	switch order {
	case ByName:
		return pbx.Fold(u.Name)
	case ByEmail:
		return pbx.FoldEmail(u.Email)
	case ByCreated:
		return u.CreatedAt.UTC().Format(sortable)
	case ByUpdated:
		return u.UpdatedAt.UTC().Format(sortable)
	case ByNumber:
	}
	return ""
}
