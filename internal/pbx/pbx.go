// Package pbx is the domain model: users, extensions, accounts, roles and permissions, audit records, the state of a live Asterisk, errors, and the
// rules that need nothing but their input. It imports only the standard library and Unicode rules, and does no I/O: representations in JSON, SQL or
// Asterisk files belong to the packages for these formats.
package pbx

import (
	"cmp"
	"time"
)

// TenantID identifies a tenant: a UUID in its canonical lower-case text form.
type TenantID string

// UserID identifies a user: a UUID in its canonical lower-case text form.
type UserID string

// ExtensionID identifies an extension record (not the dialled number): a UUID in its canonical lower-case text form.
type ExtensionID string

// RunID identifies an apply run and its audit record: a UUID in its canonical lower-case text form.
type RunID string

// DefaultTenant is the tenant of an installation for one organisation; every database has its row.
const DefaultTenant TenantID = "a0000000-0000-0000-0000-000000000000"

// Context is the dialplan context of all generated extensions and endpoints.
const Context = "synergy-internal"

// ThingKind is a kind of thing that the portal configures, as the generated files distinguish it.
type ThingKind string

// The kinds of things.
const (
	KindUser    ThingKind = "user"          // a user; the key is the extension number
	KindLibrary ThingKind = "library"       // the routines that the dialplan of items calls; the key is their version
	KindCodes   ThingKind = "feature_codes" // what phones dial to change switches, and the hints that lamps follow
	KindOther   ThingKind = "other"         // of a kind that this version does not know: a newer one wrote the files; the key is the name in the files
)

// Thing identifies what a part of the generated files is about, by what the files know: the kind, and a number or short name.
type Thing struct {
	Kind ThingKind
	Key  string
}

// Compare orders things by kind, and by key so that g2 precedes g10.
func (t Thing) Compare(other Thing) int {
	return cmp.Or(cmp.Compare(t.Kind, other.Kind), cmp.Compare(len(t.Key), len(other.Key)), cmp.Compare(t.Key, other.Key))
}

// UserTypes returns the types of PJSIP objects that every user has.
func UserTypes() []string { return []string{"endpoint", "auth", "aor"} }

// HashAttribute is the attribute of a generated PJSIP object with the hash of its content. Asterisk ignores it and returns it in queries: it
// identifies the version of an object that a live Asterisk has loaded.
const HashAttribute = "@portal"

// User is a person with exactly one extension, and one or more phones.
type User struct {
	ID        UserID
	TenantID  TenantID
	Name      string // 1–255 characters, trimmed, printable
	Email     string // as the caller wrote it; unique without regard to case; "" if there is none
	Extension Extension
	Devices   []Device // the further phones, by suffix; shared, and must not be modified
	Disabled  bool     // the phones cannot register, and callers hear that it is unavailable; the number stays reserved
	Calls     CallSettings
	Version   int64     // from 1; every change makes it higher
	CreatedAt time.Time // UTC, microseconds
	UpdatedAt time.Time // of the last change; CreatedAt if there was none
}

// Extension is the number a user's phone registers as, with the secret it registers with.
type Extension struct {
	ID        ExtensionID
	Number    Number
	Secret    Secret
	CreatedAt time.Time // UTC, microseconds
}

// Number is a dialled extension number.
type Number int

// The range of extension numbers, both ends included.
const (
	MinNumber Number = 10
	MaxNumber Number = 999_999
)

// The number pool, both ends included: new users get its lowest free number.
const (
	FirstNumber Number = 1000
	LastNumber  Number = 1999
)

// PoolSize is the size of the number pool.
const PoolSize = int(LastNumber-FirstNumber) + 1

// InPool reports whether the number is one of the pool.
func (n Number) InPool() bool { return n >= FirstNumber && n <= LastNumber }

// File is one generated file: its path below Asterisk's configuration directory, and its exact content.
type File struct {
	Path    string // relative, with forward slashes
	Content []byte
}

// ContentOf returns the content of the file at a path, nil if there is none.
func ContentOf(files []File, path string) []byte {
	for _, f := range files {
		if f.Path == path {
			return f.Content
		}
	}
	return nil
}

// Module is an Asterisk module that reads its own configuration files and is reloaded separately.
type Module string

// The modules whose files the portal writes.
const (
	PJSIP    Module = "pjsip"
	Dialplan Module = "dialplan"
)

// GeneratedFile is a file that the portal writes below Asterisk's configuration directory, with the module that reads it.
type GeneratedFile struct {
	Path     string
	Module   Module
	Parent   string // the administrator's file that includes it
	Optional bool   // a revision may lack it: the files of users only do
}

// The generated files. The administrator's own pjsip.conf and extensions.conf include them.
const (
	PJSIPPath    = "pjsip.d/synergycall/generated_endpoints.conf"
	DialplanPath = "extensions.d/synergycall/generated_routing.conf"
	TrunksPath   = "pjsip.d/synergycall/generated_trunks.conf"
	CallflowPath = "extensions.d/synergycall/generated_callflow.conf"
	LibraryPath  = "extensions.d/synergycall/generated_library.conf"
)

// AllModules returns the modules whose files the portal writes.
func AllModules() []Module { return []Module{PJSIP, Dialplan} }

// GeneratedFiles returns all files that the portal writes, in their order in a revision. Apart from the revisions themselves it writes no others
// below Asterisk's configuration directory.
func GeneratedFiles() []GeneratedFile {
	return []GeneratedFile{
		{Path: PJSIPPath, Module: PJSIP, Parent: "pjsip.conf"},
		{Path: DialplanPath, Module: Dialplan, Parent: "extensions.conf"},
		{Path: TrunksPath, Module: PJSIP, Parent: "pjsip.conf", Optional: true},
		{Path: CallflowPath, Module: Dialplan, Parent: "extensions.conf", Optional: true},
		{Path: LibraryPath, Module: Dialplan, Parent: "extensions.conf", Optional: true},
	}
}

// ModuleOf returns the module that reads the generated file at a path, "" for another path.
func ModuleOf(path string) Module {
	for _, f := range GeneratedFiles() {
		if f.Path == path {
			return f.Module
		}
	}
	return ""
}
