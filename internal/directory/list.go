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
	Limit      int      // at least 1
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

// Select returns the tenant's users of a selection.
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
		return (s.Number == 0 || u.Extension.Number == s.Number) && (email == "" || pbx.FoldEmail(u.Email) == email) &&
			(s.Disabled == nil || u.Disabled == *s.Disabled) && (text == "" || strings.Contains(texts[p.user], text))
	}
	var last place
	for p := range rest {
		if !matching(p) {
			continue
		}
		if len(found.Users) == s.Limit {
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
		v.users, v.texts, v.orders = users, nil, map[Order][]place{}
	}
	if withTexts && v.texts == nil {
		v.texts = make([]string, len(users))
		for i, u := range users {
			v.texts[i] = strings.Join([]string{pbx.Fold(u.Name), pbx.Fold(u.Email), fmt.Sprint(u.Extension.Number)}, "\n")
		}
	}
	places, ok := v.orders[order]
	if !ok {
		places = make([]place, len(users))
		for i, u := range users {
			places[i] = place{Position{keyOf(u, order), u.Extension.Number}, i}
		}
		slices.SortFunc(places, func(a, b place) int { return a.compare(b.Position) })
		v.orders[order] = places
	}
	return places, v.texts
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
