package render

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// piece is the content of the files for one thing.
type piece struct {
	owner   pbx.Thing
	path    string // the file of its objects
	objects []object
	text    []byte // the objects in the syntax of the file; nil until they are written
	steps   []pbx.Step
}

// object is one PJSIP object. Its first setting is its type, its last one the hash of the others.
type object struct {
	typ, id  string
	settings []setting
}

type setting struct{ key, value string }

// equal reports whether two objects are the same.
func (o object) equal(other object) bool {
	return o.typ == other.typ && o.id == other.id && slices.Equal(o.settings, other.settings)
}

// find returns the settings of an object, nil if the piece lacks it, or is nil.
func (p *piece) find(typ, id string) []setting {
	if p != nil {
		for _, o := range p.objects {
			if o.typ == typ && o.id == id {
				return o.settings
			}
		}
	}
	return nil
}

// sharesObjects reports whether two pieces share the memory of their objects, because one was copied from the other.
func (p *piece) sharesObjects(other *piece) bool {
	return p != nil && other != nil && len(p.objects) == len(other.objects) && (len(p.objects) == 0 || &p.objects[0] == &other.objects[0])
}

// kind defines how things of one kind are written. S is their type in the portal; T is the part of it that the files depend on.
type kind[S, T any] struct {
	take  func(S) T
	order func(a, b T) int // by owner
	same  func(a, b T) bool
	piece func(T) piece
}

// layer holds the things of one kind and their pieces, both ordered by owner.
type layer[T any] struct {
	things []T
	pieces []piece

	// Compared with the layer it was made from:
	same      bool // every piece is the same
	sameSteps bool // every piece has the same steps
}

// next returns the layer of these things, which must be ordered by owner, and reuses the pieces of those that have not changed since before.
func (k kind[S, T]) next(before layer[T], things []S) layer[T] {
	unmoved := before.things != nil && len(things) == len(before.things)
	now := layer[T]{things: make([]T, 0, len(things)), pieces: make([]piece, 0, len(things)), same: unmoved, sameSteps: unmoved}
	i := 0
	for _, s := range things {
		t := k.take(s)
		now.things = append(now.things, t)
		for i < len(before.things) && k.order(before.things[i], t) < 0 {
			i++
		}
		known := i < len(before.things) && k.order(before.things[i], t) == 0
		if known && k.same(before.things[i], t) {
			now.pieces = append(now.pieces, before.pieces[i])
			continue
		}
		p := k.piece(t)
		if known && slices.Equal(p.steps, before.pieces[i].steps) {
			p.steps = before.pieces[i].steps
		} else {
			now.sameSteps = false
		}
		now.same = false
		now.pieces = append(now.pieces, p)
	}
	return now
}

// reading defines how things of one kind are compared.
type reading struct {
	kind   pbx.ThingKind
	change func(from, to *piece) (change pbx.Change, found bool) // the change of one thing; nil: it does not exist
}

// readings returns the readings of all kinds but those of items.
func readings() [4]reading {
	return [...]reading{
		{pbx.KindUser, userChange},
		{pbx.KindLibrary, otherChange},
		{pbx.KindCodes, otherChange},
		{pbx.KindOther, otherChange}, // written by a newer version
	}
}

// changeOf returns the change of one thing of a kind; nil: it does not exist.
func changeOf(kind pbx.ThingKind, from, to *piece) (change pbx.Change, found bool) {
	for _, r := range readings() {
		if r.kind == kind {
			return r.change(from, to)
		}
	}
	for _, k := range itemKinds() {
		if k.kind == kind {
			return k.change(from, to)
		}
	}
	return change, false
}

// maxRenumbered is the largest number of pairs of users that are compared by their secrets.
const maxRenumbered = 10_000

