package pbx

import (
	"context"
	"time"
)

// AuditEvent is one entry of the audit trail: actor, action, object, time, origin and result. It is not an Event, which is a step of an apply.
type AuditEvent struct {
	Seq    int64     // its position in the chain, from 1 without a gap; 0 until it is stored
	At     time.Time // UTC, microseconds
	Actor  Actor
	Action string // object and verb, "user.create"; the constants below are those of the portal's core
	Object AuditObject
	Before Facts // before the change; nil if the object did not exist
	After  Facts // after the change; nil if the object does not exist
	Result AuditResult
}

// AuditObject is the object of an event, by its name at that time.
type AuditObject struct {
	Type string // user, apply, account, token, session, …
	ID   string
	Name string
}

// Facts are the properties of an object, by their names in the contract. They never contain a secret, only its fingerprint.
type Facts map[string]string

// AuditResult is the result of the action of an event.
type AuditResult string

// The results of an event.
const (
	AuditOK     AuditResult = "ok"
	AuditFailed AuditResult = "failed" // it was tried and failed
	AuditDenied AuditResult = "denied" // it was not permitted
)

// The actions of users and applies. An apply has two events: one before anything is changed, one when it has ended.
const (
	ActionUserCreate    = "user.create"
	ActionUserDelete    = "user.delete"
	ActionUserChange    = "user.change"    // with only the fields that differ
	ActionUserSecret    = "user.secret"    // a new one replaced the old one, which may be lost
	ActionUserLeave     = "user.leave"     // the user left the organisation: the events of what that changed follow
	ActionUserHandOver  = "user.hand_over" // the number was given to another user: the events of what that changed follow
	ActionUserReveal    = "user.reveal"    // the secret was shown to the actor
	ActionDeviceCreate  = "user.device_create"
	ActionDeviceChange  = "user.device_change"
	ActionDeviceSecret  = "user.device_secret" //nolint:gosec // it is no secret; as ActionUserSecret
	ActionDeviceReveal  = "user.device_reveal" // as ActionUserReveal
	ActionDeviceDelete  = "user.device_delete"
	ActionUserSwitch    = "user.switch" // in Asterisk, at once
	ActionApplyAdopt    = "apply.adopt" // the portal took over an existing host
	ActionApplyStarted  = "apply.started"
	ActionApplyRun      = "apply.run"      // the database was applied, or failed to be
	ActionApplyRestore  = "apply.restore"  // a revision was restored, or failed to be
	ActionApplyCatchUp  = "apply.catch_up" // Asterisk later loaded what it had not loaded at once
	ActionApplyComplete = "apply.complete" // the record of an interrupted apply was completed from the current files
)

// The actions of keys and the database. An action on a key is recorded before it is carried out.
const (
	ActionKeyUse    = "key.use"    // the first key of the installation
	ActionKeyRotate = "key.rotate" // a new key seals from here on
	ActionKeyReseal = "key.reseal" // everything was sealed with it, or decrypted if secrets are to be plaintext
	ActionKeyForget = "key.forget" // older keys were removed from the key file
	ActionKeyLost   = "key.lost"   // given up, with everything that it sealed
	ActionMigrate   = "database.migrate"

	ActionUsersAccept = "database.accept" // the users of a damaged database were accepted as they are
)

// ActionAuditBegin is the action of the audit trail itself: a series of signed heads begins. A trail that has one was signed before.
const ActionAuditBegin = "audit.begin"

// ActionAuditArchive records that the oldest events were exported to a file, to be removed.
const ActionAuditArchive = "audit.archive"

// NewAuditEvent returns an event of the actor in ctx, with the result ok.
func NewAuditEvent(ctx context.Context, at time.Time, action string, object AuditObject) AuditEvent {
	return AuditEvent{At: at.UTC().Truncate(time.Microsecond), Actor: ActorOf(ctx), Action: action, Object: object, Result: AuditOK}
}

// ItemEvent returns the audit event of a change to an item, by its facts before and after: nil before for a new item, nil after for a deleted one. The
// action is the kind of the item with create, change or delete. The event of a change has only the facts that differ.
func ItemEvent(ctx context.Context, at time.Time, i Item, before, after Facts) AuditEvent {
	verb := ".change"
	switch {
	case before == nil:
		verb = ".create"
	case after == nil:
		verb = ".delete"
		before["key"] = i.Key() // names the item in a plan that removes it from the files
	default:
		before, after = Differing(before, after)
	}
	e := NewAuditEvent(ctx, at, string(i.Kind)+verb, AuditObject{Type: string(i.Kind), ID: string(i.ID), Name: i.Name})
	e.Before, e.After = before, after
	return e
}

// Differing returns the facts that are not the same before and after, of each side; nil if all are.
func Differing(before, after Facts) (of, and Facts) {
	for _, side := range []struct {
		facts, other Facts
		into         *Facts
	}{{before, after, &of}, {after, before, &and}} {
		for name, value := range side.facts {
			if other, ok := side.other[name]; ok && other == value {
				continue
			}
			if *side.into == nil {
				*side.into = Facts{}
			}
			(*side.into)[name] = value
		}
	}
	return of, and
}
