package routing

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Sort is the order of a list.
type Sort string

// The orders. Items that are equal in them are ordered by their short number.
const (
	ByName   Sort = "name"   // ignoring case and accents
	ByNumber Sort = "number" // the number that is dialled
	ByShort  Sort = "short"  // the order of creation
)

// Query selects items of a kind. The zero Query selects all, by name.
type Query struct {
	Text       string    // part of the name or a number, ignoring case and accents
	Match      pbx.Facts // only items with these facts
	To         string    // only items that refer to the user or item with this id
	Sort       Sort      // "": ByName
	Descending bool
	After      Position // the Next of the page before, in the same order; the zero Position: from the beginning
	Limit      int      // maximum number of items; 0: all
}

// Page is one page of a list.
type Page struct {
	Items []pbx.Item // shared; callers must not modify them
	Next  Position   // the After of the next page; zero on the last
	Total int        // the number of items on all pages
}

// Position is the place of an item in an order. Items created or deleted meanwhile move no others to another page.
type Position struct {
	Key   string
	Short int // 0: before the first item, in either direction
}

// entry is an item with its place in a list.
type entry struct {
	item *pbx.Item
	at   Position
}

// All returns the tenant's items that calls lead to. The slice is shared, and the same one until an item changes; callers must not modify it.
func (r *Routing) All(ctx context.Context, tenant pbx.TenantID) ([]pbx.Item, error) {
	return r.store.Items(ctx, tenant)
}

// List returns the tenant's items of a kind that match the query. KindInvalid for an unknown order.
func (r *Routing) List(ctx context.Context, tenant pbx.TenantID, kind pbx.ThingKind, q Query) (Page, error) {
	q.Sort = cmp.Or(q.Sort, ByName)
	if !slices.Contains([]Sort{ByName, ByNumber, ByShort}, q.Sort) {
		return Page{}, pbx.Invalid(pbx.FieldError{Field: "sort", Code: pbx.FieldChoice, Message: "must be name, number or short"})
	}
	items, err := r.store.ItemsOf(ctx, tenant, kind)
	if err != nil {
		return Page{}, err
	}
	text := pbx.Fold(q.Text)
	var matching []entry
	for n := range items {
		if i := &items[n]; q.matches(i, text) {
			matching = append(matching, entry{i, q.position(i)})
		}
	}
	slices.SortFunc(matching, func(a, b entry) int { return q.compare(a.at, b.at) })
	page := Page{Items: []pbx.Item{}, Total: len(matching)}
	for n, e := range matching {
		if q.After.Short != 0 && q.compare(e.at, q.After) <= 0 {
			continue
		}
		page.Items = append(page.Items, *e.item)
		if len(page.Items) == q.Limit && n+1 < len(matching) {
			page.Next = e.at
			break
		}
	}
	return page, nil
}

// matches reports whether an item matches the query, with its text folded.
func (q Query) matches(i *pbx.Item, text string) bool {
	if text != "" && !strings.Contains(pbx.Fold(i.Name), text) &&
		!slices.ContainsFunc(i.Body.Claims(), func(c pbx.Claim) bool { return strings.Contains(c.Number, text) }) {
		return false
	}
	if q.To != "" && !slices.ContainsFunc(i.Body.References(), func(r pbx.Reference) bool { return r.To.ID == q.To }) {
		return false
	}
	if len(q.Match) == 0 {
		return true
	}
	facts := i.Facts()
	for name, value := range q.Match {
		if has, ok := facts[name]; !ok || has != value {
			return false
		}
	}
	return true
}

// position returns the place of an item in the order of the query.
func (q Query) position(i *pbx.Item) Position {
	p := Position{Short: i.Short}
	switch q.Sort {
	case ByName:
		p.Key = pbx.Fold(i.Name)
	case ByNumber:
		for _, c := range i.Body.Claims() {
			p.Key = cmp.Or(p.Key, c.Number)
		}
	case ByShort:
	}
	return p
}

// compare orders places as the query does. Numbers are compared by their length first.
func (q Query) compare(a, b Position) int {
	order := 0
	if q.Sort == ByNumber {
		order = cmp.Compare(len(a.Key), len(b.Key))
	}
	order = cmp.Or(order, cmp.Compare(a.Key, b.Key), cmp.Compare(a.Short, b.Short))
	if q.Descending {
		return -order
	}
	return order
}
