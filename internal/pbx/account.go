package pbx

import "time"

// AccountID names an account: a UUID in its canonical lower-case text form.
type AccountID string

// SessionID names a session of an account: a UUID in its canonical lower-case text form. It proves nothing.
type SessionID string

// TokenID names an API token; it is the middle part of the token, and proves nothing.
type TokenID string

// Account is a person who may sign in to the portal. A User, in contrast, is a person with a telephone.
type Account struct {
	ID         AccountID
	Name       string // 1–255 characters, trimmed, printable
	Email      string // as it was written; unique without regard to case
	Role       Role
	Disabled   bool      // nobody signs in with it until it is enabled again
	Invited    bool      // it has no password: nobody has followed its link yet
	TOTP       bool      // signing in takes a second factor
	CreatedAt  time.Time // UTC, microseconds
	LastSignIn time.Time // UTC, microseconds; zero: never
	Identity   Identity  // the person of an OpenID provider it belongs to, from the first sign-in there on; zero: none
}

// Identity names a person at an OpenID provider. A subject is unique there and is never given to another person, which an e-mail address is.
type Identity struct {
	Issuer  string
	Subject string // 1–255 characters of printable ASCII
}

// Session is one sign-in of an account that has not ended.
type Session struct {
	ID         SessionID
	Account    AccountID
	CreatedAt  time.Time // UTC, microseconds
	LastSeenAt time.Time // UTC, to the minute
	ExpiresAt  time.Time // UTC; it may end earlier, for want of use
	From       string    // the address it was opened from
	UserAgent  string    // the browser it was opened with, as that named itself
	Vouched    bool      // a provider outside opened it, and answers for the second factor that the portal demands
	OwesFactor bool      // the account's own second factor has not been given yet: nothing else works
}

// Token is an API token, with which a program proves that it may ask. Its secret is not kept.
type Token struct {
	ID         TokenID
	Name       string // which program it is for
	Role       Role
	Scopes     []Permission // of those of the role; nil: all of them
	CreatedAt  time.Time    // UTC, microseconds
	CreatedBy  AccountID    // "": at the command line
	MadeWith   TokenID      // the token it was made with, and is revoked with; "": none
	ExpiresAt  time.Time    // UTC; zero: never
	LastUsedAt time.Time    // UTC, to the minute; zero: never
	RevokedAt  time.Time    // UTC; zero: it is not revoked
}

// LinkPurpose says what a one-time link is good for.
type LinkPurpose string

// The purposes of one-time links.
const (
	LinkSetup  LinkPurpose = "setup"  // makes the first account of an installation
	LinkInvite LinkPurpose = "invite" // gives a new account its first password
	LinkReset  LinkPurpose = "reset"  // gives an account a new password
)

// Link is a one-time link: a code that can be used once, and not for long.
type Link struct {
	Code      Secret
	ExpiresAt time.Time // UTC
}
