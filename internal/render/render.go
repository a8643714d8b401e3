// Package render converts users and items to the exact bytes of the files that Asterisk reads, and back. It is pure: the same model and options always result
// in the same bytes. Each kind of thing (user.go, item.go) defines its PJSIP objects and dialplan steps, and one writer per format (pjsip.go, dialplan.go)
// writes them. What items do during a call is in one constant file (library.conf). User text reaches a file only through encode (encode.go). Everything is read back by parse (parse.go), our own implementation of Asterisk's line
// rules: files that Asterisk would not read as exactly the intended objects are never returned.
//
// It does not know where files are stored on a host, does not write them, and does not talk to Asterisk.
package render

import (
	"slices"

	"github.com/synergycall/pbxportal/internal/pbx"
)

const header = `; Made by the PBX Control Portal. Changes made here by hand are lost: change the users in the portal, and apply.
`

// Config returns the files for these users, and their inventory. The users must be ordered by extension number, as the store lists them. The error is a
// pbx.Error of KindApply that names the thing whose data Asterisk would not read as intended.
func Config(users []pbx.User) ([]pbx.File, Inventory, error) { return Options{}.Config(users) }

// Config returns the files for these users with these options, like the function Config.
func (o Options) Config(users []pbx.User) ([]pbx.File, Inventory, error) {
	r, err := o.Next(Rendered{}, pbx.Model{Users: users})
	return r.Files, r.Inventory, err
}

// Rendered is a set of generated files with its inventory. Next reuses its unchanged parts.
type Rendered struct {
	Files     []pbx.File
	Inventory Inventory

	options Options
	users   layer[phone]
	items   layer[item]
}

// Next returns the files of a model. It reuses the pieces of things that are the same as in before. Without items, further phones, feature codes, and call
// settings that the dialplan depends on, the files are those of users: two, without the library.
func (o Options) Next(before Rendered, m pbx.Model) (Rendered, error) {
	o.phones = pbx.PhoneNetwork{Codecs: m.Phones.Codecs, SRTP: m.Phones.SRTP}
	if before.options != o || before.Files == nil {
		before = Rendered{}
	}
	room := 1
	if before.Files == nil {
		room = len(m.Users)
	}
	r := referencesOf(m)
	all, contexts, err := itemsOf(m, r)
	if err != nil {
		return Rendered{}, err
	}
	usual, own, err := o.callsIn(m, r)
	if err != nil {
		return Rendered{}, err
	}
	codes := o.featureCodes(m.Users)
	asObjects := len(all) > 0 || codes.steps != nil || slices.ContainsFunc(m.Users, func(u pbx.User) bool { return len(u.Devices) > 0 })
	withLimits := false
	need := func(c userCalls) {
		asObjects = asObjects || c.dialling != usualDialling(usual.seconds)
		withLimits = withLimits || c.limit > 0
	}
	for _, c := range own {
		need(c)
	}
	if len(own) < len(m.Users) {
		need(usual)
	}
	now := Rendered{options: o, users: o.users(room, asObjects, usual, own).next(before.users, m.Users), items: items().next(before.items, all)}
	if now.users.same && now.items.same {
		return before, nil
	}
	pieces, first := now.users.pieces, 0
	contexts = append(userContexts(asObjects, withLimits, codes.steps != nil), contexts...)
	if asObjects {
		libraryContexts, own, err := readLibrary()
		if err != nil {
			return Rendered{}, err
		}
		contexts = append(contexts, libraryContexts...)
		others := merged(now.items.pieces, []piece{own})
		if codes.steps != nil {
			others = merged(others, []piece{codes})
		}
		first = slices.IndexFunc(others, func(p piece) bool { return p.owner.Kind > pbx.KindUser })
		if first < 0 {
			first = len(others)
		}
		pieces = slices.Concat(others[:first], pieces, others[first:])
	}
	now.Files, now.Inventory, err = write(before, pieces, contexts, now.users.sameSteps && now.items.sameSteps)
	now.users.pieces = pieces[first : first+len(m.Users)] // they have their text now
	return now, err
}

// ownedBy returns the steps of the pieces of a kind.
func ownedBy(kind pbx.ThingKind, pieces []piece) (steps []pbx.Step) {
	for i := range pieces {
		if pieces[i].owner.Kind == kind {
			steps = append(steps, pieces[i].steps...)
		}
	}
	return steps
}

// write returns the files with these pieces, which must be ordered by owner, and these contexts. An optional file is included only if something is in it.
// sameSteps states that every piece has the same steps as in before, whose dialplan files are then reused.
func write(before Rendered, pieces []piece, contexts []context, sameSteps bool) (files []pbx.File, inv Inventory, err error) {
	sameSteps = sameSteps && slices.EqualFunc(contexts, before.Inventory.contexts, context.equal)
	inv = Inventory{pieces: pieces, contexts: contexts}
	if sameSteps {
		inv.steps, inv.blocks = before.Inventory.steps, before.Inventory.blocks
	} else {
		count := 0
		for i := range pieces {
			count += len(pieces[i].steps)
		}
		inv.steps = make([]pbx.Step, 0, count)
	}
	for _, f := range pbx.GeneratedFiles() {
		var text []byte
		switch {
		case f.Optional && !inv.has(f.Path):
			continue
		case f.Module == pbx.PJSIP:
			text, err = writePJSIP(f.Path, pieces)
		case sameSteps:
			text = pbx.ContentOf(before.Files, f.Path)
		default:
			text, err = inv.writeDialplan(f.Path, before.Inventory.blocks)
		}
		if err != nil {
			return nil, Inventory{}, err
		}
		files = append(files, pbx.File{Path: f.Path, Content: text})
	}
	return files, inv, nil
}

// refused returns the error for data that cannot be written as Asterisk would read it.
func refused(msg string) error {
	return &pbx.Error{Kind: pbx.KindApply, Code: pbx.CodeRefused, Msg: msg + "; nothing was written, Asterisk runs what it ran before"}
}
