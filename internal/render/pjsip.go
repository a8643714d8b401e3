package render

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// hashBytes is the length in bytes of the hash of an object's content.
const hashBytes = 6

// seal sets the last setting of an object, which must be its hash, to the hash of the others.
func seal(settings []setting) []setting {
	text := make([]byte, 0, 1024) // more than the settings of a typical object need
	last := len(settings) - 1
	for _, s := range settings[:last] {
		text = append(append(append(append(text, s.key...), '='), s.value...), '\n')
	}
	sum := sha256.Sum256(text)
	settings[last].value = hex.EncodeToString(sum[:hashBytes])
	return settings
}

// objectTypes returns the types of PJSIP objects that can be in a file.
func objectTypes(path string) []string {
	if path == pbx.PJSIPPath {
		return pbx.UserTypes()
	}
	return append(pbx.UserTypes(), "identify", "registration")
}

// pieceSize is a little more than the size of a typical user in a PJSIP file, in bytes.
const pieceSize = 800

// writePJSIP returns the PJSIP file at path with the objects of these pieces. The text of a piece that was written before is copied. The
// text of each piece then shares the memory of the returned file.
func writePJSIP(path string, pieces []piece) ([]byte, error) {
	file := make([]byte, 0, len(header)+pieceSize*len(pieces))
	file = append(file, header...)
	for i := range pieces {
		p := &pieces[i]
		if p.path != path {
			continue
		}
		if p.text != nil {
			file = append(file, p.text...)
			continue
		}
		from := len(file)
		var err error
		if file, err = appendObjects(file, p); err != nil {
			return nil, err
		}
		p.text = file[from:]
	}
	at := len(header)
	for i := range pieces {
		if p := &pieces[i]; p.path == path {
			p.text = slices.Clip(file[at : at+len(p.text)])
			at += len(p.text)
		}
	}
	return file, nil
}

// appendObjects appends the objects of a piece, in order, in the syntax of Asterisk's configuration files, and reads them back.
func appendObjects(file []byte, p *piece) ([]byte, error) {
	from := len(file)
	for _, o := range p.objects {
		file = append(append(append(file, "\n["...), o.id...), "]\n"...)
		for _, s := range o.settings {
			text, err := encode(s.value)
			if err != nil {
				fix := "Correct it"
				if p.owner.Kind == pbx.KindUser {
					fix = "Delete the user and create it again"
				}
				return nil, refused(fmt.Sprintf("the %s of %s cannot be written for Asterisk: it %v. %s", s.key, p.title(), err, fix))
			}
			file = append(append(append(append(file, s.key...), '='), text...), '\n')
		}
	}
	return file, readBack(file[from:], p)
}

// title returns the owner of a piece as text for messages.
func (p *piece) title() string {
	if p.owner.Kind == pbx.KindUser {
		return "extension " + p.owner.Key
	}
	return string(p.owner.Kind) + " " + p.owner.Key
}

// readBack reads the text of one piece as Asterisk does, and compares it with the objects of the piece. The text consists of whole sections, so the
// concatenation of such texts is read as the concatenation of their objects.
func readBack(text []byte, p *piece) error {
	began, settings := 0, 0 // number of objects read, and of settings of the last
	notAsMeant := func() error {
		return refused(fmt.Sprintf("the %s of %s would not be read as meant", p.objects[max(began-1, 0)].typ, p.title()))
	}
	for e, err := range entries(text) {
		switch {
		case err != nil:
			return refused(fmt.Sprintf("what the PJSIP file says of %s would not be read as meant: %v", p.title(), err))
		case e.section != "":
			if began > 0 && settings != len(p.objects[began-1].settings) || began == len(p.objects) || e.section != p.objects[began].id {
				return notAsMeant()
			}
			began, settings = began+1, 0
		case settings == len(p.objects[began-1].settings) || p.objects[began-1].settings[settings] != e.setting:
			return notAsMeant()
		default:
			settings++
		}
	}
	if began != len(p.objects) || settings != len(p.objects[began-1].settings) {
		return notAsMeant()
	}
	return nil
}

// readPJSIP returns the pieces of a PJSIP file, in order of owner.
func readPJSIP(path string, file []byte) ([]piece, error) {
	sections, err := parse(file)
	if err != nil {
		return nil, err
	}
	types := objectTypes(path)
	objects := make([]object, 0, len(sections))
	pieces := make([]piece, 0, len(sections)/3+1)
	first := 0 // index of the first object of the piece
	for _, s := range sections {
		owner, id, err := ownerOfObject(path, s.name)
		if err != nil {
			return nil, err
		}
		typ := value(s.settings, "type")
		switch {
		case slices.Contains(types, typ):
		case path == pbx.PJSIPPath:
			return nil, errors.New("a section is no endpoint, auth or AOR")
		default:
			return nil, errors.New("a section is of no type that the portal writes")
		}
		if len(pieces) == 0 || owner != pieces[len(pieces)-1].owner {
			first = len(objects)
			pieces = append(pieces, piece{owner: owner, path: path})
		}
		if again := slices.IndexFunc(objects[first:], func(o object) bool { return o.typ == typ && o.id == id }); again >= 0 {
			objects[first+again].settings = s.settings // Asterisk would accept neither
			continue
		}
		objects = append(objects, object{typ, id, s.settings})
		pieces[len(pieces)-1].objects = objects[first:len(objects):len(objects)]
	}
	return inOrder(pieces), nil
}
