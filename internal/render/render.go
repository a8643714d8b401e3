// Package render turns users into the exact bytes of the two files that Asterisk reads. It is pure: the same users give the same
// bytes, and nothing else goes in. No text of a user reaches a file except through encode (encode.go), and what was written is
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
	inventory := Inventory{make(map[pbx.Number]extension, len(users)), steps(users)}
	objects := make([]object, 0, 3*len(users))
	same := aor()
	for _, u := range users {
		x := extension{endpoint(u), s.auth(u), same}
		inventory.extensions[u.Extension.Number] = x
		for _, settings := range [][]setting{x.endpoint, x.auth, x.aor} {
			objects = append(objects, object{u.Extension.Number, settings})
		}
	}
	pjsip, err := writePJSIP(objects)
	if err != nil {
		return nil, Inventory{}, err
	}
	dialplan := writeDialplan(inventory.steps)
	if err := readBack(pjsip, objects, dialplan, inventory.steps); err != nil {
		return nil, Inventory{}, err
	}
	return []pbx.File{{Path: pbx.PJSIPPath, Content: pjsip}, {Path: pbx.DialplanPath, Content: dialplan}}, inventory, nil
}

// object is one PJSIP object as Asterisk shall read it: values are plain, not encoded.
type object struct {
	id       pbx.Number
	settings []setting // the first is the type
}

type setting struct{ key, value string }

// readBack reads the written files as Asterisk does, and compares with what was meant.
func readBack(pjsip []byte, objects []object, dialplan []byte, steps []pbx.Step) error {
	notAsMeant := func(o object) error {
		return refused(fmt.Sprintf("the %s of extension %d would not be read as meant", o.settings[0].value, o.id))
	}
	began, settings := 0, 0 // objects that were read, and settings of the last
	for e, err := range entries(pjsip) {
		switch {
		case err != nil:
			return refused("the PJSIP file would not be read as meant: " + err.Error())
		case e.section != "":
			if began > 0 && settings != len(objects[began-1].settings) {
				return notAsMeant(objects[began-1])
			}
			if began == len(objects) {
				return refused(fmt.Sprintf("the PJSIP file would be read as more objects than the %d that are meant", len(objects)))
			}
			if e.section != strconv.Itoa(int(objects[began].id)) {
				return notAsMeant(objects[began])
			}
			began, settings = began+1, 0
		default:
			o := objects[began-1]
			if settings == len(o.settings) || o.settings[settings] != e.setting {
				return notAsMeant(o)
			}
			settings++
		}
	}
	if began != len(objects) {
		return refused(fmt.Sprintf("the PJSIP file would be read as %d objects, meant are %d", began, len(objects)))
	}
	if began > 0 && settings != len(objects[began-1].settings) {
		return notAsMeant(objects[began-1])
	}
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
