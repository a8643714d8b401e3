package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Factor is what an OpenID provider states about the second factor of a sign-in.
type Factor string

// The values of Factor.
const (
	FactorUnsaid Factor = ""       // nothing: sufficient for the portal's policy, but not for the account's own second factor
	FactorProved Factor = "proved" // a second factor was used
	FactorNone   Factor = "none"   // no second factor was used
)

// FederatedLogin is a sign-in with an OpenID provider.
type FederatedLogin struct {
	Identity  pbx.Identity // identifies the account from the second sign-in on
	Email     string       // verified by the provider; identifies the account at the first sign-in
	Name      string       // of a new account
	Role      pbx.Role     // of a new account; "": no account is created
	Factor    Factor
	UserAgent string
	Replaces  string // the token of a session that ends with this sign-in; "" for none
}

// ErrOtherIdentity means that the account with the user's address is linked to another identity of the provider.
var ErrOtherIdentity = errors.New("the account with this address is linked to another user of the OpenID provider: " +
	"if that user has left, or the provider was changed, unlink the account (pbxportal admin unlink, or Settings, People)")

// SignInFederated opens a session for a user whom an OpenID provider has authenticated. An account with a second factor of its own is asked for it
// next (ProveFactor), unless the provider states that one was used. Errors: KindNotSignedIn if there is no account or it is disabled;
// ErrOtherIdentity; KindForbidden if policy requires a second factor and the provider used none; KindInvalid if a new account's name or address is
// invalid.
func (a *Auth) SignInFederated(ctx context.Context, o FederatedLogin) (opened SessionGrant, err error) {
	if o.Identity.Issuer == "" || o.Identity.Subject == "" {
		return opened, signInFailed()
	}
	c, known, err := a.federatedAccount(ctx, a.store, o)
	if errors.Is(err, ErrOtherIdentity) {
		return opened, a.otherIdentity(ctx, c.Account, o.Identity)
	} else if err != nil {
		return opened, err
	}
	n := pbx.NewAccount{Name: o.Name, Email: o.Email, Role: o.Role}
	switch {
	case known && c.Disabled, !known && o.Role == "":
		return opened, a.refuse(ctx, c.Account, known, o.Email)
	case o.Factor == FactorNone && !c.TOTP && a.factor.DemandedOf(cmp.Or(c.Role, o.Role)):
		if err := a.refusal(ctx, ActionSignInFailed, string(c.ID), accountObject(c.Account), nil); err != nil {
			return opened, err
		}
		return opened, factorNeeded("this portal requires a second factor, and the provider reports a sign-in by password alone: sign in there with a second factor")
	case !known:
		if n, err = n.Clean(); err == nil && n.Email != strings.TrimSpace(o.Email) {
			err = pbx.Invalid(pbx.FieldError{Field: "email", Code: pbx.FieldASCII, Message: "must be written in ASCII"})
		}
		if err != nil {
			return opened, err
		}
	}
	// An account without a password counts as invited only. This invitation has been accepted: the account gets a random password.
	hash := c.PasswordHash
	if hash == "" {
		if hash, err = a.hasher.hash(ctx, pbx.SecretFrom(rand.Text()+rand.Text())); err != nil {
			return opened, err
		}
	}
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		now, still, err := a.federatedAccount(ctx, tx, o)
		if errors.Is(err, ErrOtherIdentity) || err == nil && (still != known || now.ID != c.ID) { // changed since it was read
			return signInFailed()
		} else if err != nil {
			return err
		}
		var account pbx.Account
		if known {
			account, err = a.follow(ctx, tx, now, c.PasswordHash, hash, o.Identity)
		} else {
			account, err = a.insertFederated(ctx, tx, n, hash, o.Identity)
		}
		if err != nil {
			return err
		}
		if o.Replaces != "" {
			if err := tx.DeleteSessionByHash(ctx, digest(o.Replaces)); err != nil {
				return err
			}
		}
		opened, err = a.open(byPerson(ctx, account), tx, account, o.UserAgent, proved{factor: o.Factor == FactorProved, vouched: o.Factor != FactorNone})
		return err
	})
	if err != nil {
		return SessionGrant{}, err
	}
	return opened, nil
}

// accounts looks up accounts, in a transaction or outside of one.
type accounts interface {
	AccountByIdentity(ctx context.Context, i pbx.Identity) (store.Credentials, bool, error)
	AccountByEmail(ctx context.Context, email string) (store.Credentials, bool, error)
}

// federatedAccount finds the account of a federated login: the one linked to the identity, whatever its address is now, or an unlinked one with the
// address. ErrOtherIdentity comes with the account that was found instead.
func (a *Auth) federatedAccount(ctx context.Context, in accounts, o FederatedLogin) (c store.Credentials, known bool, err error) {
	if c, known, err = in.AccountByIdentity(ctx, o.Identity); err != nil || known {
		return c, known, err
	}
	email, err := pbx.CleanEmail(o.Email)
	if err != nil || email != strings.TrimSpace(o.Email) { // a provider makes no typing mistakes: look-alikes of ASCII letters are another address
		return c, false, nil //nolint:nilerr // treated like an unknown address
	}
	c, known, err = in.AccountByEmail(ctx, email)
	if known && c.Identity != (pbx.Identity{}) {
		return c, false, ErrOtherIdentity
	}
	return c, known, err
}

// otherIdentity records a login with the address of an account that is linked to another identity, and returns ErrOtherIdentity.
func (a *Auth) otherIdentity(ctx context.Context, account pbx.Account, came pbx.Identity) error {
	if err := a.refusal(ctx, ActionLinkOther, string(account.ID), accountObject(account), identityFacts(came)); err != nil {
		return err
	}
	return ErrOtherIdentity
}

// insertFederated adds an account for a user known only to the provider.
func (a *Auth) insertFederated(ctx context.Context, tx *store.Tx, n pbx.NewAccount, hash string, i pbx.Identity) (pbx.Account, error) {
	account, err := a.insertUnasked(ctx, tx, n, hash, a.time())
	if err != nil {
		return account, err
	}
	c, _, err := tx.Account(ctx, account.ID)
	if err != nil {
		return account, err
	}
	return a.follow(ctx, tx, c, hash, hash, i)
}

// follow records the sign-in of an existing account, re-read in the transaction. It completes a pending invitation, and links an unlinked account
// to the identity.
func (a *Auth) follow(ctx context.Context, tx *store.Tx, c store.Credentials, seen, hash string, i pbx.Identity) (pbx.Account, error) {
	if c.Disabled || c.PasswordHash != seen { // changed since it was read
		return c.Account, signInFailed()
	}
	if c.Invited {
		c.PasswordHash, c.Invited = hash, false
		if err := tx.DeleteOneTimeCodes(ctx, c.ID); err != nil {
			return c.Account, err
		}
	}
	if c.Identity != i {
		c.Identity = i
		if err := a.note(byPerson(ctx, c.Account), tx, ActionLink, accountObject(c.Account), nil, identityFacts(i)); err != nil {
			return c.Account, err
		}
	}
	c.LastSignIn = a.time()
	return c.Account, tx.UpdateAccount(ctx, c)
}
