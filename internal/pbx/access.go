package pbx

import (
	"context"
	"slices"
)

// Permission is one thing a caller may be allowed to do. Each operation of the contract names exactly one as its x-permission.
type Permission string

// The permissions. Public requires no authentication, SignedIn any: it is for what belongs to the caller itself.
const (
	Public        Permission = "public"
	SignedIn      Permission = "signed_in"
	UsersRead     Permission = "users:read"
	UsersWrite    Permission = "users:write"
	ThingsRead    Permission = "things:read" // everything configured beside users, such as ring groups
	ThingsWrite   Permission = "things:write"
	SwitchesWrite Permission = "switches:write" // do not disturb and forwards of users
	SecretsRead   Permission = "secrets:read"   // see SIP secrets; without it they are omitted from every response
	ApplyRead     Permission = "apply:read"
	ApplyRun      Permission = "apply:run"
	LiveRead      Permission = "live:read" // registrations, calls and metrics
	AuditRead     Permission = "audit:read"
	AccountsRead  Permission = "accounts:read"
	AccountsWrite Permission = "accounts:write" // accounts, their roles, and API tokens
	SystemRead    Permission = "system:read"    // settings and the findings of doctor; not used by any operation yet
)

// Permissions lists every permission that a role can hold, in the order of the documentation.
func Permissions() []Permission {
	return []Permission{
		UsersRead, UsersWrite, ThingsRead, ThingsWrite, SwitchesWrite, SecretsRead, ApplyRead, ApplyRun, LiveRead, AuditRead, AccountsRead, AccountsWrite, SystemRead,
	}
}

// Role is a set of permissions of an account or token. The empty Role has none.
type Role string

// The roles.
const (
	Owner    Role = "owner"    // everything; at least one always remains
	Admin    Role = "admin"    // everything except changing owners
	Operator Role = "operator" // users and their secrets, no other things, no apply
	Applier  Role = "applier"  // apply, no change of users or things, no secrets
	Auditor  Role = "auditor"  // reads, no secrets
)

// Roles returns the roles, most powerful first.
func Roles() []Role { return []Role{Owner, Admin, Operator, Applier, Auditor} }

// Permissions returns the permissions of the role beside Public and SignedIn, nil for an unknown role.
func (r Role) Permissions() []Permission {
	switch r {
	case Owner, Admin:
		return Permissions()
	case Operator:
		return []Permission{UsersRead, UsersWrite, ThingsRead, SwitchesWrite, SecretsRead, ApplyRead, LiveRead}
	case Applier:
		return []Permission{UsersRead, ThingsRead, ApplyRead, ApplyRun, LiveRead}
	case Auditor:
		return []Permission{UsersRead, ThingsRead, ApplyRead, LiveRead, AuditRead, AccountsRead, SystemRead}
	}
	return nil
}

// May reports whether the role holds the permission.
func (r Role) May(p Permission) bool { return slices.Contains(r.Permissions(), p) }

// SecondFactor is the policy on who must have a second factor. All other accounts can have one.
type SecondFactor string

// The values of SecondFactor; the empty one means FactorOffered.
const (
	FactorOffered  SecondFactor = "offered"
	FactorOwners   SecondFactor = "owners" // and admins: the roles that can grant permissions
	FactorEveryone SecondFactor = "everyone"
)

// DemandedOf reports whether an account with this role must have a second factor.
func (f SecondFactor) DemandedOf(r Role) bool {
	return f == FactorEveryone || f == FactorOwners && r.May(AccountsWrite)
}

// ActorKind is the kind of caller of an Actor.
type ActorKind string

// The kinds of callers.
const (
	ActorPortal    ActorKind = "portal"    // the program itself
	ActorLocal     ActorKind = "local"     // the command line on the host
	ActorPerson    ActorKind = "person"    // a signed-in account
	ActorToken     ActorKind = "token"     // a program with an API token
	ActorExtension ActorKind = "extension" // a phone that dialled a feature code; the name is the extension
	ActorAnonymous ActorKind = "anonymous" // an unauthenticated caller
)

// Actor is a caller as recorded in the audit trail.
type Actor struct {
	Kind      ActorKind
	ID        string // of the account or token; "" otherwise
	Name      string // of the account or token, or of the operating system's user
	From      string // the address of the request; "" for none
	RequestID string // of the request; "" for none
}

type actorKey struct{}

// WithActor returns a context with this actor.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorOf returns the actor of a context: the portal itself if there is none.
func ActorOf(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return Actor{Kind: ActorPortal, Name: "portal"}
}
