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

// Factor is what a provider says of the second factor of a sign-in.
type Factor string

// What a provider can say of it.
const (
	FactorUnsaid Factor = ""       // nothing: it answers for what the portal demands, and for nothing that the account asks for itself
	FactorProved Factor = "proved" // there was one
	FactorNone   Factor = "none"   // there was none
)

// Outside is a person whom a provider outside has signed in.
type Outside struct {
	Identity  pbx.Identity // the person, by whom an account is found from the second sign-in on
	Email     string       // which the provider has verified; an account is found by it the first time
	Name      string       // of an account that is made
	Role      pbx.Role     // of an account that is made where there is none; "": none is made
	Factor    Factor
	UserAgent string
	Replaces  string // the token of a session that ends with this sign-in, "" for none
}

// ErrOtherIdentity is the reason why nobody is signed in whose address is that of an account which belongs to another person of the provider.
var ErrOtherIdentity = errors.New("the account with this address belongs to another person of the OpenID provider: " +
	"if that person left, or the provider was changed, unlink the account (pbxportal admin unlink, or Settings, People)")

// SignInOutside opens a session for a person whom a provider outside has signed in. An account that has a second factor of its own is asked for
// it afterwards (ProveFactor), unless the provider says that there was one. Errors: KindNotSignedIn where the person has no account, or it is
// disabled; ErrOtherIdentity; KindForbidden where the portal demands a second factor, and the provider asked for none; KindInvalid where an
// account is to be made and the provider's name or address is no good.
func (a *Auth) SignInOutside(ctx context.Context, o Outside) (opened Opened, err error) {
	if o.Identity.Issuer == "" || o.Identity.Subject == "" {
		return opened, signInFailed()
	}
	c, known, err := a.accountOutside(ctx, a.store, o)
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
		return opened, factorNeeded("this portal demands a second factor, and the provider says that a password alone was enough: sign in there with a second factor")
	case !known:
		if n, err = n.Clean(); err == nil && n.Email != strings.TrimSpace(o.Email) {
			err = pbx.Invalid(pbx.FieldError{Field: "email", Code: pbx.FieldASCII, Message: "must be written in ASCII"})
		}
		if err != nil {
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
		now, still, err := a.accountOutside(ctx, tx, o)
		if errors.Is(err, ErrOtherIdentity) || err == nil && (still != known || now.ID != c.ID) { // since we looked
			return signInFailed()
		} else if err != nil {
			return err
		}
		var account pbx.Account
		if known {
			account, err = a.follow(ctx, tx, now, c.PasswordHash, hash, o.Identity)
		} else {
			account, err = a.insertOutside(ctx, tx, n, hash, o.Identity)
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
		return Opened{}, err
	}
	return opened, nil
}

// accounts is where accounts are looked up: in a transaction, or outside of one.
type accounts interface {
	AccountByIdentity(ctx context.Context, i pbx.Identity) (store.Credentials, bool, error)
	AccountByEmail(ctx context.Context, email string) (store.Credentials, bool, error)
}

// accountOutside finds the account of a person whom a provider has signed in: the one that belongs to that person, whatever the address is by
// now, or one with the address that belongs to nobody yet. ErrOtherIdentity comes with the account that was found instead.
func (a *Auth) accountOutside(ctx context.Context, in accounts, o Outside) (c store.Credentials, known bool, err error) {
	if c, known, err = in.AccountByIdentity(ctx, o.Identity); err != nil || known {
		return c, known, err
	}
	email, err := pbx.CleanEmail(o.Email)
	if err != nil || email != strings.TrimSpace(o.Email) { // a provider does not mistype: letters that only look like ASCII are another address
		return c, false, nil //nolint:nilerr // it is the same as an address nobody has
	}
	c, known, err = in.AccountByEmail(ctx, email)
	if known && c.Identity != (pbx.Identity{}) {
		return c, false, ErrOtherIdentity
	}
	return c, known, err
}

// otherIdentity notes that a person came with the address of an account that belongs to another, and gives ErrOtherIdentity.
func (a *Auth) otherIdentity(ctx context.Context, account pbx.Account, came pbx.Identity) error {
	if err := a.refusal(ctx, ActionLinkOther, string(account.ID), accountObject(account), identityFacts(came)); err != nil {
		return err
	}
	return ErrOtherIdentity
}

// insertOutside adds an account of a person whom only the provider knew.
func (a *Auth) insertOutside(ctx context.Context, tx *store.Tx, n pbx.NewAccount, hash string, i pbx.Identity) (pbx.Account, error) {
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

// follow notes the sign-in of an account that there is, as it is now. One that was invited has answered; one that belonged to no person of
// the provider belongs to this one.
func (a *Auth) follow(ctx context.Context, tx *store.Tx, c store.Credentials, seen, hash string, i pbx.Identity) (pbx.Account, error) {
	if c.Disabled || c.PasswordHash != seen { // since we looked
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
