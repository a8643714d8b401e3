package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Accounts returns all accounts, ordered by name.
func (a *Auth) Accounts(ctx context.Context) ([]pbx.Account, error) { return a.store.Accounts(ctx) }

// AccountPage returns up to limit accounts, ordered by name, that follow the account after, and the cursor of the next page, "" on the last page.
// KindInvalid if after does not exist.
func (a *Auth) AccountPage(ctx context.Context, after pbx.AccountID, limit int) (page []pbx.Account, next pbx.AccountID, err error) {
	id, ok := pbx.CanonicalID(after)
	if after != "" && !ok {
		return nil, "", noCursor()
	}
	page, ok, err = a.store.AccountsAfter(ctx, id, limit+1)
	switch {
	case err != nil:
		return nil, "", err
	case !ok:
		return nil, "", noCursor()
	case len(page) > limit:
		page = page[:limit]
		next = page[limit-1].ID
	}
	return page, next, nil
}

func noCursor() error {
	return pbx.Invalid(pbx.FieldError{Field: "cursor", Code: pbx.FieldCursor, Message: "is not a cursor: give the next_cursor of an earlier answer, or none"})
}

// AccountByEmail returns the account with an e-mail address, ignoring case; KindNotFound if there is none.
func (a *Auth) AccountByEmail(ctx context.Context, email string) (pbx.Account, error) {
	c, ok, err := a.accountByEmail(ctx, email)
	if err == nil && !ok {
		err = noAccount(email)
	}
	return c.Account, err
}

// Invite creates an account without a password and a link for setting one. Errors: KindInvalid for the input, KindConflict for a taken address,
// KindForbidden for a role that the caller may not manage.
func (a *Auth) Invite(ctx context.Context, n pbx.NewAccount) (pbx.Account, pbx.Link, error) {
	n, err := n.Clean()
	if err != nil {
		return pbx.Account{}, pbx.Link{}, err
	}
	var account pbx.Account
	var link pbx.Link
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		if err = a.stillProved(ctx, tx); err != nil {
			return err
		}
		if account, err = a.insert(ctx, tx, n, ""); err != nil {
			return err
		}
		link, err = a.link(ctx, tx, pbx.LinkInvite, account.ID)
		return err
	})
	if err != nil {
		return pbx.Account{}, pbx.Link{}, err
	}
	return account, link, nil
}

// Create creates an account with a password. It returns the errors of Invite.
func (a *Auth) Create(ctx context.Context, n pbx.NewAccount, password pbx.Secret) (pbx.Account, error) {
	n, hash, err := a.cleanNew(ctx, n, password)
	if err != nil {
		return pbx.Account{}, err
	}
	var account pbx.Account
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		account, err = a.insert(ctx, tx, n, hash)
		return err
	})
	if err != nil {
		return pbx.Account{}, err
	}
	return account, nil
}

// cleanNew is CheckNew, and also hashes the password.
func (a *Auth) cleanNew(ctx context.Context, n pbx.NewAccount, password pbx.Secret) (_ pbx.NewAccount, hash string, err error) {
	clean, err := CheckNew(n, password)
	if err != nil {
		return n, "", err
	}
	hash, err = a.hasher.hash(ctx, password)
	return clean, hash, err
}

// CheckNew returns the normalised form of a new account with a password, or an Error of KindInvalid that names every invalid field.
func CheckNew(n pbx.NewAccount, password pbx.Secret) (pbx.NewAccount, error) {
	clean, err := n.Clean()
	return clean, pbx.Invalid(append(pbx.FieldsOf(err), pbx.FieldsOf(cleanPassword("password", password, n.Name, n.Email))...)...)
}

// insert adds an account.
func (a *Auth) insert(ctx context.Context, tx *store.Tx, n pbx.NewAccount, hash string) (pbx.Account, error) {
	if !powersOf(ctx).over(n.Role, nil) {
		return pbx.Account{}, beyond(n.Role)
	}
	return a.insertUnasked(ctx, tx, n, hash, time.Time{})
}

