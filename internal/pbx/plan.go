package pbx

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ChangeKind is the effect of an apply on a thing.
type ChangeKind string

// The kinds of change.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Change is one thing that an apply would add to Asterisk, remove from it, or change there.
type Change struct {
	Kind       ChangeKind
	Owner      Thing    `json:",omitzero"` // the thing; zero in records of older versions, which had only users
	Number     Number   // of a user; 0 for any other thing
	Was        Number   `json:",omitempty"` // the number of the user before; 0 if it stays: the phone must be set up with the new one
	Name       string   // of a user as shown on phones, of an item from the database; "" if it is not known
	What       []string // for Changed: the fields; of a user "number", "name", "secret", "phones", "enabled", "settings"
	Reregister bool     // the registered phone must register again, or no longer can
	Phones     []int    `json:",omitempty"` // the suffixes of further phones of which this holds
}

// Title returns what the change is of: the number of a user, or the kind and the key of another thing.
func (c Change) Title() string {
	if c.Number != 0 {
		return strconv.Itoa(int(c.Number))
	}
	return strings.TrimSpace(string(c.Owner.Kind) + " " + printable(c.Owner.Key)) // feature codes have no key
}

// EffectVerb is the action of an effect.
type EffectVerb string

// The verbs.
const (
	ForgetRegistration EffectVerb = "forget_registration" // deletes the registration of a phone that may no longer register, or no longer with the secret it used
	ClearSwitches      EffectVerb = "clear_switches"      // switches everything off that the user with a number had switched on, who is deleted
	MoveSwitches       EffectVerb = "move_switches"       // moves it to the number that the user has now
)

// Effect is a change that an apply makes in the running Asterisk besides the reload, once Asterisk was seen to run the new files.
type Effect struct {
	Verb       EffectVerb
	Number     Number // of the user
	Suffix     int    `json:",omitempty"` // of a further phone; 0 for the first
	To         Number `json:",omitempty"` // MoveSwitches: the number that the user has now
	Reversible bool   // restoring the previous revision undoes it
}

// EffectsOf returns the effects of these changes in the order in which they are carried out: by verb and phone, each once.
func EffectsOf(changes []Change) []Effect {
	var all []Effect
	for _, c := range changes {
		if c.Reregister && c.Number != 0 {
			all = append(all, Effect{Verb: ForgetRegistration, Number: cmp.Or(c.Was, c.Number)})
		}
		for _, suffix := range c.Phones {
			all = append(all, Effect{Verb: ForgetRegistration, Number: cmp.Or(c.Was, c.Number), Suffix: suffix})
		}
	}
	slices.SortFunc(all, func(a, b Effect) int {
		return cmp.Or(cmp.Compare(a.Verb, b.Verb), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Suffix, b.Suffix))
	})
	return slices.Compact(all)
}

// SwitchesAfter returns the switches of the numbers whose switches these effects move or clear, as they are then. They are computed as a whole, so that users can
// exchange their numbers. A forward to the number that the user gets would be to the user, and ends.
func SwitchesAfter(now map[Number]Switches, effects []Effect) map[Number]Switches {
	then := map[Number]Switches{}
	for _, e := range effects {
		if e.Verb == MoveSwitches || e.Verb == ClearSwitches {
			then[e.Number] = Switches{}
		}
	}
	for _, e := range effects {
		if e.Verb == MoveSwitches {
			then[e.To] = now[e.Number].without(strconv.Itoa(int(e.To)))
		}
	}
	return then
}

// RevisionUsers are the users that Asterisk has in a revision.
type RevisionUsers struct {
	Revision int
	At       time.Time                 // when the users were read from the database
	Secrets  map[Number]Secret         // by number; the zero Secret if the revision contains only the digest of one
	Phones   map[Number]map[int]Secret // of further phones, by suffix, in the same way
}

// DriftKind states what was found in place of what the portal wrote.
type DriftKind string

// The kinds of drift.
const (
	Edited   DriftKind = "edited"   // the content was changed by hand
	Replaced DriftKind = "replaced" // a file or another link is in the place of the portal's link
	Missing  DriftKind = "missing"  // nothing is there
	External DriftKind = "foreign"  // an external file is beside the portal's, where Asterisk reads it
	Unknown  DriftKind = "unknown"  // the files are of a revision unknown to the database: it was restored from a backup
)

// Drift is one external change of managed files.
type Drift struct {
	Kind DriftKind
	Path string
	Is   string `json:",omitempty"` // what is there but is not read, such as "a link to /etc/passwd"; "" for a file
}

