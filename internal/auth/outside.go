package auth

import (
	"cmp"
	"context"
	"crypto/rand"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Outside is a person whom a provider outside has signed in. A second factor is its own business, as long as it does not say that it asked for
// none.
type Outside struct {
	Email     string   // which the provider has verified; an account is found by it
	Name      string   // of an account that is made
	Role      pbx.Role // of an account that is made where there is none; "": none is made
	Alone     bool     // the provider says that a password alone was enough
	UserAgent string
	Replaces  string // the token of a session that ends with this sign-in, "" for none
}

// SignInOutside opens a session for a person whom a provider outside has signed in. Errors: KindNotSignedIn where no account has the address,
// or it is disabled; KindForbidden where the portal demands a second factor, and the provider asked for none; KindInvalid where one is to be
// made and the provider's name or address is no good.
func (a *Auth) SignInOutside(ctx context.Context, o Outside) (opened Opened, err error) {
	c, known, err := a.accountByEmail(ctx, o.Email)
	if err != nil {
		return opened, err
	}
	n := pbx.NewAccount{Name: o.Name, Email: o.Email, Role: o.Role}
	switch {
	case known && c.Disabled, !known && o.Role == "":
		return opened, a.refuse(ctx, c.Account, known, o.Email)
	case o.Alone && a.factor.DemandedOf(cmp.Or(c.Role, o.Role)):
		if err := a.refusal(ctx, ActionSignInFailed, string(c.ID), accountObject(c.Account), nil); err != nil {
			return opened, err
		}
		return opened, factorNeeded("this portal demands a second factor, and the provider says that a password alone was enough: sign in there with a second factor")
	case !known:
		if n, err = n.Clean(); err != nil {
			return opened, err
		}
	}
	// An account without a password is only invited. This one has been followed; the password is one that nobody knows.
	hash := c.PasswordHash
	if hash == "" {
		if hash, err = a.hasher.hash(ctx, pbx.SecretFrom(rand.Text()+rand.Text())); err != nil {
			return opened, err
		}
	}
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		var account pbx.Account
		if known {
			account, err = a.follow(ctx, tx, c, hash)
		} else {
			account, err = a.insertUnasked(ctx, tx, n, hash, a.time())
		}
		if err != nil {
			return err
		}
		if o.Replaces != "" {
			if err := tx.DeleteSessionByHash(ctx, digest(o.Replaces)); err != nil {
				return err
			}
		}
		opened, err = a.open(byPerson(ctx, account), tx, account, o.UserAgent, !o.Alone)
		return err
	})
	if err != nil {
		return Opened{}, err
	}
	return opened, nil
}

// follow notes the sign-in of an account that there is, as it is now. One that was invited has answered.
func (a *Auth) follow(ctx context.Context, tx *store.Tx, seen store.Credentials, hash string) (pbx.Account, error) {
	c, ok, err := tx.Account(ctx, seen.ID)
	switch {
	case err != nil:
		return c.Account, err
	case !ok || c.Disabled || c.PasswordHash != seen.PasswordHash || c.Email != seen.Email: // since we looked
		return c.Account, signInFailed()
	}
	if c.Invited {
		c.PasswordHash, c.Invited = hash, false
		if err := tx.DeleteOneTimeCodes(ctx, c.ID); err != nil {
			return c.Account, err
		}
	}
	c.LastSignIn = a.time()
	return c.Account, tx.UpdateAccount(ctx, c)
}