// insertUnasked adds an account without checking the caller's permissions: for the first account, which is authorised by its set-up link.
func (a *Auth) insertUnasked(ctx context.Context, tx *store.Tx, n pbx.NewAccount, hash string, signedIn time.Time) (pbx.Account, error) {
	if _, taken, err := tx.AccountByEmail(ctx, n.Email); err != nil || taken {
		if err == nil {
			err = &pbx.Error{
				Kind: pbx.KindConflict, Code: pbx.CodeAccountTaken, Msg: "the e-mail address " + n.Email + " is taken",
				Fields: []pbx.FieldError{{Field: "email", Code: pbx.FieldTaken, Message: "another account has this address: use a different one, or delete that account first"}},
			}
		}
		return pbx.Account{}, err
	}
	c := store.Credentials{PasswordHash: hash, Account: pbx.Account{
		ID: pbx.AccountID(uuid.NewString()), Name: n.Name, Email: n.Email, Role: n.Role, CreatedAt: a.time(), Invited: hash == "", LastSignIn: signedIn,
	}}
	if err := tx.InsertAccount(ctx, c); err != nil {
		return pbx.Account{}, err
	}
	return c.Account, a.note(ctx, tx, ActionAccountCreate, accountObject(c.Account), nil, accountFacts(c.Account))
}

// AccountChange lists the fields to change; nil fields are unchanged.
type AccountChange struct {
	Name     *string
	Role     *pbx.Role
	Disabled *bool
	User     *pbx.UserID // who is the person of the account; "": none
}

// Update changes an account. A new role, or disabling the account, ends its sessions and revokes those of its tokens that exceed its new
// permissions. The user who is the person of an account changes no permissions. Errors: KindInvalid, also for a user who does not exist or is linked to another
// account, KindNotFound, KindForbidden, and KindConflict if no owner would be left.
func (a *Auth) Update(ctx context.Context, id pbx.AccountID, change AccountChange) (updated pbx.Account, err error) {
	err = a.change(ctx, id, func(ctx context.Context, tx *store.Tx, c store.Credentials) error {
		was := c
		c.Name, c.Role, c.Disabled = or(change.Name, c.Name), or(change.Role, c.Role), or(change.Disabled, c.Disabled)
		n, err := pbx.NewAccount{Name: c.Name, Email: c.Email, Role: c.Role}.Clean()
		if err != nil {
			return err
		}
		c.Name = n.Name
		if !powersOf(ctx).over(c.Role, nil) {
			return beyond(c.Role)
		}
		if c.Role != pbx.Owner || c.Disabled {
			if err := a.keepAnOwner(ctx, tx, was.Account); err != nil {
				return err
			}
		}
		if c.Role != was.Role || c.Disabled && !was.Disabled {
			if err := a.cutDown(ctx, tx, c.Account); err != nil {
				return err
			}
		}
		before, after := accountFacts(was.Account), accountFacts(c.Account)
		if change.User != nil {
			if err := link(ctx, tx, c.ID, *change.User, before, after); err != nil {
				return err
			}
		}
		if err := tx.UpdateAccount(ctx, c); err != nil {
			return err
		}
		updated = c.Account
		if err := tx.SetPerson(ctx, &updated); err != nil {
			return err
		}
		return a.note(ctx, tx, ActionAccountUpdate, accountObject(c.Account), before, after)
	})
	return updated, err
}

// link links an account to a user, or to none for "", and adds both to the facts before and after.
func link(ctx context.Context, tx *store.Tx, account pbx.AccountID, user pbx.UserID, before, after pbx.Facts) error {
	was, err := tx.UserOfAccount(ctx, account)
	if err != nil {
		return err
	}
	if user != "" {
		id, known := pbx.CanonicalID(user)
		if known {
			_, known, err = tx.User(ctx, pbx.DefaultTenant, id)
		}
		if err != nil {
			return err
		}
		if user = id; !known {
			return pbx.Invalid(pbx.FieldError{Field: "user_id", Code: pbx.FieldChoice, Message: "there is no such user: list the users to see which there are"})
		}
		switch other, taken, err := tx.AccountOfUser(ctx, user); {
		case err != nil:
			return err
		case taken && other.ID != account:
			return pbx.Invalid(pbx.FieldError{Field: "user_id", Code: pbx.FieldTaken, Message: "this user is linked to the account " + other.Email + ": unlink that one first"})
		}
	}
	before["user_id"], after["user_id"] = string(was), string(user)
	return tx.LinkAccount(ctx, account, user)
}

// cutDown ends the sessions of an account whose permissions have changed, and revokes what exceeds the new ones.
func (a *Auth) cutDown(ctx context.Context, tx *store.Tx, account pbx.Account) error {
	role := account.Role
	if account.Disabled {
		role = ""
		if err := tx.DeleteOneTimeCodes(ctx, account.ID); err != nil {
			return err
		}
	}
	if err := tx.DeleteSessions(ctx, account.ID); err != nil {
		return err
	}
	return a.revokeBeyond(ctx, tx, account.ID, role)
}

