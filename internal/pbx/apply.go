package pbx

import (
	"slices"
	"time"
)

// Outcome is the outcome of an apply.
type Outcome string

// The two outcomes of an audit record.
const (
	Success Outcome = "success"
	Failure Outcome = "failure"
)

// CommandResult is the result of one command to Asterisk. ExitCode is 0 for every response of a running Asterisk, even an error: it proves nothing.
type CommandResult struct {
	ExitCode int // 1: Asterisk is unreachable; -1: no response within the time-out, or an incomplete one
	Stdout   string
	Stderr   string
}

// ReloadResults holds the results of the two reload commands; nil if a command was not sent.
type ReloadResults struct {
	PJSIP    *CommandResult
	Dialplan *CommandResult
}

// Reload is the result of reloading Asterisk.
type Reload struct {
	Results    ReloadResults // the results of all commands that were sent
	Understood bool          // false if a response is not Asterisk's confirmation: an empty one, or that of a wrapper around its command, proves nothing
}

// ApplyLog is the audit record of one apply. It is written when the apply starts, as a failure whose ErrorDetails say that it never ended, and
// completed when it ends: so an apply whose process died has one too.
type ApplyLog struct {
	ID           RunID
	TriggeredAt  time.Time // UTC, microseconds
	TriggeredBy  string    // as claimed by the request
	Actor        Actor     // the authenticated caller, without address and request; zero: not recorded
	Outcome      Outcome
	ErrorDetails string // "" for a success
	FilesWritten []string
	Reload       ReloadResults
}

// Verification states whether the live Asterisk was seen to run the configuration in the files.
type Verification string

// The three results of a verification, and NotVerified for an apply that ended before it.
const (
	Confirmed    Verification = "confirmed"    // every object was compared and is loaded
	Contradicted Verification = "contradicted" // Asterisk responded, and runs something else
	Inconclusive Verification = "inconclusive" // Asterisk gave no response that can be compared
	NotVerified  Verification = "not_verified" // the apply ended before the verification
)

// Live is what a running Asterisk has loaded of the portal's objects. What is not the portal's is not included, except as HostObject.
type Live struct {
	IDs      map[string][]string // the ids of PJSIP objects, by type
	Steps    []Step
	Contexts map[string][]string // the dialplan contexts that exist, with or without steps, and the contexts that each includes
	Hashes   map[string]string   // by type and id, "auth/1000": the content hash of an object
	Host     []HostObject        // external objects with an extension number
}

// LiveQuery is a query of what a live Asterisk has loaded. It names everything that is queried: an empty query proves nothing.
type LiveQuery struct {
	Types    []string // the types of PJSIP objects whose ids are listed
	Contents []string // the objects ("auth/1000") whose content hash is queried
	Contexts []string // the dialplan contexts that are listed, with all their steps and includes
	Extens   []string // the extensions ("1000@synergy-internal") whose steps are listed
	Patient  bool     // no apply is waiting for the result: an apply takes precedence

	Ours map[string]bool // the ids whose objects count as the portal's without its mark; those of other ids are queried for it
}

// WholeQuery returns a query that lists all objects that files of users have.
func WholeQuery() LiveQuery {
	return LiveQuery{Types: UserTypes(), Contexts: []string{Context}}
}

// IsEmpty reports whether the query asks for nothing.
func (q LiveQuery) IsEmpty() bool {
	return len(q.Types)+len(q.Contents)+len(q.Contexts)+len(q.Extens) == 0
}

// IsWhole reports whether the query lists all objects that files of users have, and so everything that can have a number of the pool.
func (q LiveQuery) IsWhole() bool {
	return slices.Contains(q.Contexts, Context) && !slices.ContainsFunc(UserTypes(), func(t string) bool { return !slices.Contains(q.Types, t) })
}

// Covers reports whether the query lists the step.
func (q LiveQuery) Covers(s Step) bool {
	return slices.Contains(q.Contexts, s.Context) || len(q.Extens) > 0 && slices.Contains(q.Extens, s.Place())
}

// HintPriority is the priority of a hint, as Asterisk numbers it.
const HintPriority = -1

// Step is one line of a dialplan context: the application at one priority of one extension. A hint has the priority HintPriority, the application
// "hint", and its devices as arguments.
type Step struct {
	Context  string
	Exten    string
	Priority int // from 1
	App      string
	Args     string // as written between the parentheses
}

// Place returns the extension of the step with its context: "1000@synergy-internal".
func (s Step) Place() string { return s.Exten + "@" + s.Context }

// Standing is the state of the files relative to Asterisk at a time.
type Standing struct {
	Site  HostState // without contents
	Other string    // what Asterisk ran instead of them at the last query; "" for nothing
	Err   error     // why they could not be checked
	At    time.Time // when they were checked; zero: never
}

// Health is the state of the parts the portal needs. Asterisk's state is reported, but a portal without Asterisk is healthy: it can still manage
// users. "ok" means that the part was checked, at the time beside it; an unknown state is not "ok".
type Health struct {
	Database error  // nil: it responds, and no write has failed since the last success
	Asterisk string // "ok", or a sentence with the problem and the remedy
	Version  string // of Asterisk, "" when unknown
	Audit    string // "ok", or a sentence with the problem of the audit trail and the remedy
	Key      string // "ok", or a sentence with the problem of the key and the remedy
	Looked   Looked
}

// Looked holds when each part was checked; zero: never.
type Looked struct{ Database, Asterisk, Audit, Key time.Time }