// JoinRenumbered returns changes in which the removal of a user's former number and the addition of the new one are one change. The user is recognised by the
// secret, which is random and stays. from and to are the inventories that the changes are between; users are those of to, with their secrets, which files with digests do not
// contain.
func JoinRenumbered(changes []pbx.Change, from, to Inventory, users []pbx.User) []pbx.Change {
	var left, arrived []int // at their numbers
	for i, c := range changes {
		another := slices.Contains(c.What, "secret") // it can be another user
		if c.Owner.Kind == pbx.KindUser && (c.Kind == pbx.Removed && c.Reregister || another) {
			left = append(left, i)
		}
		if c.Owner.Kind == pbx.KindUser && (c.Kind == pbx.Added || another) {
			arrived = append(arrived, i)
		}
	}
	if len(left)*len(arrived) > maxRenumbered || len(left) == 0 || len(arrived) == 0 {
		return changes
	}
	joined, moved := slices.Clone(changes), map[int]bool{}
	for _, a := range arrived {
		is := to.pieceOf(changes[a].Owner)
		secret := secretOf(is, users)
		for _, l := range left {
			was := from.pieceOf(changes[l].Owner)
			if moved[l] || l == a || !hasSecret(authOf(was), secret) {
				continue
			}
			what := []string{"number"}
			if shownName(is) != shownName(was) {
				what = append(what, "name")
			}
			if !slices.Equal(suffixes(was), suffixes(is)) {
				what = append(what, "phones")
			}
			c := &joined[a]
			c.Kind, c.Was, c.What, c.Reregister, c.Phones = pbx.Changed, changes[l].Number, what, true, suffixes(was)
			moved[l] = true
			break
		}
	}
	var all []pbx.Change
	for i, c := range joined {
		switch before := changes[i]; {
		case moved[i] && c.Kind == pbx.Removed:
			continue
		case moved[i] && c.Was == 0 && c.Kind == pbx.Changed: // another user has the number now
			c = pbx.Change{Kind: pbx.Added, Owner: c.Owner, Number: c.Number, Name: c.Name}
		case !moved[i] && c.Was != 0 && before.Kind == pbx.Changed: // whose former user has none
			was := from.pieceOf(c.Owner)
			all = append(all, pbx.Change{Kind: pbx.Removed, Owner: c.Owner, Number: c.Number, Name: shownName(was), Reregister: true, Phones: suffixes(was)})
		}
		all = append(all, c)
	}
	return all
}

// pieceOf returns the piece of a thing, nil if it has none.
func (inv Inventory) pieceOf(owner pbx.Thing) *piece {
	i, found := slices.BinarySearchFunc(inv.pieces, owner, func(p piece, owner pbx.Thing) int { return p.owner.Compare(owner) })
	if !found {
		return nil
	}
	return &inv.pieces[i]
}

// hasSecret reports whether the auth object of a user, with a password or digests, is of a secret; an empty one is not known, and has none.
func hasSecret(auth []setting, secret pbx.Secret) bool {
	return secret.Reveal() != "" && sameSecret(auth, passwordAuth(phone{secret: secret}, value(auth, "username")))
}

// secretOf returns the secret of a user's piece: from the files or, if they have none, from users, which are ordered by number.
func secretOf(p *piece, users []pbx.User) pbx.Secret {
	if password := value(p.find("auth", p.owner.Key), "password"); password != "" {
		return pbx.SecretFrom(password)
	}
	i, found := slices.BinarySearchFunc(users, number(p), func(u pbx.User, n pbx.Number) int { return cmp.Compare(u.Extension.Number, n) })
	if !found {
		return pbx.Secret{}
	}
	return users[i].Extension.Secret
}

// ownerOfObject returns the thing that a section of a PJSIP file belongs to, and the id of its objects: everything in the file of users is of a phone.
func ownerOfObject(path, section string) (owner pbx.Thing, id string, err error) {
	if path != pbx.PJSIPPath {
		return pbx.Thing{Kind: pbx.KindOther, Key: section}, section, nil
	}
	number, suffix := section, ""
	if at := len(section) - 2; at > 0 && section[at] == '-' && section[at+1] > '0'+pbx.FirstDevice && section[at+1] <= '0'+pbx.MaxDevices {
		number, suffix = section[:at], section[at:]
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return owner, "", errors.New("a section is not of an extension")
	}
	if len(number) > 1 && (number[0] == '0' || number[0] == '+') { // for the portal it is the same number
		number = strconv.Itoa(n)
	}
	return pbx.Thing{Kind: pbx.KindUser, Key: number}, number + suffix, nil
}

// ownerOfExten returns the thing that the extension with this first step belongs to. The extension of a number belongs to the thing that it leads to.
func ownerOfExten(path string, s pbx.Step) pbx.Thing {
	context, key, own := s.Context, s.Exten, path == pbx.DialplanPath
	if own && s.App == "Goto" && strings.HasPrefix(s.Args, "sc-") {
		context, key, _ = strings.Cut(strings.TrimSuffix(s.Args, ",1"), ",")
		own = false
	}
	if own || context == userContext || context == phonesContext || context == limitContext {
		return pbx.Thing{Kind: pbx.KindUser, Key: key}
	}
	if context == codesContext || context == hintsContext {
		return pbx.Thing{Kind: pbx.KindCodes}
	}
	for _, k := range itemKinds() {
		if k.context == context {
			return pbx.Thing{Kind: k.kind, Key: key}
		}
	}
	return pbx.Thing{Kind: pbx.KindOther, Key: key}
}

// otherChange returns the change of a thing of an unknown kind.
func otherChange(from, to *piece) (c pbx.Change, found bool) {
	switch {
	case from == nil:
		return pbx.Change{Kind: pbx.Added}, true
	case to == nil:
		return pbx.Change{Kind: pbx.Removed}, true
	}
	if !slices.EqualFunc(from.objects, to.objects, object.equal) {
		c.What = append(c.What, "objects")
	}
	if !slices.Equal(from.steps, to.steps) {
		c.What = append(c.What, "dialplan")
	}
	c.Kind = pbx.Changed
	return c, c.What != nil
}
