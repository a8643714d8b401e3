// Package pbx holds the words of the program: users, extensions, accounts, roles and permissions, audit records, the state of a live
// Asterisk, errors, and the rules that need nothing but their input. It imports the standard library and the rules of Unicode only, and does no I/O: what a word
// looks like in JSON, SQL or an Asterisk file is the business of the package that speaks that language.
package pbx

import (
	"time"
)

// TenantID names a tenant: a UUID in its canonical lower-case text form.
type TenantID string

// UserID names a user: a UUID in its canonical lower-case text form.
type UserID string

// ExtensionID names an extension record (not the number that is dialled): a UUID in its canonical lower-case text form.
type ExtensionID string

// RunID names one attempt to apply, which is also the id of its audit record: a UUID in its canonical lower-case text form.
type RunID string

// DefaultTenant is the tenant of an installation that serves one organisation; every database holds its row.
const DefaultTenant TenantID = "a0000000-0000-0000-0000-000000000000"

// Context is the dialplan context in which every generated extension lives and from which every generated endpoint dials.
const Context = "synergy-internal"

// HashAttribute is the attribute of every generated PJSIP object that names its content. It means nothing to Asterisk, which hands it
// out again: so one can ask a live Asterisk which version of an object it has loaded.
const HashAttribute = "@portal"

// User is a person with exactly one extension.
type User struct {
	ID        UserID
	TenantID  TenantID
	Name      string // 1–255 characters, trimmed, printable
	Email     string // as the caller wrote it; unique without regard to case
	Extension Extension
	CreatedAt time.Time // UTC, microseconds
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

// The pool from which numbers are given out, both ends included.
const (
	FirstNumber Number = 1000
	LastNumber  Number = 1999
)

// PoolSize is how many numbers the pool holds.
const PoolSize = int(LastNumber-FirstNumber) + 1

// File is one generated file: where it lies below Asterisk's configuration directory, and its exact bytes.
type File struct {
	Path    string // relative, with forward slashes
	Content []byte
}

// ContentOf gives the bytes of the file at a path, nil when there is none.
func ContentOf(files []File, path string) []byte {
	for _, f := range files {
		if f.Path == path {
			return f.Content
		}
	}
	return nil
}

// Module is a part of Asterisk that reads configuration files of its own, and is reloaded by itself.
type Module string

// The modules whose files the portal writes.
const (
	PJSIP    Module = "pjsip"
	Dialplan Module = "dialplan"
)

// GeneratedFile is a file that the portal writes below Asterisk's configuration directory, and the module that reads it.
type GeneratedFile struct {
	Path     string
	Module   Module
	Optional bool // a revision may lack it
}

// The files that every revision has. The administrator's own pjsip.conf and extensions.conf include them.
const (
	PJSIPPath    = "pjsip.d/synergycall/generated_endpoints.conf"
	DialplanPath = "extensions.d/synergycall/generated_routing.conf"
)

// AllModules returns the modules whose files the portal writes.
func AllModules() []Module { return []Module{PJSIP, Dialplan} }

// GeneratedFiles returns all files that the portal writes, in the order in which a revision has them. It writes no other below Asterisk's
// configuration directory but for the revisions themselves.
func GeneratedFiles() []GeneratedFile {
	return []GeneratedFile{{Path: PJSIPPath, Module: PJSIP}, {Path: DialplanPath, Module: Dialplan}}
}
