// Package callflow follows calls through the configuration. Check finds destinations that are missing, circular, dead ends or unreachable; Simulate
// returns what happens to one call. Both are pure functions of the model. Simulate does what the generated dialplan does: a test compares the two on a
// live Asterisk.
package callflow

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Thing is a user or an item as it is shown.
type Thing struct {
	Kind   pbx.ThingKind
	ID     string
	Number string // "" for none
	Name   string
}

// String returns the number and the name.
func (t Thing) String() string { return strings.TrimSpace(t.Number + " " + t.Name) }

// kind is what following a call depends on for one kind of item.
type kind struct {
	// automatic are the fields whose destination a call goes on to by itself. Users in all other fields ring.
	automatic []string
	// enter follows the call through the item. It returns where the call goes next; ok is false if it has ended there.
	enter func(w *walk, item *pbx.Item) (next pbx.Destination, ok bool)
}

// kindOf returns the row of a kind in the table of kinds: a new kind adds its row here.
func kindOf(k pbx.ThingKind) kind {
	if k == pbx.KindRingGroup {
		return ringGroup()
	}
	return kind{enter: func(*walk, *pbx.Item) (pbx.Destination, bool) { return pbx.Destination{Kind: pbx.Hangup}, true }}
}

// index finds the things of a model by id.
type index struct {
	users  map[string]*pbx.User
	items  map[string]*pbx.Item
	levels pbx.Levels
}

func newIndex(m pbx.Model) index {
	x := index{make(map[string]*pbx.User, len(m.Users)), make(map[string]*pbx.Item, len(m.Items)), m.Levels}
	for i := range m.Items {
		x.items[string(m.Items[i].ID)] = &m.Items[i]
	}
	for i := range m.Users {
		x.users[string(m.Users[i].ID)] = &m.Users[i]
	}
	return x
}

// find returns the thing that is reached by dialling a number.
func find(m pbx.Model, number string) (pbx.Ref, bool) {
	if n, ok := pbx.ParseNumber(number); ok {
		if i := slices.IndexFunc(m.Users, func(u pbx.User) bool { return u.Extension.Number == n }); i >= 0 {
			return pbx.Ref{Kind: pbx.KindUser, ID: string(m.Users[i].ID)}, true
		}
	}
	for i := range m.Items {
		if slices.ContainsFunc(m.Items[i].Body.Claims(), func(c pbx.Claim) bool { return c.Number != "" && c.Number == number }) {
			return refOf(&m.Items[i]), true
		}
	}
	return pbx.Ref{}, false
}

// user returns a user, nil for none.
func (x index) user(r pbx.Ref) *pbx.User {
	if r.Kind != pbx.KindUser {
		return nil
	}
	return x.users[r.ID]
}

// item returns an item, nil for none.
func (x index) item(r pbx.Ref) *pbx.Item {
	if i := x.items[r.ID]; i != nil && i.Kind == r.Kind {
		return i
	}
	return nil
}

func (x index) exists(r pbx.Ref) bool { return x.user(r) != nil || x.item(r) != nil }

// thing returns how a user or an item is shown.
func (x index) thing(r pbx.Ref) Thing {
	t := Thing{Kind: r.Kind, ID: r.ID}
	if u := x.user(r); u != nil {
		return thingOf(u)
	}
	if i := x.item(r); i != nil {
		t.Name = i.Name
		for _, c := range i.Body.Claims() {
			t.Number = cmp.Or(t.Number, c.Number)
		}
	}
	return t
}

func thingOf(u *pbx.User) Thing {
	return Thing{pbx.KindUser, string(u.ID), strconv.Itoa(int(u.Extension.Number)), u.Name}
}

// list writes texts as English does: "a, b and c". From the seventh on it only counts them.
func list(texts []string) string {
	const most = 6
	switch n := len(texts); {
	case n > most:
		return strings.Join(texts[:most-1], ", ") + " and " + strconv.Itoa(n-most+1) + " others"
	case n > 1:
		return strings.Join(texts[:n-1], ", ") + " and " + texts[n-1]
	}
	return strings.Join(texts, "")
}

// names returns the things as a list in words.
func names(things []Thing) string {
	texts := make([]string, len(things))
	for i, t := range things {
		texts[i] = t.String()
	}
	return list(texts)
}
