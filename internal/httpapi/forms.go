package httpapi

import (
	"encoding/json"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/live"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// The functions of this file return values in the form of the contract, for commands with --json.

// RootUserJSON returns a user in the form of the paths at the root, with the secret and whether the user is enabled.
func RootUserJSON(u pbx.User) json.RawMessage { return appendUserWith(nil, u, true) }

// RootUsersJSON returns a list of users, each as RootUserJSON does.
func RootUsersJSON(p directory.Page) json.RawMessage { return appendUserListWith(nil, p, true) }

// UserJSON returns a user without the secret. settings are those of the tenant, installation the call settings of the installation.
func UserJSON(u pbx.User, settings pbx.Settings, installation pbx.CallSettings) openapi.UserV1 {
	return newUserV1(u, settings, installation)
}

// UserWithSecretJSON returns a user with the secret.
func UserWithSecretJSON(u pbx.User) openapi.UserWithSecret { return newUserWithSecret(u) }

// DeletedUserJSON returns the response to the deletion of a user.
func DeletedUserJSON(u directory.Deleted) openapi.DeletedUser { return toDeletedUser(u) }

// RestoredUsersJSON returns what was changed to restore the users of a revision.
func RestoredUsersJSON(r directory.Restored) openapi.RestoredUsers { return toRestored(r) }

// SimulationJSON returns the result of a call that was followed through a revision, or, if that is 0, through the database.
func SimulationJSON(r callflow.Result, revision int) openapi.Simulation {
	v := toSimulation(r)
	v.Revision = unlessZero(revision)
	return v
}

// PlanJSON returns a plan.
func PlanJSON(p pbx.Plan) openapi.Plan { return toPlan(p) }

// DiffJSON returns the differences between two revisions.
func DiffJSON(from, to int, diffs []pbx.FileDiff) openapi.RevisionDiff {
	return openapi.RevisionDiff{Revision: to, Against: from, Diffs: toDiffs(diffs)}
}

// ApplyJSON returns what is recorded about an apply; the record of one that never began is empty.
func ApplyJSON(r pbx.Run) openapi.ApplyReport {
	l := toLog(r.Log)
	out := openapi.ApplyReport{
		AuditLogID: unlessZero(l.ID), TriggeredBy: unlessZero(l.TriggeredBy), Actor: l.Actor, Comment: unlessZero(r.Comment), Outcome: l.Outcome,
		Result: unlessZero(openapi.Result(r.Result)), Revision: unlessZero(r.Revision), Restored: unlessZero(r.Restored),
		Verification: unlessZero(openapi.Verification(r.Verification)), FilesWritten: l.FilesWritten, ReloadResults: l.ReloadResults, UsersApplied: r.Users,
		Plan: toPlan(r.Plan), Events: toEvents(r.Events), Code: unlessZero(r.Code), Error: l.ErrorDetails,
	}
	if !r.Log.TriggeredAt.IsZero() {
		out.TriggeredAt = &l.TriggeredAt
	}
	if len(r.Differences) > 0 {
		out.Differences = &r.Differences
	}
	return out
}

// ApplyLogJSON returns the record of an apply with its result.
func ApplyLogJSON(l pbx.ApplyLog, result pbx.Result) openapi.ApplyLogLine {
	v := toLog(l)
	return openapi.ApplyLogLine{
		ID: v.ID, TriggeredAt: v.TriggeredAt, TriggeredBy: v.TriggeredBy, Actor: v.Actor, Outcome: v.Outcome, ErrorDetails: v.ErrorDetails,
		FilesWritten: v.FilesWritten, ReloadResults: v.ReloadResults, Result: unlessZero(openapi.Result(result)),
	}
}

// AuditEventJSON returns an event of the audit trail.
func AuditEventJSON(e pbx.AuditEvent) openapi.AuditEvent { return toAuditEvent(e) }

// AccountJSON returns an account.
func AccountJSON(a pbx.Account) openapi.Account { return toAccount(a) }

// AccountsJSON returns a page of a list of accounts.
func AccountsJSON(accounts []pbx.Account, next pbx.AccountID) openapi.AccountList {
	return openapi.AccountList{Accounts: each(accounts, toAccount), NextCursor: (*string)(unlessZero(next))}
}

// TokenJSON returns an API token, which can be revoked.
func TokenJSON(t pbx.Token) openapi.Token {
	v := toToken(t)
	v.RevokedAt = timeOrNull(t.RevokedAt)
	return v
}

// TokensJSON returns a page of a list of API tokens.
func TokensJSON(tokens []pbx.Token, next pbx.TokenID) openapi.TokenList {
	return openapi.TokenList{Tokens: each(tokens, TokenJSON), NextCursor: (*string)(unlessZero(next))}
}

// RevokedTokenJSON returns a revoked token, with those that were created with it.
func RevokedTokenJSON(t pbx.Token, with []pbx.Token) openapi.RevokedToken {
	v := TokenJSON(t)
	return openapi.RevokedToken{
		ID: v.ID, Name: v.Name, Role: v.Role, Scopes: v.Scopes, CreatedAt: v.CreatedAt, CreatedBy: v.CreatedBy, MadeWith: v.MadeWith, ExpiresAt: v.ExpiresAt,
		LastUsedAt: v.LastUsedAt, RevokedAt: v.RevokedAt, RevokedWithIt: each(with, TokenJSON),
	}
}

// LiveJSON returns the state of Asterisk without what only a running portal knows: since when a phone is registered, and the history.
func LiveJSON(s live.Snapshot) openapi.LiveReport {
	v := toLive(s)
	out := openapi.LiveReport{Asterisk: v.Asterisk, Registrations: make([]openapi.RegisteredPhone, len(v.Registrations)), Calls: v.Calls, LeftOut: v.LeftOut}
	for i, r := range v.Registrations {
		out.Registrations[i] = openapi.RegisteredPhone{
			Number: r.Number, Device: r.Device, State: openapi.RegisteredPhoneState(r.State), Address: r.Address, UserAgent: r.UserAgent, RttMs: r.RttMs, ExpiresAt: r.ExpiresAt,
		}
	}
	return out
}

// each returns all values converted, [] for none.
func each[A, B any](all []A, to func(A) B) []B {
	out := make([]B, len(all))
	for i, v := range all {
		out[i] = to(v)
	}
	return out
}
