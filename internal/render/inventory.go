package render

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Inventory is the content of a set of generated files: a piece for each thing, and the dialplan contexts.
type Inventory struct {
	pieces   []piece // in order of owner
	contexts []context
	steps    []pbx.Step // of all contexts, in the order of the files
	blocks   []block    // of the dialplan files that were written; none if they were read
}

// Read returns the inventory of files that this or another version generated. Files of another origin (an administrator's, the Python portal's) can be
// read if they have the same form; otherwise the inventory is empty, and the error is the reason. Nothing is read from files that are IsEmpty, such as
// those of a host before its first apply.
func Read(files []pbx.File) (Inventory, error) { return ReadAfter(nil, Inventory{}, files) }

// ReadAfter returns what Read returns. before are files that were read or written earlier, and there is their inventory: the objects of users, by far the
// most, are taken from it if their file is the same.
func ReadAfter(before []pbx.File, there Inventory, files []pbx.File) (Inventory, error) {
	var inv Inventory
	for _, f := range files {
		module := pbx.ModuleOf(f.Path)
		if module == "" || IsEmpty(f.Content) {
			continue
		}
		if was := pbx.ContentOf(before, f.Path); f.Path == pbx.PJSIPPath && was != nil && bytes.Equal(was, f.Content) {
			inv.pieces = merged(inv.pieces, there.objectsOf(f.Path))
			continue
		}
		pieces, err := inv.read(module, f)
		if err != nil {
			return Inventory{}, fmt.Errorf("%s: %w", f.Path, err)
		}
		inv.pieces = merged(inv.pieces, pieces)
	}
	return inv, nil
}

// objectsOf returns the pieces of the PJSIP file at path, without their steps.
func (inv Inventory) objectsOf(path string) []piece {
	pieces := make([]piece, 0, len(inv.pieces))
	for i := range inv.pieces {
		if p := &inv.pieces[i]; p.path == path {
			pieces = append(pieces, piece{owner: p.owner, path: path, objects: p.objects})
		}
	}
	return pieces
}

// read returns the pieces of one file, and adds its contexts and steps.
func (inv *Inventory) read(module pbx.Module, f pbx.File) ([]piece, error) {
	if module == pbx.PJSIP {
		return readPJSIP(f.Path, f.Content)
	}
	contexts, steps, err := parseDialplan(f.Path, f.Content)
	if err != nil {
		return nil, err
	}
	inv.contexts = append(inv.contexts, contexts...)
	if inv.steps == nil {
		inv.steps = steps
	} else {
		inv.steps = append(inv.steps, steps...)
	}
	return stepsByOwner(f.Path, steps), nil
}

// inOrder returns the pieces in order of owner, each owner once. Generated files have them in order, or, in a dialplan, in reverse order.
func inOrder(pieces []piece) []piece {
	rising, falling := true, true
	for i := 1; i < len(pieces) && (rising || falling); i++ {
		order := pieces[i-1].owner.Compare(pieces[i].owner)
		rising, falling = rising && order < 0, falling && order > 0
	}
	if rising {
		return pieces
	}
	if falling {
		slices.Reverse(pieces)
		return pieces
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return a.owner.Compare(b.owner) })
	var all []piece
	for i := range pieces {
		if last := len(all) - 1; i > 0 && all[last].owner == pieces[i].owner {
			all[last] = all[last].with(&pieces[i])
		} else {
			all = append(all, pieces[i])
		}
	}
	return all
}

// with returns a piece with the content of two pieces of one owner. An object of other replaces one with the same name.
func (p piece) with(other *piece) piece {
	if len(p.objects) == 0 {
		p.path, p.objects = other.path, other.objects
	} else if len(other.objects) > 0 {
		p.objects = slices.DeleteFunc(slices.Clone(p.objects), func(o object) bool { return other.find(o.typ, o.id) != nil })
		p.objects = append(p.objects, other.objects...)
	}
	if p.steps == nil {
		p.steps = other.steps
	} else {
		p.steps = slices.Concat(p.steps, other.steps)
	}
	return p
}

// pairs yields the pieces of two lists in pairs, in order of owner; nil if a list has no piece of the owner.
func pairs(from, to []piece) iter.Seq2[*piece, *piece] {
	return func(yield func(before, after *piece) bool) {
		for len(from) > 0 || len(to) > 0 {
			var before, after *piece
			order := 0
			switch {
			case len(to) == 0:
				order = -1
			case len(from) == 0:
				order = 1
			case from[0].owner != to[0].owner:
				order = from[0].owner.Compare(to[0].owner)
			}
			if order <= 0 {
				before, from = &from[0], from[1:]
			}
			if order >= 0 {
				after, to = &to[0], to[1:]
			}
			if !yield(before, after) {
				return
			}
		}
	}
}