// String describes the drift in a sentence.
func (d Drift) String() string {
	d.Path, d.Is = printable(d.Path), printable(d.Is) // file names are not under the portal's control
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
	case External:
		return d.Path + " is not the portal's, but Asterisk reads it together with the portal's files"
	case Unknown:
		return d.Path + " is in place, but is unknown to this database, which was restored from a backup or is another one"
	}
	return fmt.Sprintf("%s: %s", d.Path, string(d.Kind))
}

// printable returns a text as it is, or, if it contains control characters, quoted with these escaped.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return strconv.Quote(text)
	}
	return text
}

// Fix returns the remedy.
func (d Drift) Fix() string {
	switch d.Kind {
	case External:
		return "move it away"
	case Unknown:
		return "review the plan; an apply with force deploys this database to Asterisk"
	case Edited, Replaced, Missing:
	}
	return "review the plan; an apply with force saves the changed files and then overwrites them"
}

// FileDiff is the change of one file, as a unified diff without secrets.
type FileDiff struct {
	Path string
	Text string // "" if the file is unchanged
}

// Plan is what an apply would do now: the difference between the database, the files, and the live Asterisk. It is not stored but computed each
// time.
type Plan struct {
	Hash      string // identifies exactly this plan: the present state, and the planned one
	Revision  int    // the current revision; 0 before the first
	Users     int    // users in the database
	Items     int    `json:",omitempty"` // items in the database
	Pending   bool   // the database differs from the files
	Changes   []Change
	Diffs     []FileDiff
	Drift     []Drift
	Behaviour []string `json:",omitempty"` // how calls to items behave differently afterwards, a sentence each; the first ones of many
	Effects   []Effect `json:",omitempty"` // what the apply changes in Asterisk besides the reload, in order
	Behind    string   // why Asterisk does not run the configuration in the files, or cannot be queried; "" if it does

	SyncCode SyncCode  `json:",omitempty"` // the reason as a code
	AskedAt  time.Time `json:",omitzero"`  // when Asterisk was asked for Behind; zero: it has not answered

	WaitingSince time.Time `json:",omitzero"` // when the first change was made that Asterisk was not seen to run; zero: none is pending, or it is not known

	Host    []HostObject `json:",omitempty"` // objects of the host with numbers of the pool or of a user, except the portal's own
	Clashes []HostObject `json:",omitempty"` // those of Host that prevent an apply: a user or an item has the number
}

// UserChanges returns the changes of users.
func (p Plan) UserChanges() []Change {
	return slices.DeleteFunc(slices.Clone(p.Changes), func(c Change) bool { return c.Number == 0 })
}

// ThingChanges returns the changes of things other than users.
func (p Plan) ThingChanges() []Change {
	return slices.DeleteFunc(slices.Clone(p.Changes), func(c Change) bool { return c.Number != 0 })
}

// Summary returns what an apply changes as a text says it, by kind: "2 users added, 1 ring group changed"; "" for nothing.
func (p Plan) Summary() string {
	numbers := map[string]int{}
	for _, c := range p.Changes {
		kind := cmp.Or(c.Owner.Kind, KindUser)
		if kind != KindLibrary {
			numbers[string(c.Kind)+" "+words(kind)]++
		}
	}
	var parts []string
	for _, which := range slices.Sorted(maps.Keys(numbers)) {
		how, kind, _ := strings.Cut(which, " ")
		if numbers[which] > 1 {
			kind += "s"
		}
		text := fmt.Sprintf("%d %s %s", numbers[which], kind, how)
		parts = append(parts, strings.Replace(text, "1 "+words(KindCodes), words(KindCodes), 1)) // there is one set of them
	}
	return strings.Join(parts, ", ")
}

// Edited reports whether managed files were replaced or removed externally, so that an apply with force can overwrite them.
func (p Plan) Edited() bool {
	return slices.ContainsFunc(p.Drift, func(d Drift) bool { return d.Kind != External && d.Kind != Unknown })
}

// SyncCode is the code of the reason why Asterisk does not run the configuration in the files.
type SyncCode string

// The reasons.
const (
	NotSeen  SyncCode = "not_seen"  // it has not been seen to run the current revision yet
	NotAsked SyncCode = "not_asked" // it cannot be queried
	NotOurs  SyncCode = "not_ours"  // the current files are not the portal's
	Differs  SyncCode = "differs"   // it runs something else
)

// Users returns a number of users as text.
func Users(n int) string {
	if n == 1 {
		return "1 user"
	}
	return fmt.Sprintf("%d users", n)
}

// TheseUsers returns a phrase for that many users.
func TheseUsers(n int) string {
	switch n {
	case 0:
		return "no users at all"
	case 1:
		return "the 1 user of this revision"
	}
	return fmt.Sprintf("the %d users of this revision", n)
}

// Result is the code of the result of an apply.
type Result string

