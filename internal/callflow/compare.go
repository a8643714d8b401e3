package callflow

import (
	"slices"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Difference is how a call to an item ends up elsewhere after a change of the configuration.
type Difference struct {
	Thing Thing // as it is afterwards, or was if it is removed
	Key   string
	When  string // "" for a call that no user answers; otherwise the situation in which the two differ
	Was   string // "" for a new item
	Is    string // "" for a removed one
}

// String returns the difference as a sentence.
func (d Difference) String() string {
	who := d.Thing.String()
	if d.When != "" {
		who += ", " + d.When
	}
	switch {
	case d.Was == "":
		return who + " is new: " + d.Is + "."
	case d.Is == "":
		return who + " is removed; it was: " + d.Was + "."
	}
	return who + " was: " + d.Was + "; becomes: " + d.Is + "."
}

// Compare returns the items to which calls behave differently in another model because of the changes of some things, of which they go on to some. It
// returns at most a number of them. Items are the same if they have the same kind and Short; names do not matter. ringSeconds is how long the phone of a
// user rings who is called directly.
func Compare(before, after pbx.Model, touched []pbx.Thing, ringSeconds, most int) (all []Difference) {
	affected := affectedBy(touched, before, after)
	old, now := newIndex(before), newIndex(after)
	i, j := 0, 0
	for len(all) < most && (i < len(before.Items) || j < len(after.Items)) {
		var was, is *pbx.Item
		switch {
		case j == len(after.Items) || i < len(before.Items) && pbx.CompareItems(before.Items[i], after.Items[j]) < 0:
			was = &before.Items[i]
			i++
		case i == len(before.Items) || pbx.CompareItems(before.Items[i], after.Items[j]) > 0:
			is = &after.Items[j]
			j++
		default:
			was, is = &before.Items[i], &after.Items[j]
			i, j = i+1, j+1
		}
		if was != nil && !affected[ownerOf(was)] || is != nil && !affected[ownerOf(is)] {
			continue
		}
		d := Difference{}
		if was != nil {
			d.Thing, d.Key = old.thing(refOf(was)), was.Key()
		}
		if is != nil {
			d.Thing, d.Key = now.thing(refOf(is)), is.Key()
		}
		for _, situation := range []string{"", "while all users are in a call"} {
			var wasTaken, isTaken string
			if d.When = situation; was != nil {
				d.Was, wasTaken = old.outline(was, ringSeconds, situation != "")
			}
			if is != nil {
				d.Is, isTaken = now.outline(is, ringSeconds, situation != "")
			}
			if wasTaken != isTaken {
				all = append(all, d)
				break
			}
		}
	}
	return all
}

// ownerOf returns an item as the generated files name it.
func ownerOf(item *pbx.Item) pbx.Thing { return pbx.Thing{Kind: item.Kind, Key: item.Key()} }

// Affects reports whether a change of these things may change what happens to calls to items of a model.
func Affects(touched []pbx.Thing, m pbx.Model) bool {
	affected := affectedBy(touched, m)
	return slices.ContainsFunc(m.Items, func(i pbx.Item) bool { return affected[ownerOf(&i)] })
}

// affectedBy returns these things, and the items of the models that refer to them, directly or through others.
func affectedBy(touched []pbx.Thing, models ...pbx.Model) map[pbx.Thing]bool {
	affected, numbers := make(map[pbx.Thing]bool, len(touched)), map[pbx.Number]bool{}
	for _, t := range touched {
		affected[t] = true
		if n, ok := pbx.ParseNumber(t.Key); ok && t.Kind == pbx.KindUser {
			numbers[n] = true
		}
	}
	for _, m := range models {
		reached := map[pbx.Ref]bool{}
		for i := range m.Users {
			if numbers[m.Users[i].Extension.Number] {
				reached[pbx.Ref{Kind: pbx.KindUser, ID: string(m.Users[i].ID)}] = true
			}
		}
		for i := range m.Items {
			if item := &m.Items[i]; affected[ownerOf(item)] {
				reached[refOf(item)] = true
			}
		}
		for found := len(reached) > 0; found; { // as often as calls go on from item to item
			found = false
			for i := range m.Users {
				if u := &m.Users[i]; !reached[refOfUser(u)] && refersTo(reached, goesOn(m.Levels, u)) {
					reached[refOfUser(u)], found = true, true
				}
			}
			for i := range m.Items {
				item := &m.Items[i]
				if ref := refOf(item); !reached[ref] && refersTo(reached, item.Body.References()) {
					reached[ref], affected[ownerOf(item)], found = true, true, true
				}
			}
		}
	}
	return affected
}

// refersTo reports whether one of the references is to one of these.
func refersTo(these map[pbx.Ref]bool, references []pbx.Reference) bool {
	return slices.ContainsFunc(references, func(r pbx.Reference) bool { return these[r.To] })
}

// outline returns what happens to a call to an item that no user answers, in words and as Taken. With busy all users are in a call.
func (x index) outline(item *pbx.Item, ringSeconds int, busy bool) (text, taken string) {
	w := walk{index: x, request: Request{To: refOf(item), RingSeconds: ringSeconds}, calls: func(pbx.UserID) int {
		if busy {
			return pbx.MaxCallLimit
		}
		return 0
	}}
	w.follow()
	return strings.Join(w.clauses[1:], "; "), w.result.Taken
}
