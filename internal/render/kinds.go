package render

import (
	"slices"

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

// reading defines how things of one kind are read back and compared.
type reading struct {
	kind   pbx.ThingKind
	key    func(path, name string) (key string, ok bool)         // the thing that a section or extension belongs to; not ok: of another kind
	change func(from, to *piece) (change pbx.Change, found bool) // the change of one thing; nil: it does not exist
}

// readings returns the readings of all kinds. The last one is for things of unknown kinds, which a newer version wrote.
func readings() [2]reading {
	return [...]reading{
		{pbx.KindUser, userKey, userChange},
		{pbx.KindOther, func(_, name string) (string, bool) { return name, true }, otherChange},
	}
}

// ownerOf returns the thing that a section or an extension of a file belongs to.
func ownerOf(path, name string) pbx.Thing {
	for _, r := range readings() {
		if key, ok := r.key(path, name); ok {
			return pbx.Thing{Kind: r.kind, Key: key}
		}
	}
	return pbx.Thing{}
}

// otherChange returns the change of a thing of an unknown kind.
func otherChange(from, to *piece) (c pbx.Change, found bool) {
	switch {
	case from == nil:
		return pbx.Change{Kind: pbx.Added}, true
	case to == nil:
		return pbx.Change{Kind: pbx.Removed}, true
	}
	if !slices.EqualFunc(from.objects, to.objects, func(a, b object) bool { return a.typ == b.typ && a.id == b.id && slices.Equal(a.settings, b.settings) }) {
		c.What = append(c.What, "objects")
	}
	if !slices.Equal(from.steps, to.steps) {
		c.What = append(c.What, "dialplan")
	}
	c.Kind = pbx.Changed
	return c, c.What != nil
}
