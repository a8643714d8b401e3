package pbx

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ThingID identifies an item: a UUID in its canonical lower-case text form.
type ThingID string

// Meta is what items of all kinds have in common.
type Meta struct {
	ID        ThingID
	TenantID  TenantID
	Kind      ThingKind
	Short     int    // the number in its key in the files, 17 in g17; from 1, unique within the kind and never used again
	Name      string // 1–255 characters, trimmed, printable; unique within the kind without regard to case
	Version   int64  // from 1; every change adds 1
	CreatedAt time.Time
	UpdatedAt time.Time // UTC, microseconds, as CreatedAt
}

// Key returns the name of the item in the generated files.
func (m Meta) Key() string { return kindRow(m.Kind).prefix + strconv.Itoa(m.Short) }

// Item is a thing of any kind but a user: what all kinds have in common, and the body with what is special to its kind.
type Item struct {
	Meta
	Body Body
}

// Clean brings the name and the body into their normal form. It returns an Error of KindInvalid that names every invalid field.
func (i *Item) Clean() error {
	i.Name = Normalize(i.Name)
	fields := faults(textFault("name", i.Name, "give a name"))
	err := i.Body.Clean()
	if err != nil && KindOf(err) != KindInvalid {
		return err
	}
	return Invalid(append(fields, FieldsOf(err)...)...)
}

// Facts returns the facts of the item for the audit trail: those of its body, and its name and tenant.
func (i Item) Facts() Facts {
	facts := i.Body.Facts()
	facts["name"], facts["tenant_id"] = i.Name, string(i.TenantID)
	return facts
}

// Body is the part of an item that depends on its kind. A body is a pointer to a struct without secrets, whose JSON form is stored.
type Body interface {
	// Kind returns the kind of the item.
	Kind() ThingKind
	// Clean brings the fields into their normal form and sets defaults. It returns an Error of KindInvalid that names every invalid field.
	Clean() error
	// References returns what the fields refer to, ordered by field.
	References() []Reference
	// Claims returns the numbers that can be dialled to reach the item.
	Claims() []Claim
	// SetNumber sets the number of the claim with this field.
	SetNumber(field, number string)
	// Facts returns the fields for the audit trail and the plan, by their names in the contract.
	Facts() Facts
	// Replace returns a copy in which another user is in the place of one, unless the other is listed there already. If by is "", the copy no longer lists the user
	// as one of several; ok is false if a field needs the user, or nothing would be left.
	Replace(user, by UserID) (replaced Body, ok bool)
}

// Ref names what a field refers to: a user or an item, by its UUID.
type Ref struct {
	Kind ThingKind
	ID   string
}

// Reference is a Ref in a field of an item.
type Reference struct {
	Field   string // as in the contract; "members"
	Ordinal int    // the position in a list, from 0
	To      Ref
}

// CheckReferences returns the error, of KindInvalid, of references to what does not exist. Those in had exist.
func CheckReferences(references, had []Reference, exists func(Ref) (bool, error)) error {
	var fields []FieldError
	for _, to := range references {
		if slices.ContainsFunc(had, func(h Reference) bool { return h.To == to.To }) {
			continue
		}
		is, err := exists(to.To)
		if err != nil {
			return err
		}
		if !is && (fields == nil || fields[len(fields)-1].Field != to.Field) {
			fields = append(fields, FieldError{
				Field: to.Field, Code: FieldChoice, Message: fmt.Sprintf("there is no %s %q: list them to see which there are", words(to.To.Kind), to.To.ID),
			})
		}
	}
	return Invalid(fields...)
}

// Use is a field of an item or a user that refers to a user or another item.
type Use struct {
	Kind  ThingKind // of the item or the user, as its name and id
	Name  string
	Field string
	ID    ThingID
}

// Holder is who has a number: a user, an item, or the Asterisk host.
type Holder struct {
	Ref
	Name string
	Host string // the object of the host, with its place; "" for a user or an item
}

// has returns what a text says of the holder.
func (h Holder) has() string {
	if h.Host != "" {
		return "Asterisk's own configuration has it: " + h.Host
	}
	return fmt.Sprintf("the %s %q has it", words(h.Kind), h.Name)
}

// NumberTaken returns the error of a field whose number is taken.
func NumberTaken(field, number string, by Holder) *Error {
	return &Error{
		Kind: KindConflict, Code: CodeNumberTaken, Msg: "the number " + number + " is taken: " + by.has() + "; choose another number",
		Fields: []FieldError{{Field: field, Code: FieldTaken, Message: by.has() + "; choose another number"}},
	}
}

