package pbx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ChangeKind is what an apply would do to a user.
type ChangeKind string

// The kinds of change.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Change is one user whom an apply would bring to Asterisk, take from it, or alter there.
type Change struct {
	Kind       ChangeKind
	Number     Number
	Name       string   // as phones show it; "" when the files do not say
	What       []string // for Changed: "name", "secret", "settings"
	Reregister bool     // the phone that is registered now must register again, or can no longer
}

// DriftKind says what was found in place of what the portal wrote.
type DriftKind string

// The kinds of drift.
const (
	Edited   DriftKind = "edited"   // the content was changed by hand
	Replaced DriftKind = "replaced" // a file or another link stands where our link was
	Missing  DriftKind = "missing"  // nothing stands there
	Foreign  DriftKind = "foreign"  // a file that is not ours lies beside ours, where Asterisk reads it
	Unknown  DriftKind = "unknown"  // the files are of a revision the database does not know: it was restored from a backup
)

// Drift is one thing that somebody else changed where only the portal writes.
type Drift struct {
	Kind DriftKind
	Path string
	Is   string `json:",omitempty"` // what lies there that is not read, such as "a link to /etc/passwd"; "" where it is a file
}

// String says in a sentence what was found.
func (d Drift) String() string {
	d.Path, d.Is = printable(d.Path), printable(d.Is) // others choose the names of files
	switch {
	case d.Kind == Edited && d.Is != "":
		return d.Path + " leads to " + d.Is + ", which is not read"
	case d.Kind == Replaced && d.Is != "":
		return d.Path + " was replaced by " + d.Is + ", which is not read"
	}
	switch d.Kind {
	case Edited:
		return d.Path + " was edited by hand"
	case Replaced:
		return d.Path + " was replaced by a file or link that is not the portal's"
	case Missing:
		return d.Path + " is missing"
	case Foreign:
		return d.Path + " is not the portal's, but Asterisk reads it together with the portal's files"
	case Unknown:
		return d.Path + " is in place, but this database knows nothing of it: it was restored from a backup, or is another one"
	}
	return fmt.Sprintf("%s: %s", d.Path, string(d.Kind))
}

// printable gives a text as it is, or quoted with its control characters escaped when it has any.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return strconv.Quote(text)
	}
	return text
}

// Cure says what to do about it.
func (d Drift) Cure() string {
	switch d.Kind {
	case Foreign:
		return "move it away"
	case Unknown:
		return "look at the plan; an apply with force makes Asterisk run what this database says"
	case Edited, Replaced, Missing:
	}
	return "look at the plan; an apply with force takes the files back, and saves first what stands there"
}

// FileDiff shows how one file would change, as a unified diff in which no secret stands.
type FileDiff struct {
	Path string
	Text string // "" when the file stays as it is
}

// Plan is what an apply would do now: the difference between the database, the files, and the live Asterisk. Nothing of it is stored;
// it is found out each time.
type Plan struct {
	Hash     string // names exactly this plan: of what is there, and of what would be there
	Revision int    // the revision in place; 0 before the first
	Users    int    // users of the database
	Pending  bool   // the database says something else than the files
	Changes  []Change
	Diffs    []FileDiff
	Drift    []Drift
	Behind   string // why Asterisk does not run what the files say, or cannot be asked; "" when it does

	BehindCode BehindCode `json:",omitempty"` // the same as a word

	Host    []HostObject `json:",omitempty"` // what the host has under numbers of the pool beside the portal's objects
	Clashes []HostObject `json:",omitempty"` // those of Host that keep an apply from succeeding: a user has the number
}

// Edited reports whether somebody put something in the place of our files, or took them away, so that they can be taken back.
func (p Plan) Edited() bool {
	return slices.ContainsFunc(p.Drift, func(d Drift) bool { return d.Kind != Foreign && d.Kind != Unknown })
}

// BehindCode is why Asterisk does not run what the files say, in a word.
type BehindCode string

// Why Asterisk does not run what the files say.
const (
	NotSeen  BehindCode = "not_seen"  // it was not yet seen to run the revision in place
	NotAsked BehindCode = "not_asked" // it cannot be asked
	NotOurs  BehindCode = "not_ours"  // the files in place are not the portal's
	Differs  BehindCode = "differs"   // it runs something else
)

// Users says how many users there are.
func Users(n int) string {
	if n == 1 {
		return "1 user"
	}
	return fmt.Sprintf("%d users", n)
}

// TheseUsers speaks of that many users.
func TheseUsers(n int) string {
	switch n {
	case 0:
		return "no users at all"
	case 1:
		return "this 1 user"
	}
	return "these " + Users(n)
}

