package pbx

import (
	"cmp"
	"fmt"
	"slices"
)

// KindExtension is the kind of a HostObject that is an extension of the dialplan. The other kinds are types of PJSIP objects, such as endpoint.
const KindExtension = "extension"

// KindReference is the kind of a HostObject that is no object, but a section that adds to, or inherits from, an object of a user. Asterisk rejects a file
// with such a section if the user is gone.
const KindReference = "reference"

// HostObject is an object of the Asterisk host that the portal did not write and whose name is that of a phone of a user, or would be: a PJSIP object, or an
// extension of the dialplan.
type HostObject struct {
	Kind    string // KindExtension, or the type of a PJSIP object
	Number  Number
	Suffix  int    `json:",omitempty"` // of the name of a further phone, as 2 in 1000-2; 0 if the name is the number
	Context string `json:",omitempty"` // the dialplan context of an extension
	File    string `json:",omitempty"` // where it is defined; "" if no file the portal can read defines it
	Line    int    `json:",omitempty"` // in File; 0 if unknown
}

// HostObjectOf returns a PJSIP object, or a reference, with a name; ok is false if the name is not that of a phone.
func HostObjectOf(kind, name string) (o HostObject, ok bool) {
	number, suffix, ok := ParseDeviceName(name)
	if suffix == FirstDevice {
		suffix = 0
	}
	return HostObject{Kind: kind, Number: number, Suffix: suffix}, ok
}

// Name returns the name of the object.
func (o HostObject) Name() string { return DeviceName(o.Number, o.Suffix) }

// Taken reports whether new users must not get the number: any PJSIP object has it, or an extension of the portal's own context.
func (o HostObject) Taken() bool {
	return o.Suffix == 0 && (o.Kind != KindExtension || o.Context == Context)
}

// Clashes reports whether Asterisk cannot load the object together with those of a phone with the same name.
func (o HostObject) Clashes() bool {
	switch o.Kind {
	case "endpoint", "auth", "aor":
		return true
	}
	return o.Kind == KindExtension && o.Context == Context
}

// Conflicts reports whether an apply makes Asterisk reject the object, or all of its file. phone states that a phone gets PJSIP objects with its name,
// dialled that the portal's context gets an extension for it.
func (o HostObject) Conflicts(phone, dialled bool) bool {
	switch o.Kind {
	case KindReference:
		return !phone
	case KindExtension:
		return dialled && o.Clashes()
	}
	return phone && o.Clashes()
}

// String returns the object with the place of its definition.
func (o HostObject) String() string {
	kind, name := o.Kind, o.Name()
	switch kind {
	case KindReference:
		name = "to [" + name + "], which no user has"
	case "aor":
		kind = "AOR"
	case KindExtension:
		name += " in context " + printable(o.Context)
	}
	switch text := printable(kind) + " " + name; {
	case o.File == "":
		return text + " (in the running Asterisk; no file that the portal can read defines it)"
	case o.Line == 0:
		return text + " (" + printable(o.File) + ")"
	default:
		return fmt.Sprintf("%s (%s, line %d)", text, printable(o.File), o.Line)
	}
}

// JoinHostObjects returns the objects in the files and in the running Asterisk, sorted by number. For an object in both it returns that of the
// files, which has a place.
func JoinHostObjects(files, running []HostObject) []HostObject {
	all := append(slices.Clone(files), OnlyRunning(files, running)...)
	slices.SortFunc(all, func(a, b HostObject) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Suffix, b.Suffix), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Context, b.Context), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return slices.Compact(all)
}

// OnlyRunning returns the objects of the running Asterisk that are not in the files.
func OnlyRunning(files, running []HostObject) (only []HostObject) {
	type name struct {
		kind, context, name string
	}
	known := make(map[name]bool, len(files))
	for _, o := range files {
		known[name{o.Kind, o.Context, o.Name()}] = true
	}
	for _, o := range running {
		if !known[name{o.Kind, o.Context, o.Name()}] {
			only = append(only, o)
		}
	}
	return only
}
