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
func Config(users []pbx.User) ([]pbx.File, Inventory, error) {
	inventory := newInventory()
	inventory.steps = steps(users)
	objects := make([]object, 0, 3*len(users))
	for _, u := range users {
		for _, o := range []object{endpoint(u), auth(u), aor(u)} {
			objects = append(objects, o)
			inventory.add(o.id, o.settings)
		}
	}
	pjsip, err := writePJSIP(objects)
	if err != nil {
		return nil, newInventory(), err
	}
	dialplan := writeDialplan(inventory.steps)
	if err := readBack(pjsip, objects, dialplan, inventory.steps); err != nil {
		return nil, newInventory(), err
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
	sections, err := parse(pjsip)
	if err != nil {
		return refused("the PJSIP file would not be read as meant: " + err.Error())
	}
	if len(sections) != len(objects) {
		return refused(fmt.Sprintf("the PJSIP file would be read as %d objects, meant are %d", len(sections), len(objects)))
	}
	for i, o := range objects {
		if s := sections[i]; s.name != strconv.Itoa(int(o.id)) || !slices.Equal(s.settings, o.settings) {
			return refused(fmt.Sprintf("the %s of extension %d would not be read as meant", o.settings[0].value, o.id))
		}
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
