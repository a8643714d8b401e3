package pbx

import (
	"context"
	"time"
)

// AuditEvent is one entry of the audit trail: who did what to what, when and from where, and how it ended. It is not an Event, which
// is a step on the way of an apply.
type AuditEvent struct {
	Seq    int64     // its place in the chain, from 1 without a gap; 0 until it is stored
	At     time.Time // UTC, microseconds
	Actor  Actor
	Action string // object and verb, "user.create"; the constants below are those of the portal's core
	Object AuditObject
	Before Facts // what was; nil where there was nothing
	After  Facts // what is now; nil where nothing is
	Result AuditResult
}

// AuditObject is what an event is about, by the name it had at that time.
type AuditObject struct {
	Type string // user, apply, account, token, session, …
	ID   string
	Name string
}

// Facts are the properties of an object, by their names in the contract. No secret stands in them: of one there is a fingerprint.
type Facts map[string]string

// AuditResult is how what an event tells of ended.
type AuditResult string

// The results of an event.
const (
	AuditOK     AuditResult = "ok"
	AuditFailed AuditResult = "failed" // it was tried and did not work
	AuditDenied AuditResult = "denied" // it was not allowed
)

// The actions of users and applies. An apply has two events: one before anything is touched, one when it has ended.
const (
	ActionUserCreate    = "user.create"
	ActionUserDelete    = "user.delete"
	ActionUserSecret    = "user.secret" // a new one, in the place of one that nobody can read any more
	ActionUserReveal    = "user.reveal" // the secret was shown to the actor
	ActionApplyAdopt    = "apply.adopt" // a host was taken over on which the portal never was
	ActionApplyStarted  = "apply.started"
	ActionApplyRun      = "apply.run"      // the database was brought to Asterisk, or was not
	ActionApplyRestore  = "apply.restore"  // a revision was put live again, or was not
	ActionApplyCatchUp  = "apply.catch_up" // Asterisk took later what it had not taken at once
	ActionApplyComplete = "apply.complete" // the record of an interrupted apply was completed by what was in place
)

// The actions of keys and the database. What is done with a key is told before it is done.
const (
	ActionKeyUse    = "key.use"    // the first key of the installation
	ActionKeyRotate = "key.rotate" // another one seals from here on
	ActionKeyReseal = "key.reseal" // what lay otherwise was sealed with it, or opened where secrets are to lie open
	ActionKeyForget = "key.forget" // the older ones were taken out of the key file
	ActionKeyLost   = "key.lost"   // given up, with what was sealed with it
	ActionMigrate   = "database.migrate"

	ActionUsersAccept = "database.accept" // the users of a damaged database were taken as they stood
)

// ActionAuditBegin is the action of the audit trail itself: a series of signed heads begins. A trail that has one was signed before.
const ActionAuditBegin = "audit.begin"

// ActionAuditArchive tells that the oldest events were exported to a file, to be removed.
const ActionAuditArchive = "audit.archive"

// NewAuditEvent begins an event of the actor ctx works for, with the result ok.
func NewAuditEvent(ctx context.Context, at time.Time, action string, object AuditObject) AuditEvent {
	return AuditEvent{At: at.UTC().Truncate(time.Microsecond), Actor: ActorOf(ctx), Action: action, Object: object, Result: AuditOK}
}
