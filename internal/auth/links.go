package auth

import (
	"context"
	"errors"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// SetupNeeded reports whether there are no accounts yet.
func (a *Auth) SetupNeeded(ctx context.Context) (bool, error) {
	if a.done.Load() {
		return false, nil
	}
	has, err := a.store.HasAccounts(ctx)
	if err == nil && has {
		a.done.Store(true) // permanent: the last owner cannot be removed
	}
	return !has, err
}

// SetupLink creates the link for the first account and invalidates the one before. needed is false, without a link, if accounts exist.
func (a *Auth) SetupLink(ctx context.Context) (link pbx.Link, needed bool, err error) {
	if needed, err = a.SetupNeeded(ctx); err != nil || !needed {
		return link, false, err
	}
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		has, err := tx.HasAccounts(ctx)
		if needed = !has; err != nil || has {
			return err
		}
		if link, err = a.link(ctx, tx, pbx.LinkSetup, ""); err != nil {
			return err
		}
		return a.note(ctx, tx, ActionLinkSetup, pbx.AuditObject{Type: "link", Name: string(pbx.LinkSetup)}, nil, pbx.Facts{"expires_at": link.ExpiresAt.Format(time.RFC3339)})
	})
	return link, needed && err == nil, err
}

// Setup is the input for the first account.
type Setup struct {
	Code      string // of the link that SetupLink returned
	Name      string
	Email     string
	Password  pbx.Secret
	UserAgent string
}

// Setup creates the first account, an owner, and signs it in. Errors: KindForbidden for an invalid code, KindConflict if accounts exist,
// KindInvalid.
func (a *Auth) Setup(ctx context.Context, s Setup) (opened SessionGrant, err error) {
	noGood := &pbx.Error{
		Kind: pbx.KindForbidden, Code: pbx.CodeSetupCode,
		Msg: "this set-up code is wrong, used or expired: start pbxportal serve again for a new one, or run pbxportal admin create",
	}
	needed, err := a.SetupNeeded(ctx)
	if err != nil {
		return opened, err
	}
	if !needed {
		return opened, setupDone()
	}
	// Check the code first: an unauthenticated caller must not cause hashing.
	if _, err = a.code(ctx, a.store, s.Code, noGood, pbx.LinkSetup); errors.Is(err, noGood) {
		return opened, a.linkRefused(ctx, noGood)
	} else if err != nil {
		return opened, err
	}
	n, hash, err := a.cleanNew(ctx, pbx.NewAccount{Name: s.Name, Email: s.Email, Role: pbx.Owner}, s.Password)
	if err != nil {
		return opened, err
	}
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		has, err := tx.HasAccounts(ctx)
		if err != nil {
			return err
		}
		if has {
			return setupDone()
		}
		if _, err = a.code(ctx, tx, s.Code, noGood, pbx.LinkSetup); err != nil {
			return err
		}
		if err = tx.DeleteOneTimeCodes(ctx, ""); err != nil {
			return err
		}
		account, err := a.insertUnasked(ctx, tx, n, hash, a.time())
		if err != nil {
			return err
		}
		opened, err = a.open(byPerson(ctx, account), tx, account, s.UserAgent, proved{})
		return err
	})
	if err != nil {
		return SessionGrant{}, err
	}
	return opened, nil
}

func setupDone() error {
	return &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeSetupDone, Msg: "there are accounts already: sign in, or ask an owner for an invitation"}
}

// Redeem sets the password of an invited or reset account, and signs it in. Errors: KindForbidden for an invalid code, KindInvalid for the
// password.
func (a *Auth) Redeem(ctx context.Context, code string, password pbx.Secret, userAgent string) (opened SessionGrant, err error) {
	noGood := &pbx.Error{
		Kind: pbx.KindForbidden, Code: pbx.CodeLinkInvalid,
		Msg: "this link is wrong, used or expired: ask for a new one",
	}
	kept, err := a.code(ctx, a.store, code, noGood, pbx.LinkInvite, pbx.LinkReset)
	if errors.Is(err, noGood) {
		return opened, a.linkRefused(ctx, noGood)
	} else if err != nil {
		return opened, err
	}
	c, ok, err := a.store.Account(ctx, kept.Account)
	switch {
	case err != nil:
		return opened, err
	case !ok || c.Disabled:
		return opened, a.linkRefused(ctx, noGood)
	}
	if err = cleanPassword("password", password, c.Name, c.Email); err != nil {
		return opened, err
	}
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return opened, err
	}
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		kept, err := a.code(ctx, tx, code, noGood, pbx.LinkInvite, pbx.LinkReset)
		if err != nil {
			return err
		}
		c, ok, err := tx.Account(ctx, kept.Account)
		switch {
		case err != nil:
			return err
		case !ok || c.Disabled:
			return noGood
		}
		if err = tx.DeleteOneTimeCodes(ctx, c.ID); err != nil {
			return err
		}
		if err = tx.DeleteSessions(ctx, c.ID); err != nil {
			return err
		}
		c.PasswordHash, c.Invited, c.LastSignIn = hash, false, a.time()
		if err = tx.UpdateAccount(ctx, c); err != nil {
			return err
		}
		ctx = byPerson(ctx, c.Account)
		if err = a.note(ctx, tx, ActionPassword, accountObject(c.Account), nil, pbx.Facts{"link": string(kept.Purpose)}); err != nil {
			return err
		}
		opened, err = a.open(ctx, tx, c.Account, userAgent, proved{})
		return err
	})
	if err != nil {
		return SessionGrant{}, err
	}
	return opened, nil
}

// link creates a one-time link for an account, or for the first one, and invalidates earlier ones.
func (a *Auth) link(ctx context.Context, tx *store.Tx, purpose pbx.LinkPurpose, account pbx.AccountID) (pbx.Link, error) {
	life := LinkLife
	if purpose == pbx.LinkSetup {
		life = SetupLife
	}
	now := a.time()
	link := pbx.Link{Code: newCode(), ExpiresAt: now.Add(life)}
	return link, tx.ReplaceOneTimeCode(ctx, store.OneTimeCode{Purpose: purpose, Account: account, CreatedAt: now, ExpiresAt: link.ExpiresAt}, digest(link.Code.Reveal()))
}

// codes looks up one-time codes, in a transaction or outside of one.
type codes interface {
	OneTimeCode(ctx context.Context, hash []byte) (store.OneTimeCode, bool, error)
}

// code returns the stored one-time code if it is valid for one of these purposes, and the error noGood otherwise.
func (a *Auth) code(ctx context.Context, in codes, text string, noGood error, good ...pbx.LinkPurpose) (store.OneTimeCode, error) {
	c, ok, err := in.OneTimeCode(ctx, digest(pbx.Code(text)))
	if err != nil {
		return c, err
	}
	for _, purpose := range good {
		if ok && c.Purpose == purpose && between(c.CreatedAt, a.now(), c.ExpiresAt) {
			return c, nil
		}
	}
	return store.OneTimeCode{}, noGood
}

// between reports whether first ≤ now < last.
func between(first, now, last time.Time) bool { return !now.Before(first) && now.Before(last) }
