package cli

import (
	"errors"
	"slices"
	"time"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/live"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// The types of --json are those of the HTTP contract, so that a program can read either.

type userJSON struct {
	ID        pbx.UserID    `json:"id"`
	TenantID  pbx.TenantID  `json:"tenant_id"`
	Name      string        `json:"name"`
	Email     string        `json:"email"`
	Extension extensionJSON `json:"extension"`
	CreatedAt time.Time     `json:"created_at"`
}

type extensionJSON struct {
	ID        pbx.ExtensionID `json:"id"`
	Number    pbx.Number      `json:"number"`
	Secret    string          `json:"secret"`
	CreatedAt time.Time       `json:"created_at"`
}

func toJSON(u pbx.User) userJSON {
	e := u.Extension
	return userJSON{u.ID, u.TenantID, u.Name, u.Email, extensionJSON{e.ID, e.Number, e.Secret.Reveal(), e.CreatedAt}, u.CreatedAt}
}

type restoredJSON struct {
	Deleted    []pbx.Number `json:"deleted"`
	Created    []pbx.Number `json:"created"`
	NewSecrets []pbx.Number `json:"new_secrets"`
	Unknown    []pbx.Number `json:"unknown"`
}

func toRestoredJSON(r directory.Restored) restoredJSON {
	numbers := func(users []pbx.User) []pbx.Number {
		all := []pbx.Number{}
		for _, u := range users {
			all = append(all, u.Extension.Number)
		}
		return all
	}
	return restoredJSON{numbers(r.Deleted), numbers(r.Created), append([]pbx.Number{}, r.NewSecrets...), append([]pbx.Number{}, r.Unknown...)}
}

type accountJSON struct {
	ID         pbx.AccountID `json:"id"`
	Name       string        `json:"name"`
	Email      string        `json:"email"`
	Role       pbx.Role      `json:"role"`
	Disabled   bool          `json:"disabled"`
	Invited    bool          `json:"invited"`
	TOTP       bool          `json:"totp_enabled"`
	Provider   *string       `json:"provider"`
	CreatedAt  time.Time     `json:"created_at"`
	LastSignIn *time.Time    `json:"last_sign_in_at"`
}

func toAccountJSON(a pbx.Account) accountJSON {
	var provider *string
	if a.Identity.Issuer != "" {
		provider = &a.Identity.Issuer
	}
	return accountJSON{a.ID, a.Name, a.Email, a.Role, a.Disabled, a.Invited, a.TOTP, provider, a.CreatedAt, timeOrNull(a.LastSignIn)}
}

type tokenJSON struct {
	ID         pbx.TokenID      `json:"id"`
	Name       string           `json:"name"`
	Role       pbx.Role         `json:"role"`
	Scopes     []pbx.Permission `json:"scopes"`
	CreatedAt  time.Time        `json:"created_at"`
	CreatedBy  *pbx.AccountID   `json:"created_by"`
	MadeWith   *pbx.TokenID     `json:"made_with"`
	ExpiresAt  *time.Time       `json:"expires_at"`
	LastUsedAt *time.Time       `json:"last_used_at"`
	RevokedAt  *time.Time       `json:"revoked_at"`
}

func toTokenJSON(t pbx.Token) tokenJSON {
	out := tokenJSON{
		ID: t.ID, Name: t.Name, Role: t.Role, Scopes: t.Scopes, CreatedAt: t.CreatedAt, ExpiresAt: timeOrNull(t.ExpiresAt),
		LastUsedAt: timeOrNull(t.LastUsedAt), RevokedAt: timeOrNull(t.RevokedAt),
	}
	if t.CreatedBy != "" {
		out.CreatedBy = &t.CreatedBy
	}
	if t.MadeWith != "" {
		out.MadeWith = &t.MadeWith
	}
	return out
}

// listJSON returns a page of a list, with the position of the next page if there is one.
func listJSON[T any](name string, page []T, next string) map[string]any {
	list := map[string]any{name: page}
	if next != "" {
		list["next_cursor"] = next
	}
	return list
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

type logJSON struct {
	ID            pbx.RunID   `json:"id"`
	TriggeredAt   time.Time   `json:"triggered_at"`
	TriggeredBy   string      `json:"triggered_by"`
	Actor         *actorJSON  `json:"actor"`
	Outcome       pbx.Outcome `json:"outcome"`
	ErrorDetails  string      `json:"error_details,omitempty"`
	FilesWritten  []string    `json:"files_written"`
	ReloadResults reloadJSON  `json:"reload_results"`
}

// actorJSON is the authenticated actor of an apply.
type actorJSON struct {
	Kind pbx.ActorKind `json:"kind"`
	ID   string        `json:"id"`
	Name string        `json:"name"`
}

func toActorJSON(a pbx.Actor) *actorJSON {
	if a.Kind == "" {
		return nil
	}
	return &actorJSON{a.Kind, a.ID, a.Name}
}

type reloadJSON struct {
	PJSIP    *commandJSON `json:"pjsip_reload,omitempty"`
	Dialplan *commandJSON `json:"dialplan_reload,omitempty"`
}

type commandJSON struct {
	ExitCode int    `json:"exit_code"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
}

func toLogJSON(l pbx.ApplyLog) logJSON {
	return logJSON{
		l.ID, l.TriggeredAt, l.TriggeredBy, toActorJSON(l.Actor), l.Outcome, l.ErrorDetails, append([]string{}, l.FilesWritten...),
		reloadJSON{(*commandJSON)(l.Reload.PJSIP), (*commandJSON)(l.Reload.Dialplan)},
	}
}

type planJSON struct {
	Hash     string            `json:"hash"`
	Revision int               `json:"revision"`
	Users    int               `json:"users"`
	Items    int               `json:"items"`
	Pending  bool              `json:"pending"`
	Changes  []changeJSON      `json:"changes"`
	Things   []thingChangeJSON `json:"things"`
	Effects  []effectJSON      `json:"effects"`
	Calls    []string          `json:"behaviour,omitempty"`
	Diffs    []diffJSON        `json:"diffs"`
	Drift    []driftJSON       `json:"drift"`
	Behind   string            `json:"behind,omitempty"`
	AskedAt  time.Time         `json:"asked_at,omitzero"`
	Host     []hostJSON        `json:"host,omitempty"`
}

// hostJSON is an object on the host that the portal did not write.
type hostJSON struct {
	Kind    string     `json:"kind"`
	Number  pbx.Number `json:"number"`
	Context string     `json:"context,omitempty"`
	File    string     `json:"file,omitempty"`
	Line    int        `json:"line,omitempty"`
	Clash   bool       `json:"clash"`
	Text    string     `json:"text"`
}

type changeJSON struct {
	Kind       pbx.ChangeKind `json:"kind"`
	Number     pbx.Number     `json:"number"`
	Was        pbx.Number     `json:"former_number,omitempty"`
	Name       string         `json:"name"`
	What       []string       `json:"what,omitempty"`
	Reregister bool           `json:"reregister"`
}

// thingChangeJSON is the change of a thing other than a user.
type thingChangeJSON struct {
	Kind  pbx.ChangeKind `json:"kind"`
	Thing pbx.ThingKind  `json:"thing"`
	Key   string         `json:"key"`
	Name  string         `json:"name"`
	What  []string       `json:"what"`
}

// effectJSON is a change in the running Asterisk beside the reload.
type effectJSON struct {
	Verb       pbx.EffectVerb `json:"verb"`
	Number     pbx.Number     `json:"number"`
	Reversible bool           `json:"reversible"`
}

type diffJSON struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

type driftJSON struct {
	Kind pbx.DriftKind `json:"kind"`
	Path string        `json:"path"`
	Is   string        `json:"is,omitempty"`
}

func toPlanJSON(p pbx.Plan) planJSON {
	out := planJSON{
		p.Hash, p.Revision, p.Users, p.Items, p.Pending,
		[]changeJSON{},
		[]thingChangeJSON{},
		[]effectJSON{},
		p.Behaviour, toDiffsJSON(p.Diffs),
		[]driftJSON{},
		p.Behind, p.AskedAt, nil,
	}
	for _, o := range p.Host {
		out.Host = append(out.Host, hostJSON{o.Kind, o.Number, o.Context, o.File, o.Line, slices.Contains(p.Clashes, o), o.String()})
	}
	for _, c := range p.UserChanges() {
		out.Changes = append(out.Changes, changeJSON{c.Kind, c.Number, c.Was, c.Name, c.What, c.Reregister})
	}
	for _, c := range p.ThingChanges() {
		out.Things = append(out.Things, thingChangeJSON{c.Kind, c.Owner.Kind, c.Owner.Key, c.Name, append([]string{}, c.What...)})
	}
	for _, e := range p.Effects {
		out.Effects = append(out.Effects, effectJSON(e))
	}
	for _, d := range p.Drift {
		out.Drift = append(out.Drift, driftJSON(d))
	}
	return out
}

func toDiffsJSON(diffs []pbx.FileDiff) []diffJSON {
	out := []diffJSON{}
	for _, d := range diffs {
		out = append(out, diffJSON(d))
	}
	return out
}

type runJSON struct {
	AuditLogID   pbx.RunID        `json:"audit_log_id,omitempty"`
	TriggeredAt  time.Time        `json:"triggered_at,omitzero"` // these are missing for an apply that never began
	TriggeredBy  string           `json:"triggered_by,omitempty"`
	Actor        *actorJSON       `json:"actor,omitempty"`
	Comment      string           `json:"comment,omitempty"`
	Outcome      pbx.Outcome      `json:"outcome"`
	Result       pbx.Result       `json:"result,omitempty"`
	Revision     int              `json:"revision,omitempty"`
	Restored     int              `json:"restored,omitempty"`
	Verification pbx.Verification `json:"verification,omitempty"`
	Differences  []string         `json:"differences,omitempty"`
	FilesWritten []string         `json:"files_written"`
	Reload       reloadJSON       `json:"reload_results"`
	Users        int              `json:"users_applied"`
	Plan         planJSON         `json:"plan"`
	Events       []eventJSON      `json:"events"`
	Code         string           `json:"code,omitempty"`
	Error        string           `json:"error,omitempty"`
}

type eventJSON struct {
	Stage   string `json:"stage"`
	AfterMS int64  `json:"after_ms"`
	Message string `json:"message"`
}

func toRunJSON(r pbx.Run, err error) runJSON {
	l := toLogJSON(r.Log)
	out := runJSON{
		r.Log.ID, r.Log.TriggeredAt, r.Log.TriggeredBy, l.Actor, r.Comment, l.Outcome, r.Result, r.Revision, r.Restored, r.Verification, r.Differences,
		l.FilesWritten, l.ReloadResults, r.Users, toPlanJSON(r.Plan),
		[]eventJSON{},
		r.Code, l.ErrorDetails,
	}
	for _, e := range r.Events {
		out.Events = append(out.Events, eventJSON{e.Stage, e.After.Milliseconds(), e.Message})
	}
	if err != nil {
		out.Outcome, out.Code, out.Error = pbx.Failure, pbx.CodeOf(err), errorText(err)
	}
	return out
}

// errorText returns the text of an error without repetition: its message includes the reason already, but not why a database is unavailable.
func errorText(err error) string {
	e, ok := errors.AsType[*pbx.Error](err)
	if !ok {
		return err.Error()
	}
	said, cause := *e, e.Err
	for inner, ok := errors.AsType[*pbx.Error](cause); ok; inner, ok = errors.AsType[*pbx.Error](cause) {
		cause = inner.Err
	}
	if said.Err = nil; e.Kind == pbx.KindUnavailable {
		said.Err = cause
	}
	return said.Error()
}

type liveJSON struct {
	Asterisk      linkJSON           `json:"asterisk"`
	Registrations []registrationJSON `json:"registrations"`
	Calls         []callJSON         `json:"calls"`
}

type linkJSON struct {
	State   live.LinkState `json:"state"`
	Since   time.Time      `json:"since"`
	Version string         `json:"version,omitempty"`
	Message string         `json:"message"`
}

type registrationJSON struct {
	Number    pbx.Number             `json:"number"`
	State     live.RegistrationState `json:"state"`
	Address   string                 `json:"address"`
	UserAgent string                 `json:"user_agent"`
	RTT       float64                `json:"rtt_ms,omitempty"`
	Expires   time.Time              `json:"expires_at,omitzero"`
}

type callJSON struct {
	ID    string         `json:"id"`
	State live.CallState `json:"state"`
	From  partyJSON      `json:"from"`
	To    partyJSON      `json:"to"`
	Since time.Time      `json:"since"`
}

type partyJSON struct {
	Number string `json:"number"`
	Name   string `json:"name"`
}

// toLiveJSON leaves out what only a long-running program knows: since when a phone is registered, and the history.
func toLiveJSON(s live.Snapshot) liveJSON {
	out := liveJSON{linkJSON{s.Link.State, s.Link.Since.UTC(), s.Link.Version, s.Link.Message}, []registrationJSON{}, []callJSON{}}
	for _, r := range s.Registrations {
		out.Registrations = append(out.Registrations, registrationJSON{
			r.Number, r.State, r.Address, r.UserAgent, float64(r.RTT.Microseconds()) / 1000, r.Expires.UTC(),
		})
	}
	for _, c := range s.Calls {
		out.Calls = append(out.Calls, callJSON{c.ID, c.State, partyJSON(c.From), partyJSON(c.To), c.Since.UTC()})
	}
	return out
}
