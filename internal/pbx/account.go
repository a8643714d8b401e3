package pbx

import "time"

// AccountID identifies an account: a UUID in its canonical lower-case text form.
type AccountID string

// SessionID identifies a session of an account: a UUID in its canonical lower-case text form. It is not a credential.
type SessionID string

// TokenID identifies an API token; it is the middle part of the token, and not a credential.
type TokenID string

// Account is a login to the portal. A User, in contrast, is a person with a telephone.
type Account struct {
	ID         AccountID
	Name       string // 1–255 characters, trimmed, printable
	Email      string // as entered; unique without regard to case
	Role       Role
	Disabled   bool        // sign-in is refused
	Invited    bool        // it has no password: its invitation was not accepted yet
	TOTP       bool        // sign-in requires a second factor
	CreatedAt  time.Time   // UTC, microseconds
	LastSignIn time.Time   // UTC, microseconds; zero: never
	Identity   Identity    // the linked identity of an OpenID provider, set at the first sign-in there; zero: none
	Person     AccountUser // only in lists and after a change; zero: none
}

// AccountUser is the user who is the person of an account, or is proposed to be linked to it.
type AccountUser struct {
	ID     UserID
	Name   string
	Number Number
	Linked bool // false: proposed, as the user has the same e-mail address
}

// Identity identifies a user of an OpenID provider. In contrast to an e-mail address, a subject is unique there and never reassigned.
type Identity struct {
	Issuer  string
	Subject string // 1–255 characters of printable ASCII
}

// Session is an active sign-in of an account.
type Session struct {
	ID         SessionID
	Account    AccountID
	CreatedAt  time.Time // UTC, microseconds
	LastSeenAt time.Time // UTC, to the minute
	ExpiresAt  time.Time // UTC; it may end earlier, when idle
	From       string    // the address it was opened from
	UserAgent  string    // of the browser, as reported by it
	Vouched    bool      // opened by an OpenID provider, which answers for a required second factor
	OwesFactor bool      // the account's own second factor was not given yet; until then the session permits nothing else
}

// Token is an API token of a program. Its secret is not stored.
type Token struct {
	ID         TokenID
	Name       string // of the program it is for
	Role       Role
	Scopes     []Permission // a subset of the role's permissions; nil: all of them
	CreatedAt  time.Time    // UTC, microseconds
	CreatedBy  AccountID    // "": at the command line
	MadeWith   TokenID      // the token it was created with, and is revoked with; "": none
	ExpiresAt  time.Time    // UTC; zero: never
	LastUsedAt time.Time    // UTC, to the minute; zero: never
	RevokedAt  time.Time    // UTC; zero: not revoked
}

// LinkPurpose is the purpose of a one-time link.
type LinkPurpose string

// The purposes of one-time links.
const (
	LinkSetup  LinkPurpose = "setup"  // creates the first account of an installation
	LinkInvite LinkPurpose = "invite" // sets the first password of a new account
	LinkReset  LinkPurpose = "reset"  // resets the password of an account
)

// Link is a one-time link: a code that can be used once, within a limited time.
type Link struct {
	Code      Secret
	ExpiresAt time.Time // UTC
}