// The results of an apply.
const (
	Applied        Result = "applied"
	Unchanged      Result = "unchanged"       // there was nothing to do
	RolledBack     Result = "rolled_back"     // Asterisk did not accept it; the previous configuration runs again
	RollbackFailed Result = "rollback_failed" // Asterisk accepted neither it nor the previous configuration
	FilesAhead     Result = "files_ahead"     // the new files are in place, Asterisk has not loaded them yet
	NotConfirmed   Result = "not_confirmed"   // the files are in place, no command failed, but Asterisk was not seen to run them
	DryRun         Result = "dry_run"         // everything except writing was done
	Refused        Result = "refused"         // nothing was changed
	InDoubt        Result = "in_doubt"        // it is unknown which files are in place
	Interrupted    Result = "interrupted"     // its end was never recorded
)

// Event is one step of an apply.
type Event struct {
	Stage   string        // a code: plan, stage, flip, reload, verify, roll_back, …
	After   time.Duration // since the apply began
	Message string        // a sentence for people

	// The same for clients that translate: a code, its parameters, and quoted text.
	Code     EventCode `json:",omitempty"` // "" in records older than codes
	Revision int       `json:",omitempty"`
	Users    int       `json:",omitempty"`
	Detail   string    `json:",omitempty"` // as reported by Asterisk or the system
}

// EventCode is the code of a step of an apply.
type EventCode string

// The steps of an apply.
const (
	EventPlanned      EventCode = "planned"   // Users, against Revision
	EventStraying     EventCode = "straying"  // the files are right, but Asterisk does not run them: Detail
	EventReclaimed    EventCode = "reclaimed" // external changes were overwritten
	EventStaged       EventCode = "staged"    // Revision is written beside the files in place
	EventFlipped      EventCode = "flipped"   // Revision is in place
	EventDoubt        EventCode = "doubt"     // it is unknown whether it survives a power cut: Detail
	EventAsked        EventCode = "asked"     // Asterisk was sent the reload
	EventNotRead      EventCode = "not_read"  // it did not reload: Detail
	EventConfirmed    EventCode = "confirmed" // Asterisk runs exactly these Users
	EventContradicted EventCode = "contradicted"
	EventInconclusive EventCode = "inconclusive"
	EventNotNoted     EventCode = "not_noted" // that Asterisk runs the revision could not be recorded: Detail
	EventGoingBack    EventCode = "going_back"
	EventForgot       EventCode = "forgot"      // phones that may no longer register were removed: Detail has their numbers
	EventNotForgot    EventCode = "not_forgot"  // Asterisk did not remove them: Detail
	EventSwitches     EventCode = "switches"    // switches of users were moved to their new numbers, or cleared: Detail has the numbers
	EventNoSwitches   EventCode = "no_switches" // they could not be: Detail
	EventMended       EventCode = "mended"      // repaired after an earlier apply: Detail
	EventCompleted    EventCode = "completed"   // the record of an earlier apply
	EventLate         EventCode = "late"        // this record was completed later
	EventEnded        EventCode = "ended"       // successfully
	EventFailed       EventCode = "failed"      // Run.Code has the reason
)

// Run is an apply with all its details: its audit record, the revision it created, and its events.
type Run struct {
	Log            ApplyLog
	Revision       int // 0: it created none
	Result         Result
	Verification   Verification
	Comment        string
	IdempotencyKey string
	Asked          string // a hash of the request, if there is an idempotency key
	Code           string // of the error; "" for none
	Users          int
	Files          []File // the contents of the revision; nil if none was created, or in a list
	Plan           Plan
	Events         []Event
	Differences    []string // differences between Asterisk and the files
	Saved          []File   // hand edits before a forced apply replaced them
	Restored       int      // the revision that was restored; 0 if the database was applied
}

// Reclaimed reports whether external changes were overwritten, which persists whatever the result of the apply.
func (r Run) Reclaimed() bool {
	return slices.ContainsFunc(r.Events, func(e Event) bool { return e.Code == EventReclaimed })
}

// HostState is the state of the files of an Asterisk host.
type HostState struct {
	Current      int    // the current revision; 0 before the first
	LastVerified int    // the last revision that Asterisk was verified to run
	Doubted      bool   // Asterisk was asked to reload the current revision since, and was not seen to run it
	Next         int    // the lowest number for a new revision
	RunID        RunID  // of the apply that created the current revision
	Files        []File // the files that Asterisk reads
	Seen         []File // the files of the last verified revision
	Drift        []Drift
}

// Ahead reports whether the files are ahead of Asterisk: it was not seen to run the current revision.
func (s HostState) Ahead() bool { return s.Current != s.LastVerified || s.Doubted }
