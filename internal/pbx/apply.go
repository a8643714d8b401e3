package pbx

import "time"

// Outcome is how an apply ended.
type Outcome string

// The two outcomes an audit record can have.
const (
	Success Outcome = "success"
	Failure Outcome = "failure"
)

// CommandResult is what one command to Asterisk answered. ExitCode is 0 for every answer of a running Asterisk, also for a refusal:
// it proves nothing.
type CommandResult struct {
	ExitCode int // 1: Asterisk cannot be reached; -1: no answer within the time-out, or a broken one
	Stdout   string
	Stderr   string
}

// ReloadResults holds the answers to the two reload commands; nil where a command was not sent.
type ReloadResults struct {
	PJSIP    *CommandResult
	Dialplan *CommandResult
}

// Reload is what came of asking Asterisk to take the files.
type Reload struct {
	Results    ReloadResults // the answer of every command that was sent
	Understood bool          // false when an answer is not Asterisk's yes: an empty one, or that of a stand-in for its command, proves nothing
}

// ApplyLog is the audit record of one attempt to apply. It is written when the attempt starts, as a failure whose ErrorDetails say
// that it never ended, and completed when it ends: so also an attempt whose process died has one.
type ApplyLog struct {
	ID           RunID
	TriggeredAt  time.Time // UTC, microseconds
	TriggeredBy  string    // as the request says: a claim
	Actor        Actor     // who was proved to ask, without address and request; zero: it is not on record
	Outcome      Outcome
	ErrorDetails string // "" for a success
	FilesWritten []string
	Reload       ReloadResults
}

// Verification says whether the live Asterisk was seen to run what the files say.
type Verification string

// The three answers of a verification, and the one for an apply that did not come so far.
const (
	Confirmed    Verification = "confirmed"    // every object was compared, and is there
	Contradicted Verification = "contradicted" // Asterisk answered, and runs something else
	Inconclusive Verification = "inconclusive" // Asterisk gave no answer that can be compared
	NotVerified  Verification = "not_verified" // the apply ended before there was anything to ask
)

// Live is what a running Asterisk says it has loaded: the ids of its PJSIP objects, and the steps of our dialplan context.
type Live struct {
	Endpoints []string
	Auths     []string
	AORs      []string
	Steps     []Step
	Context   bool              // our dialplan context is there, with or without steps; asked where all its steps are
	Hashes    map[string]string // by type and id, "auth/1000": the name of the content of an object
	Host      []HostObject      // what is not the portal's and has a number of the pool; it is in none of the lists above
}

// Question is what a live Asterisk is asked about what it has loaded. Endpoints it always lists by their ids.
type Question struct {
	All      bool     // list auths and AORs as well
	Contents []string // the objects ("auth/1000") that shall name their content
	Exten    string   // list the steps of this extension alone; "": of the whole dialplan context
	Patient  bool     // nobody applies: whoever does comes first

	Ours map[Number]bool // numbers whose objects count as the portal's without its mark; those of all others are asked for it
}

// Step is one line of a dialplan context: what happens at one priority of one extension.
type Step struct {
	Exten    string
	Priority int // from 1
	App      string
	Args     string // as written between the parentheses
}

// Standing is how the files stand to Asterisk, as somebody saw it.
type Standing struct {
	Site  Site      // without contents
	Other string    // what Asterisk was seen to run instead of them when it was asked last; "" for nothing
	Err   error     // why they could not be looked at
	At    time.Time // when they were looked at; zero: never
}

// Health is the state of the parts the portal needs. Asterisk's state is told, but a portal without Asterisk is healthy: it can
// still manage users. What is "ok" was looked at, at the time that stands beside it; what is not known is not "ok".
type Health struct {
	Database error  // nil: it answers, and no write has failed since the last that succeeded
	Asterisk string // "ok", or a sentence that says what is wrong and what to do
	Version  string // of Asterisk, "" when unknown
	Audit    string // "ok", or a sentence that says what is wrong with the audit trail and what to do
	Key      string // "ok", or a sentence that says what is wrong with the key of the secrets and what to do
	Looked   Looked
}

// Looked tells when each part was looked at; zero: never.
type Looked struct{ Database, Asterisk, Audit, Key time.Time }
