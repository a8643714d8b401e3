package pbx

import (
	"context"
	"slices"
)

// Permission is one thing a caller may be allowed to do. Every operation of the contract names exactly one as its x-permission.
type Permission string

// The permissions. Public needs no sign-in at all, SignedIn any sign-in: it is for what belongs to the caller itself.
const (
	Public        Permission = "public"
	SignedIn      Permission = "signed_in"
	UsersRead     Permission = "users:read"
	UsersWrite    Permission = "users:write"
	SecretsRead   Permission = "secrets:read" // see SIP secrets; without it they are hidden in every answer
	ApplyRead     Permission = "apply:read"
	ApplyRun      Permission = "apply:run"
	LiveRead      Permission = "live:read" // registrations, calls and metrics
	AuditRead     Permission = "audit:read"
	AccountsRead  Permission = "accounts:read"
	AccountsWrite Permission = "accounts:write" // people who may sign in, their roles, and API tokens
	SystemRead    Permission = "system:read"    // settings and the findings of doctor; no operation asks for it today
)

// Permissions lists every permission that a role can hold, in the order of the documentation.
func Permissions() []Permission {
	return []Permission{
		UsersRead, UsersWrite, SecretsRead, ApplyRead, ApplyRun, LiveRead, AuditRead, AccountsRead, AccountsWrite, SystemRead,
	}
}

// Role is what an account or a token may do. The empty Role may do nothing.
type Role string

// The roles.
const (
	Owner    Role = "owner"    // everything; an installation always keeps one
	Admin    Role = "admin"    // everything, but no change of owners
	Operator Role = "operator" // users and their secrets, no apply
	Applier  Role = "applier"  // apply, no change of users, no secrets
	Auditor  Role = "auditor"  // reads, no secrets
)

// Roles lists the roles, the most powerful first.
func Roles() []Role { return []Role{Owner, Admin, Operator, Applier, Auditor} }

// Permissions gives what the role may do beside Public and SignedIn, nil for a text that is no role.
func (r Role) Permissions() []Permission {
	switch r {
	case Owner, Admin:
		return Permissions()
	case Operator:
		return []Permission{UsersRead, UsersWrite, SecretsRead, ApplyRead, LiveRead}
	case Applier:
		return []Permission{UsersRead, ApplyRead, ApplyRun, LiveRead}
	case Auditor:
		return []Permission{UsersRead, ApplyRead, LiveRead, AuditRead, AccountsRead, SystemRead}
	}
	return nil
}

// May reports whether the role holds the permission.
func (r Role) May(p Permission) bool { return slices.Contains(r.Permissions(), p) }

// SecondFactor says who must have a second factor. Everybody else may.
type SecondFactor string

// The values of SecondFactor; the empty one is as FactorOffered.
const (
	FactorOffered  SecondFactor = "offered"
	FactorOwners   SecondFactor = "owners" // and admins: who can give rights to others
	FactorEveryone SecondFactor = "everyone"
)

// DemandedOf reports whether an account with this role must have a second factor.
func (f SecondFactor) DemandedOf(r Role) bool {
	return f == FactorEveryone || f == FactorOwners && r.May(AccountsWrite)
}

// ActorKind says what sort of caller an Actor is.
type ActorKind string

// The kinds of callers.
const (
	ActorPortal    ActorKind = "portal"    // the program by itself
	ActorLocal     ActorKind = "local"     // somebody at the command line of the machine
	ActorPerson    ActorKind = "person"    // an account, signed in
	ActorToken     ActorKind = "token"     // a program with an API token
	ActorAnonymous ActorKind = "anonymous" // nobody was asked who it is
)

// Actor is who does something, as the audit trail names it.
type Actor struct {
	Kind      ActorKind
	ID        string // of the account or token; "" for the others
	Name      string // of the account or token, or of the user of the operating system
	From      string // the address a request came from; "" where there was none
	RequestID string // of the request; "" where there was none
}

type actorKey struct{}

// WithActor gives a context whose work is done for this actor.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorOf gives the actor a context works for: the portal itself where nobody else is named.
func ActorOf(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return Actor{Kind: ActorPortal, Name: "portal"}
}
