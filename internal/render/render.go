// Package render turns users into the exact bytes of the two files that Asterisk reads. It is pure: the same users and options always give the same
// bytes. A text of a user reaches a file only through encode (encode.go), and what was written is read back by parse (parse.go), our own implementation
// of Asterisk's line rules: bytes that do not give exactly the intended objects are never returned.
//
// It does not know where files are stored on a host, does not write them, and does not talk to Asterisk.
package render

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/synergycall/pbxportal/internal/pbx"
)

const header = `; Made by the PBX Control Portal. Changes made here by hand are lost: change the users in the portal, and apply.
`

// Config returns both files for these users, and their inventory. The users must be ordered by extension number, as the store lists them. The error is a
// pbx.Error of KindApply that names the user whose data cannot be written so that Asterisk reads it as intended.
func Config(users []pbx.User) ([]pbx.File, Inventory, error) { return Options{}.Config(users) }

// Config is the function Config with these options.
func (s Options) Config(users []pbx.User) ([]pbx.File, Inventory, error) {
	r, err := s.Next(Rendered{}, users)
	return r.Files, r.Inventory, err
}

// Rendered is a pair of files with their contents.
type Rendered struct {
	Files     []pbx.File
	Inventory Inventory

	options  Options
	sections []userSection
}

// userSection is the section of the PJSIP file for one user.
type userSection struct {
	number   pbx.Number
	name     string
	secret   pbx.Secret
	from, to int // its position in the file
}

// Next returns what Config returns, and reuses the sections of users that have not changed since before.
func (s Options) Next(before Rendered, users []pbx.User) (Rendered, error) {
	if before.options != s {
		before = Rendered{}
	}
	now := Rendered{
		options: s, sections: make([]userSection, 0, len(users)),
		Inventory: Inventory{extensions: make(map[pbx.Number]extension, len(users))},
	}
	pjsip := make([]byte, 0, len(header)+userSize*len(users))
	pjsip = append(pjsip, header...)
	same, earlier := aor(), before.sections
	for _, u := range users {
		p := userSection{number: u.Extension.Number, name: u.Name, secret: u.Extension.Secret, from: len(pjsip)}
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
		now.sections = append(now.sections, p)
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

// userSize is a little more than the size of a usual user in the PJSIP file, in bytes.
const userSize = 800

// says reports whether the file has the same section for two users.
func (p userSection) says(other userSection) bool {
	return p.number == other.number && p.name == other.name && p.secret == other.secret
}

// sameNumbers reports whether both pairs are of the same extensions; an empty pair equals no other.
func (r Rendered) sameNumbers(other Rendered) bool {
	return r.Files != nil && slices.EqualFunc(r.sections, other.sections, func(a, b userSection) bool { return a.number == b.number })
}

type setting struct{ key, value string }

// readBack reads what was written for one extension as Asterisk does, and compares it with the intended objects. The text begins with a section and ends
// with a line, and entries keeps no state except that a section began: so the concatenation of such texts is read as the concatenation of their objects.
func readBack(text []byte, n pbx.Number, x extension) error {
	id := strconv.Itoa(int(n))
	objects := [][]setting{x.endpoint, x.auth, x.aor}
	began, settings := 0, 0 // number of objects read, and of settings of the last
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

// readBackDialplan does so for the dialplan as a whole.
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