// Result is how an apply ended, in a word.
type Result string

// The results of an apply.
const (
	Applied        Result = "applied"
	Unchanged      Result = "unchanged"       // there was nothing to do, and nothing was done
	RolledBack     Result = "rolled_back"     // Asterisk did not take it; what ran before runs again
	RollbackFailed Result = "rollback_failed" // Asterisk did not take it, nor the way back
	FilesAhead     Result = "files_ahead"     // the new files are in place, Asterisk has not taken them yet
	NotConfirmed   Result = "not_confirmed"   // the files are in place, no command failed, but Asterisk was not seen to run them
	DryRun         Result = "dry_run"         // everything but the writing was done
	Refused        Result = "refused"         // nothing was touched
	InDoubt        Result = "in_doubt"        // it could not be found out which files are in place
	Interrupted    Result = "interrupted"     // its end was never recorded
)

// Event is one thing that happened during an apply.
type Event struct {
	Stage   string        // a word: plan, stage, flip, reload, verify, roll_back, …
	After   time.Duration // since the apply began
	Message string        // a sentence for people

	// The same for whoever speaks another language: what happened as a word, what it was about, and what others said of it.
	Code     EventCode `json:",omitempty"` // "" in records that are older than codes
	Revision int       `json:",omitempty"`
	Users    int       `json:",omitempty"`
	Detail   string    `json:",omitempty"` // in the words of Asterisk or of the system
}

// EventCode is what happened during an apply, in a word.
type EventCode string

// What can happen during an apply.
const (
	EventPlanned      EventCode = "planned"   // Users, against Revision
	EventStraying     EventCode = "straying"  // the files are right, but Asterisk does not run them: Detail
	EventReclaimed    EventCode = "reclaimed" // what others changed was taken back
	EventStaged       EventCode = "staged"    // Revision is written beside the files in place
	EventFlipped      EventCode = "flipped"   // Revision is in place
	EventDoubt        EventCode = "doubt"     // whether it stays there is not known: Detail
	EventAsked        EventCode = "asked"     // Asterisk was asked to read the files
	EventNotRead      EventCode = "not_read"  // and did not: Detail
	EventConfirmed    EventCode = "confirmed" // Asterisk runs exactly these Users
	EventContradicted EventCode = "contradicted"
	EventInconclusive EventCode = "inconclusive"
	EventNotNoted     EventCode = "not_noted" // that Asterisk runs the revision could not be written down: Detail
	EventGoingBack    EventCode = "going_back"
	EventForgot       EventCode = "forgot"     // phones that may no longer register: Detail names their numbers
	EventNotForgot    EventCode = "not_forgot" // and Asterisk would not: Detail
	EventMended       EventCode = "mended"     // what an earlier apply left: Detail
	EventCompleted    EventCode = "completed"  // the record of an earlier apply
	EventLate         EventCode = "late"       // this record was completed later
	EventEnded        EventCode = "ended"      // well
	EventFailed       EventCode = "failed"     // Run.Code says how
)

// Run is an apply with all that is known of it: its audit record, the revision it made, and the story of how it went.
type Run struct {
	Log            ApplyLog
	Revision       int // 0: it made none
	Result         Result
	Verification   Verification
	Comment        string
	IdempotencyKey string
	Asked          string // a hash of all that was asked for, where there is a key
	Code           string // of the error, "" for none
	Users          int
	Files          []File // the bytes of the revision; nil where none was made, or where only a list was asked for
	Plan           Plan
	Events         []Event
	Differences    []string // what Asterisk ran otherwise than meant
	Saved          []File   // hand edits as they were before a forced apply replaced them
	Restored       int      // the revision that was put live again; 0 when the database was applied
}

// Reclaimed reports whether what others had changed was taken back, which stays so however the apply ended.
func (r Run) Reclaimed() bool {
	return slices.ContainsFunc(r.Events, func(e Event) bool { return e.Code == EventReclaimed })
}

// Site is how the files of an Asterisk host look.
type Site struct {
	Current int    // the revision in place; 0 before the first
	Good    int    // the last revision that Asterisk was seen to run
	Doubted bool   // since then Asterisk was told to read the revision in place again, and was not seen to run it
	Next    int    // the lowest number a new revision may have
	RunID   RunID  // of the apply that made the current revision
	Files   []File // what Asterisk reads now
	Seen    []File // the files of the good revision
	Drift   []Drift
}

// Ahead reports whether the files are ahead of Asterisk: it was not seen to run the revision in place.
func (s Site) Ahead() bool { return s.Current != s.Good || s.Doubted }