// Delete removes an account with its sessions and links, and revokes its tokens. It returns the errors of Update.
func (a *Auth) Delete(ctx context.Context, id pbx.AccountID) error {
	return a.change(ctx, id, func(ctx context.Context, tx *store.Tx, c store.Credentials) error {
		if err := a.keepAnOwner(ctx, tx, c.Account); err != nil {
			return err
		}
		if err := a.revokeBeyond(ctx, tx, id, ""); err != nil {
			return err
		}
		if err := tx.DeleteAccount(ctx, c.ID); err != nil {
			return err
		}
		return a.note(ctx, tx, ActionAccountDelete, accountObject(c.Account), accountFacts(c.Account), nil)
	})
}

// Reset removes an account's password, second factor, recovery codes, provider identity and sessions, and returns a link for setting a new
// password. Callers cannot reset their own account, nor with their own token: an unattended session would be as good as the password.
func (a *Auth) Reset(ctx context.Context, id pbx.AccountID) (link pbx.Link, err error) {
	err = a.change(ctx, id, func(ctx context.Context, tx *store.Tx, c store.Credentials) error {
		own, _ := PrincipalOf(ctx).Account()
		token, _ := PrincipalOf(ctx).Token()
		if c.ID == own.ID || c.ID == token.CreatedBy {
			return forbidden("you cannot reset your own account: change its password, or, if you do not know it, ask another administrator, or run pbxportal admin reset on the host")
		}
		purpose := pbx.LinkReset
		if c.Invited {
			purpose = pbx.LinkInvite
		}
		was := c.Account
		c.PasswordHash, c.Invited, c.TOTPSecret, c.TOTP, c.TOTPStep, c.Identity = "", true, "", false, 0, pbx.Identity{}
		if err := tx.UpdateAccount(ctx, c); err != nil {
			return err
		}
		if err := tx.ReplaceRecoveryCodes(ctx, c.ID, nil); err != nil {
			return err
		}
		if err := tx.DeleteSessions(ctx, c.ID); err != nil {
			return err
		}
		if link, err = a.link(ctx, tx, purpose, c.ID); err != nil {
			return err
		}
		return a.note(ctx, tx, ActionAccountReset, accountObject(c.Account), accountFacts(was), accountFacts(c.Account))
	})
	return link, err
}

// Unlink removes the provider identity of an account and ends its sessions, so that the next sign-in with the account's address links it again. had
// is false if the account had no identity. It returns the errors of Update.
func (a *Auth) Unlink(ctx context.Context, id pbx.AccountID) (had bool, err error) {
	err = a.change(ctx, id, func(ctx context.Context, tx *store.Tx, c store.Credentials) error {
		was := c.Identity
		if had = was != (pbx.Identity{}); !had {
			return nil
		}
		c.Identity = pbx.Identity{}
		if err := tx.UpdateAccount(ctx, c); err != nil {
			return err
		}
		if err := tx.DeleteSessions(ctx, c.ID); err != nil {
			return err
		}
		return a.note(ctx, tx, ActionUnlink, accountObject(c.Account), identityFacts(was), nil)
	})
	return had, err
}

// change runs fn in a transaction on an account that the caller may manage.
func (a *Auth) change(ctx context.Context, id pbx.AccountID, fn func(context.Context, *store.Tx, store.Credentials) error) error {
	key, ok := pbx.CanonicalID(id)
	if !ok {
		return noAccount(string(id))
	}
	return a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := a.stillProved(ctx, tx); err != nil {
			return err
		}
		c, ok, err := tx.Account(ctx, key)
		switch {
		case err != nil:
			return err
		case !ok:
			return noAccount(string(id))
		case !powersOf(ctx).over(c.Role, nil):
			return beyond(c.Role)
		}
		return fn(ctx, tx, c)
	})
}

// keepAnOwner returns an error if no owner who can sign in would be left.
func (a *Auth) keepAnOwner(ctx context.Context, tx *store.Tx, leaving pbx.Account) error {
	if leaving.Role != pbx.Owner || leaving.Disabled {
		return nil
	}
	other, err := tx.HasOtherOwner(ctx, leaving.ID)
	if err == nil && !other {
		err = &pbx.Error{
			Kind: pbx.KindConflict, Code: pbx.CodeLastOwner,
			Msg: "this is the last owner who can sign in: give another account the role owner first, and have its user set a password",
		}
	}
	return err
}

func noAccount(key string) error {
	return &pbx.Error{
		Kind: pbx.KindNotFound, Code: pbx.CodeAccountNotFound,
		Msg: fmt.Sprintf("there is no account %q: list the accounts to see them", key),
	}
}

func beyond(role pbx.Role) error {
	return forbidden(fmt.Sprintf("you may not manage the role %s: ask a user who has all its permissions", role))
}

func or[T any](p *T, fallback T) T {
	if p == nil {
		return fallback
	}
	return *p
}