// merged returns the pieces of two lists, each owner once.
func merged(a, b []piece) []piece {
	if len(a) == 0 || len(b) == 0 {
		return append(a, b...)
	}
	all := make([]piece, 0, max(len(a), len(b)))
	for one, other := range pairs(a, b) {
		switch {
		case other == nil:
			all = append(all, *one)
		case one == nil:
			all = append(all, *other)
		default:
			all = append(all, one.with(other))
		}
	}
	return all
}

// has reports whether something is in the file at path.
func (inv Inventory) has(path string) bool {
	return slices.ContainsFunc(inv.contexts, func(c context) bool { return c.path == path }) ||
		pbx.ModuleOf(path) == pbx.PJSIP && slices.ContainsFunc(inv.pieces, func(p piece) bool { return p.path == path })
}

// IsEmpty reports whether a file contains nothing but blank lines and comments.
func IsEmpty(file []byte) bool {
	for line := range strings.Lines(string(file)) {
		if line = trim(line); line != "" && line[0] != ';' {
			return false
		}
	}
	return true
}

// Numbers returns the extensions of users, in order.
func (inv Inventory) Numbers() []pbx.Number {
	var all []pbx.Number
	for i := range inv.pieces {
		if p := &inv.pieces[i]; p.owner.Kind == pbx.KindUser && (p.find("endpoint", p.owner.Key) != nil || isDisabled(p)) {
			all = append(all, number(p))
		}
	}
	return all
}

// Secrets returns the secret of each user by number, the zero Secret if the files do not contain it: only its digest, or nothing of a disabled user.
func (inv Inventory) Secrets() map[pbx.Number]pbx.Secret {
	all := map[pbx.Number]pbx.Secret{}
	for i := range inv.pieces {
		if p := &inv.pieces[i]; isUser(p) {
			all[number(p)] = pbx.SecretFrom(value(p.find("auth", p.owner.Key), "password"))
		}
	}
	return all
}

// PhoneSecrets returns the secrets of further phones by the number of their user and their suffix, as Secrets does those of first ones.
func (inv Inventory) PhoneSecrets() map[pbx.Number]map[int]pbx.Secret {
	all := map[pbx.Number]map[int]pbx.Secret{}
	for i := range inv.pieces {
		p := &inv.pieces[i]
		for _, suffix := range suffixes(p) {
			if all[number(p)] == nil {
				all[number(p)] = map[int]pbx.Secret{}
			}
			all[number(p)][suffix] = pbx.SecretFrom(value(p.find("auth", pbx.DeviceName(number(p), suffix)), "password"))
		}
	}
	return all
}

// Items returns the number of items.
func (inv Inventory) Items() (n int) {
	for i := range inv.pieces {
		p := &inv.pieces[i]
		for _, k := range itemKinds() {
			if p.owner.Kind == k.kind && k.step(p) != nil {
				n++
			}
		}
	}
	return n
}

// Dialled returns the numbers that the dialplan has extensions for.
func (inv Inventory) Dialled() map[pbx.Number]bool {
	all := make(map[pbx.Number]bool, len(inv.pieces))
	for i := range inv.steps {
		if s := &inv.steps[i]; s.Context == pbx.Context {
			if n, ok := pbx.ParseNumber(s.Exten); ok {
				all[n] = true
			}
		}
	}
	return all
}

// AddIDs adds the id of every object to all.
func (inv Inventory) AddIDs(all map[string]bool) {
	for i := range inv.pieces {
		last := ""
		for _, o := range inv.pieces[i].objects {
			if o.id != last { // most pieces have one
				last = o.id
				all[o.id] = true
			}
		}
	}
}

// AddTypes returns types, and in addition the types of the PJSIP objects in the inventory.
func (inv Inventory) AddTypes(types []string) []string {
	for i := range inv.pieces {
		for _, o := range inv.pieces[i].objects {
			if !slices.Contains(types, o.typ) {
				types = append(types, o.typ)
			}
		}
	}
	return types
}

// AddContexts returns names, and in addition the names of the dialplan contexts in the inventory.
func (inv Inventory) AddContexts(names []string) []string {
	for _, c := range inv.contexts {
		if !slices.Contains(names, c.name) {
			names = append(names, c.name)
		}
	}
	return names
}

// Size returns the number of PJSIP objects.
func (inv Inventory) Size() (n int) {
	for i := range inv.pieces {
		n += len(inv.pieces[i].objects)
	}
	return n
}

// Live returns what Asterisk has loaded after it has read these files.
func (inv Inventory) Live() pbx.Live {
	live := pbx.Live{
		IDs: map[string][]string{}, Steps: inv.steps, Contexts: inv.Includes(), Hashes: make(map[string]string, inv.Size()),
	}
	for i := range inv.pieces {
		for _, o := range inv.pieces[i].objects {
			ids := live.IDs[o.typ]
			if ids == nil {
				ids = make([]string, 0, len(inv.pieces))
			}
			live.IDs[o.typ] = append(ids, o.id)
			if hash := o.hash(); hash != "" {
				live.Hashes[o.name()] = hash
			}
		}
	}
	return live
}

