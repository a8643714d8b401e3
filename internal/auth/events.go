package auth

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Actions of accounts, sessions and tokens in the audit trail. Using a session or token is not recorded.
const (
	ActionSignIn        = "session.sign_in"
	ActionSignInFailed  = "session.sign_in_failed"
	ActionSignOut       = "session.sign_out"
	ActionSessionEnd    = "session.end"
	ActionConfirmFailed = "session.confirm_failed" // a signed-in user gave a wrong password
	ActionAccountCreate = "account.create"
	ActionAccountUpdate = "account.update"
	ActionAccountDelete = "account.delete"
	ActionAccountReset  = "account.reset"
	ActionPassword      = "account.password" // set by the user, signed in or with a link
	ActionTOTPOn        = "account.totp_on"
	ActionTOTPOff       = "account.totp_off"
	ActionTOTPClock     = "account.totp_clock"   // the last code on record lies in the future: it is ignored
	ActionTOTPLost      = "account.totp_lost"    // its key is lost: recovery codes remain
	ActionLink          = "account.link"         // the first sign-in with a provider identity links it to the account
	ActionUnlink        = "account.unlink"       // the account has no provider identity any more
	ActionLinkOther     = "account.link_refused" // another provider identity came with the address of the account
	ActionTokenCreate   = "token.create"
	ActionTokenRevoke   = "token.revoke"

	ActionRevokeAll = "access.revoke_all" // all sessions, links and tokens, as after restoring a backup
	ActionLinkSetup = "link.setup"        // a link that creates the first account, issued at server start or at the command line

	ActionRequestRefused = "request.refused" // a signed-in caller lacks the permission for a request
	ActionLinkRefused    = "link.refused"    // an invalid set-up or password code
)

// note appends an audit event of the actor in ctx, in the transaction of the change.
func (a *Auth) note(ctx context.Context, tx *store.Tx, action string, object pbx.AuditObject, before, after pbx.Facts) error {
	e := pbx.NewAuditEvent(ctx, a.now(), action, object)
	e.Before, e.After = changes(before, after)
	return tx.AppendEvent(ctx, e)
}

// changes reduces two sets of facts to their differences.
func changes(before, after pbx.Facts) (pbx.Facts, pbx.Facts) {
	if before == nil || after == nil {
		return before, after
	}
	was, is := maps.Clone(before), maps.Clone(after)
	maps.DeleteFunc(was, func(fact, value string) bool { return after[fact] == value })
	maps.DeleteFunc(is, func(fact, value string) bool { return before[fact] == value })
	return was, is
}

// byPerson returns a context whose actor is the newly authenticated user.
func byPerson(ctx context.Context, account pbx.Account) context.Context {
	was := pbx.ActorOf(ctx)
	return pbx.WithActor(ctx, pbx.Actor{Kind: pbx.ActorPerson, ID: string(account.ID), Name: account.Name, From: was.From, RequestID: was.RequestID})
}

func accountObject(a pbx.Account) pbx.AuditObject {
	return pbx.AuditObject{Type: "account", ID: string(a.ID), Name: a.Name}
}

func accountFacts(a pbx.Account) pbx.Facts {
	return pbx.Facts{
		"name": a.Name, "email": a.Email, "role": string(a.Role), "disabled": strconv.FormatBool(a.Disabled),
		"invited": strconv.FormatBool(a.Invited), "totp_enabled": strconv.FormatBool(a.TOTP),
	}
}

func identityFacts(i pbx.Identity) pbx.Facts {
	return pbx.Facts{"issuer": i.Issuer, "subject": i.Subject}
}

func sessionObject(s pbx.SessionID, a pbx.Account) pbx.AuditObject {
	return pbx.AuditObject{Type: "session", ID: string(s), Name: a.Name}
}

func tokenObject(t pbx.Token) pbx.AuditObject {
	return pbx.AuditObject{Type: "token", ID: string(t.ID), Name: t.Name}
}

func tokenFacts(t pbx.Token) pbx.Facts {
	facts := pbx.Facts{"name": t.Name, "role": string(t.Role)}
	if t.Scopes != nil {
		scopes := make([]string, len(t.Scopes))
		for i, s := range t.Scopes {
			scopes[i] = string(s)
		}
		facts["scopes"] = strings.Join(scopes, " ")
	}
	if !t.ExpiresAt.IsZero() {
		facts["expires_at"] = t.ExpiresAt.Format(time.RFC3339)
	}
	if t.CreatedBy != "" {
		facts["created_by"] = string(t.CreatedBy)
	}
	if t.MadeWith != "" {
		facts["made_with"] = string(t.MadeWith)
	}
	return facts
}
