package render

import (
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Model returns the users and items that the files are about, as far as calls depend on them: without secrets. The files have neither ids nor the names of
// items: those are taken from another model, for things that are in both; a thing that is in the files alone has its key as its id. ok is false if an item
// does not have the form that this version writes.
func (inv Inventory) Model(other pbx.Model) (m pbx.Model, ok bool) {
	r := originals{make(map[string]*pbx.User, len(other.Users)), make(map[pbx.Thing]*pbx.Item, len(other.Items))}
	for i := range other.Users {
		r.users[strconv.Itoa(int(other.Users[i].Extension.Number))] = &other.Users[i]
	}
	for i := range other.Items {
		r.items[pbx.Thing{Kind: other.Items[i].Kind, Key: other.Items[i].Key()}] = &other.Items[i]
	}
	m.Users = make([]pbx.User, 0, len(other.Users)+1)
	for i := range inv.pieces {
		p := &inv.pieces[i]
		if isUser(p) {
			u := pbx.User{ID: pbx.UserID(p.owner.Key), Disabled: isDisabled(p), Extension: pbx.Extension{Number: number(p)}}
			for _, suffix := range suffixes(p) {
				u.Devices = append(u.Devices, pbx.Device{Suffix: suffix})
			}
			if d, ok := diallingOf(p); ok {
				u.Calls = d.settings(r)
			} else if slices.ContainsFunc(p.steps, func(s pbx.Step) bool { return s.Context == userContext && s.App == "Gosub" }) {
				return pbx.Model{}, false
			}
			if known := r.users[p.owner.Key]; known != nil {
				u.ID, u.Name = known.ID, known.Name
			} else {
				u.Name = shownName(p)
			}
			m.Users = append(m.Users, u)
			continue
		}
		for _, k := range itemKinds() {
			if step := k.step(p); p.owner.Kind == k.kind && step != nil {
				item, ok := k.read(p, step, r)
				if !ok {
					return pbx.Model{}, false
				}
				m.Items = append(m.Items, item)
			}
		}
	}
	slices.SortFunc(m.Items, pbx.CompareItems)
	return m, true
}

// read returns the item of a piece with this step; ok is false if it does not have the form that this version writes.
func (k itemKind) read(p *piece, step *pbx.Step, r originals) (item pbx.Item, ok bool) {
	args := k.arguments(step)
	if args == nil || !k.isKey(p.owner.Key) {
		return item, false
	}
	for i, f := range k.fields {
		if !f.valid(args[i]) {
			return item, false
		}
	}
	item = pbx.Item{Meta: pbx.Meta{ID: r.item(p.owner), Kind: k.kind}, Body: k.body(args, r)}
	item.Short, _ = strconv.Atoi(strings.TrimLeft(p.owner.Key, "abcdefghijklmnopqrstuvwxyz")) // isKey has checked it
	if known := r.items[p.owner]; known != nil {
		item.Name = known.Name
	}
	numbers := numbersOf(p)
	for i, c := range item.Body.Claims() {
		if i < len(numbers) {
			item.Body.SetNumber(c.Field, numbers[i])
		}
	}
	return item, true
}

// originals finds the things of a model that files are compared with, by what the files know.
type originals struct {
	users map[string]*pbx.User // by number
	items map[pbx.Thing]*pbx.Item
}

// user returns the id of the user with a number.
func (r originals) user(number string) pbx.UserID {
	if u := r.users[number]; u != nil {
		return u.ID
	}
	return pbx.UserID(number)
}

// item returns the id of an item.
func (r originals) item(t pbx.Thing) pbx.ThingID {
	if i := r.items[t]; i != nil {
		return i.ID
	}
	return pbx.ThingID(t.Key)
}

// destination returns a destination that the files have for the library.
func (r originals) destination(text string) pbx.Destination {
	context, exten, _ := strings.Cut(text, ".")
	switch context {
	case hangupContext:
		return pbx.Destination{Kind: pbx.Hangup}
	case userContext:
		return pbx.Destination{Kind: pbx.KindUser, ID: string(r.user(exten))}
	}
	kind := kindIn(context).kind
	return pbx.Destination{Kind: kind, ID: string(r.item(pbx.Thing{Kind: kind, Key: exten}))}
}