// name returns the name of an object in a query: "auth/1000".
func (o object) name() string { return o.typ + "/" + o.id }

// hash returns the hash of the object's content, "" if it has none.
func (o object) hash() string {
	if last := len(o.settings) - 1; last >= 0 && o.settings[last].key == pbx.HashAttribute {
		return o.settings[last].value
	}
	return value(o.settings, pbx.HashAttribute)
}

// Changes returns the differences between two inventories, by owner.
func Changes(from, to Inventory) (changes []pbx.Change) {
	for before, after := range pairs(from.pieces, to.pieces) {
		owner := ownerOfPair(before, after)
		if change, found := changeOf(owner.Kind, before, after); found {
			change.Owner = owner
			changes = append(changes, change)
		}
	}
	return changes
}

func ownerOfPair(before, after *piece) pbx.Thing {
	if before != nil {
		return before.owner
	}
	return after.owner
}

// ChangedObjects returns the names ("auth/1000") of the objects that only one of the inventories has, or both with different content. hashed is false if an
// object of either has no hash: versions of it cannot be distinguished.
func ChangedObjects(from, to Inventory) (names []string, hashed bool) {
	hashed = true
	check := func(p *piece) {
		for i := range p.objects {
			hashed = hashed && p.objects[i].hash() != ""
		}
	}
	for before, after := range pairs(from.pieces, to.pieces) {
		if before.sharesObjects(after) {
			check(before)
			continue
		}
		if before != nil {
			check(before)
			for _, o := range before.objects {
				if (object{settings: after.find(o.typ, o.id)}).hash() != o.hash() {
					names = append(names, o.name())
				}
			}
		}
		if after != nil {
			check(after)
			for _, o := range after.objects {
				if before.find(o.typ, o.id) == nil && o.hash() != "" {
					names = append(names, o.name())
				}
			}
		}
	}
	slices.Sort(names)
	return names, hashed
}

// ChangedExtens returns the extensions of the dialplan ("1000@synergy-internal") that only one of the inventories has, or both with different steps.
func ChangedExtens(from, to Inventory) (places []string) {
	for before, after := range pairs(from.pieces, to.pieces) {
		var was, is []pbx.Step
		if before != nil {
			was = before.steps
		}
		if after != nil {
			is = after.steps
		}
		if slices.Equal(was, is) {
			continue
		}
		for _, s := range was {
			if !slices.Contains(is, s) {
				places = append(places, s.Place())
			}
		}
		for _, s := range is {
			if !slices.Contains(was, s) {
				places = append(places, s.Place())
			}
		}
	}
	slices.Sort(places)
	return slices.Compact(places)
}

// Last returns the names of the last object of each type in each PJSIP file.
func (inv Inventory) Last() (names []string) {
	type place struct{ path, typ string }
	var found []place
	wanted := 0
	for _, f := range pbx.GeneratedFiles() {
		if f.Module == pbx.PJSIP && inv.has(f.Path) {
			wanted += len(objectTypes(f.Path))
		}
	}
	for i := range slices.Backward(inv.pieces) {
		p := &inv.pieces[i]
		for _, o := range slices.Backward(p.objects) {
			if at := (place{p.path, o.typ}); !slices.Contains(found, at) {
				found = append(found, at)
				names = append(names, o.name())
			}
		}
		if len(found) == wanted {
			break
		}
	}
	slices.Sort(names)
	return names
}

// Includes returns the contexts of the dialplan, each with the contexts that it includes.
func (inv Inventory) Includes() map[string][]string {
	all := make(map[string][]string, len(inv.contexts))
	for _, c := range inv.contexts {
		all[c.name] = slices.Concat(all[c.name], c.includes)
	}
	return all
}

// LastExten returns the last extension of a context ("1000@synergy-internal"), "" if it has none, or one that cannot
// be queried by itself: a pattern or a feature code.
func (inv Inventory) LastExten(context string) string {
	for _, s := range slices.Backward(inv.steps) {
		if s.Context == context && !NoQuery(s.Exten) {
			return s.Place()
		}
		if s.Context == context {
			break
		}
	}
	return ""
}

// LooksAtSwitches reports whether calls to users follow their switches: users are objects.
func (inv Inventory) LooksAtSwitches() bool {
	return slices.ContainsFunc(inv.contexts, func(c context) bool { return c.name == userContext })
}

// NoQuery reports whether an extension, with or without its context, cannot be queried by itself: it is a pattern or a feature code.
func NoQuery(exten string) bool {
	return strings.HasPrefix(exten, "_") || strings.HasPrefix(exten, "*")
}

// value returns the value of a setting, "" when it is missing.
func value(settings []setting, key string) string {
	for _, s := range settings {
		if s.key == key {
			return s.value
		}
	}
	return ""
}