// NumberTakenSince returns the error of a user who cannot get a number back, as something else has it.
func NumberTakenSince(u User, by Holder) *Error {
	return &Error{
		Kind: KindConflict, Code: CodeNumberTaken,
		Msg: fmt.Sprintf("the number %d, which %q had, is taken: %s; nothing was changed: change or delete that first", u.Extension.Number, u.Name, by.has()),
	}
}

// NumberReserved returns the error of a field whose number is an emergency number.
func NumberReserved(field, number string) error {
	return Invalid(FieldError{Field: field, Code: FieldTaken, Message: number + " is an emergency number in the country of the organisation: choose another one"})
}

// UseText returns uses as a text says them, the first ones of many: `ring group "Sales" (members), and 2 more`.
func UseText(uses []Use) string {
	const most = 5
	var by []string
	for _, u := range uses[:min(most, len(uses))] {
		by = append(by, fmt.Sprintf("%s %q (%s)", words(u.Kind), u.Name, u.Field))
	}
	if more := len(uses) - most; more > 0 {
		by = append(by, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(by, ", ")
}

// InUse returns the error of a user or an item that cannot be deleted, as other items refer to it.
func InUse(kind ThingKind, name string, uses []Use) *Error {
	return &Error{
		Kind: KindConflict, Code: CodeInUse, Uses: uses,
		Msg: fmt.Sprintf("the %s %q is in use by %s; nothing was changed: change or delete these first", words(kind), name, UseText(uses)),
	}
}

// words returns a kind as a text says it.
func words(k ThingKind) string { return strings.ReplaceAll(string(k), "_", " ") }

// ChangedMeanwhile returns the error of a change to a user or an item that is no longer at the version that the caller read.
func ChangedMeanwhile(kind ThingKind) *Error {
	return &Error{
		Kind: KindConflict, Code: CodeChangedMeanwhile,
		Msg: "the " + words(kind) + " was changed since you read it; nothing was changed now: read it again, and repeat your change",
	}
}

// Claim is a number that can be dialled to reach an item.
type Claim struct {
	Field  string
	Number string // "": the lowest free number of the kind's pool
}

// Destination is where a call goes: to a user, to an item, or to its end.
type Destination struct {
	Kind ThingKind `json:"kind"`
	ID   string    `json:"id,omitempty"` // the UUID; "" for Hangup
}

// Hangup is the kind of the destination that ends the call.
const Hangup ThingKind = "hangup"

// replaceUser returns the destination with another user in the place of one; the zero Destination if by is "".
func (d Destination) replaceUser(user, by UserID) Destination {
	switch {
	case d.Kind != KindUser || d.ID != string(user):
		return d
	case by == "":
		return Destination{}
	}
	return Destination{KindUser, string(by)}
}

// kindOfThing is a kind of item.
type kindOfThing struct {
	kind   ThingKind
	prefix string // of its key in the generated files; "" if calls do not lead to it: its items are settings
	empty  func() Body
}

// kindsOfThings returns the table of kinds: a new kind adds its row here.
func kindsOfThings() []kindOfThing {
	return []kindOfThing{
		{KindRingGroup, "g", func() Body { return &RingGroup{} }},
		{KindOrganisation, "", func() Body { return &Organisation{} }},
		{KindPool, "", func() Body { return &Pool{} }},
	}
}

// Kinds returns the kinds of items that calls lead to, which are in the generated files.
func Kinds() []ThingKind { return kindsWhere(func(k kindOfThing) bool { return k.prefix != "" }) }

// SettingKinds returns the kinds of items that are settings.
func SettingKinds() []ThingKind {
	return kindsWhere(func(k kindOfThing) bool { return k.prefix == "" })
}

func kindsWhere(is func(kindOfThing) bool) (all []ThingKind) {
	for _, k := range kindsOfThings() {
		if is(k) {
			all = append(all, k.kind)
		}
	}
	return all
}

// IsSetting reports whether items of the kind are settings: calls do not lead to them.
func (k ThingKind) IsSetting() bool { return slices.Contains(SettingKinds(), k) }

// NewBody returns an empty body of a kind, nil for an unknown kind.
func NewBody(kind ThingKind) Body {
	if k := kindRow(kind); k.empty != nil {
		return k.empty()
	}
	return nil
}

// kindRow returns the row of a kind, the zero row for an unknown one.
func kindRow(kind ThingKind) kindOfThing {
	rows := kindsOfThings()
	i := slices.IndexFunc(rows, func(k kindOfThing) bool { return k.kind == kind })
	if i < 0 {
		return kindOfThing{}
	}
	return rows[i]
}

// Model is everything that is configured, as read from the database at one time.
type Model struct {
	Users  []User // ordered by number
	Items  []Item // that calls lead to, ordered by kind and Short
	Levels Levels // what users inherit
	Phones PhoneNetwork
}

// CompareItems orders items by kind and Short.
func CompareItems(a, b Item) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Short, b.Short))
}
