// Package render turns users into the exact bytes of the two files that Asterisk reads. It is pure: the same users give, in the same
// style, the same bytes, and nothing else goes in. No text of a user reaches a file except through encode (encode.go), and what was written is
// read back by parse (parse.go), our own reading of Asterisk's line rules: bytes that do not give exactly the objects meant are
// never handed out.
//
// It does not decide where files lie on a host, does not write them, and does not talk to Asterisk.
package render

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/synergycall/pbxportal/internal/pbx"
)

const header = `; Made by the PBX Control Portal. Changes made here by hand are lost: change the users in the portal, and apply.
`

// Config gives both files for these users, and their inventory. The users come ordered by extension number, as the store lists them. The
// error is a pbx.Error of KindApply that names the user whose data cannot be written so that Asterisk reads it as meant.
func Config(users []pbx.User) ([]pbx.File, Inventory, error) { return Style{}.Config(users) }

// Config does as the function of that name, in this style.
func (s Style) Config(users []pbx.User) ([]pbx.File, Inventory, error) {
	r, err := s.Next(Rendered{}, users)
	return r.Files, r.Inventory, err
}

// Rendered is a pair of files with what they hold.
type Rendered struct {
	Files     []pbx.File
	Inventory Inventory

	style Style
	parts []part
}

// part is what the PJSIP file says of one user.
type part struct {
	number   pbx.Number
	name     string
	secret   pbx.Secret
	from, to int // where it stands in the file
}

// Next gives what Config gives, and takes over from the pair before what it says of users who have not changed since.
func (s Style) Next(before Rendered, users []pbx.User) (Rendered, error) {
	if before.style != s {
		before = Rendered{}
	}
	now := Rendered{
		style: s, parts: make([]part, 0, len(users)),
		Inventory: Inventory{extensions: make(map[pbx.Number]extension, len(users))},
	}
	pjsip := make([]byte, 0, len(header)+userSize*len(users))
	pjsip = append(pjsip, header...)
	same, earlier := aor(), before.parts
	for _, u := range users {
		p := part{number: u.Extension.Number, name: u.Name, secret: u.Extension.Secret, from: len(pjsip)}
		for len(earlier) > 0 && earlier[0].number < p.number {
			earlier = earlier[1:]
		}
		var x extension
		if len(earlier) > 0 && earlier[0].says(p) {
			pjsip = append(pjsip, before.Files[0].Content[earlier[0].from:earlier[0].to]...)
			x = before.Inventory.extensions[p.number]
		} else {
			var err error
			x = extension{s.endpoint(u), s.auth(u), same}
			if pjsip, err = appendObjects(pjsip, p.number, x); err != nil {
				return Rendered{}, err
			}
		}
		p.to = len(pjsip)
		now.parts = append(now.parts, p)
		now.Inventory.extensions[p.number] = x
	}
	var dialplan []byte
	if before.sameNumbers(now) {
		dialplan, now.Inventory.steps = before.Files[1].Content, before.Inventory.steps
	} else {
		now.Inventory.steps = steps(users, s.ring())
		dialplan = writeDialplan(now.Inventory.steps)
		if err := readBackDialplan(dialplan, now.Inventory.steps); err != nil {
			return Rendered{}, err
		}
	}
	now.Files = []pbx.File{{Path: pbx.PJSIPPath, Content: pjsip}, {Path: pbx.DialplanPath, Content: dialplan}}
	return now, nil
}

// userSize is a little more than what the PJSIP file says of a usual user, in bytes.
const userSize = 800

// says reports whether the file says the same of two users.
func (p part) says(other part) bool {
	return p.number == other.number && p.name == other.name && p.secret == other.secret
}

// sameNumbers reports whether both pairs are of the same extensions; a pair of nothing is like no other.
func (r Rendered) sameNumbers(other Rendered) bool {
	return r.Files != nil && slices.EqualFunc(r.parts, other.parts, func(a, b part) bool { return a.number == b.number })
}

type setting struct{ key, value string }

// readBack reads what was written of one extension as Asterisk does, and compares with what was meant. It begins with a section and ends
// with a line, and entries remembers of the lines before nothing but that a section began: so a file of such texts, one behind the
// other, is read as their objects, one behind the other.
func readBack(text []byte, n pbx.Number, x extension) error {
	id := strconv.Itoa(int(n))
	objects := [][]setting{x.endpoint, x.auth, x.aor}
	began, settings := 0, 0 // objects that were read, and settings of the last
	notAsMeant := func() error {
		return refused(fmt.Sprintf("the %s of extension %d would not be read as meant", objects[max(began-1, 0)][0].value, n))
	}
	for e, err := range entries(text) {
		switch {
		case err != nil:
			return refused(fmt.Sprintf("what the PJSIP file says of extension %d would not be read as meant: %v", n, err))
		case e.section != "":
			if began > 0 && settings != len(objects[began-1]) || began == len(objects) || e.section != id {
				return notAsMeant()
			}
			began, settings = began+1, 0
		case settings == len(objects[began-1]) || objects[began-1][settings] != e.setting:
			return notAsMeant()
		default:
			settings++
		}
	}
	if began != len(objects) || settings != len(objects[began-1]) {
		return notAsMeant()
	}
	return nil
}

// readBackDialplan does so for the dialplan, as a whole.
func readBackDialplan(dialplan []byte, steps []pbx.Step) error {
	read, err := parseDialplan(dialplan)
	if err != nil {
		return refused("the dialplan file would not be read as meant: " + err.Error())
	}
	if !slices.Equal(read, steps) {
		return refused("the dialplan file would not be read as the steps meant")
	}
	return nil
}

func refused(msg string) error {
	return &pbx.Error{Kind: pbx.KindApply, Code: pbx.CodeRefused, Msg: msg + "; nothing was written, Asterisk runs what it ran before"}
}
