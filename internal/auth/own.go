package auth

import (
	"context"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// ChangePassword changes the password of the caller's account. All its sessions end; a new one replaces the session of the call. Errors:
// KindInvalid if the current password is wrong or the new one is invalid; KindTooMany.
func (a *Auth) ChangePassword(ctx context.Context, current, password pbx.Secret, userAgent string) (opened SessionGrant, err error) {
	c, err := a.confirm(ctx, "current", current)
	if err != nil {
		return opened, err
	}
	if err = cleanPassword("new", password, c.Name, c.Email); err != nil {
		return opened, err
	}
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return opened, err
	}
	err = a.changeOwn(ctx, c, func(ctx context.Context, tx *store.Tx, c store.Credentials) error {
		if err := tx.DeleteSessions(ctx, c.ID); err != nil {
			return err
		}
		if err := tx.DeleteOneTimeCodes(ctx, c.ID); err != nil {
			return err
		}
		c.PasswordHash = hash
		if err := tx.UpdateAccount(ctx, c); err != nil {
			return err
		}
		if err := a.note(ctx, tx, ActionPassword, accountObject(c.Account), nil, nil); err != nil {
			return err
		}
		// The session of the call had passed the second factor if one was set when it was authenticated; one set up since is still owed.
		p := PrincipalOf(ctx)
		opened, err = a.open(ctx, tx, c.Account, userAgent, proved{factor: p.account.TOTP, vouched: p.session.Vouched})
		return err
	})
	if err != nil {
		return SessionGrant{}, err
	}
	return opened, nil
}

// NewTOTP is a second factor that is not confirmed yet.
type NewTOTP struct {
	Secret pbx.Secret // for typing
	URI    pbx.Secret // for a QR code
}

// StartTOTP creates a second factor for the caller's account. It takes effect with ConfirmTOTP.
func (a *Auth) StartTOTP(ctx context.Context, password pbx.Secret) (NewTOTP, error) {
	c, err := a.confirm(ctx, "password", password)
	if err != nil {
		return NewTOTP{}, err
	}
	secret, uri, err := newTOTP(c.Email)
	if err != nil {
		return NewTOTP{}, err
	}
	err = a.changeOwn(ctx, c, func(ctx context.Context, tx *store.Tx, c store.Credentials) error {
		if c.TOTP {
			return &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeTOTPOn, Msg: "this account has a second factor already: switch it off first"}
		}
		// Under the writers' lock, like everything that is sealed: a key that is being replaced must not be needed afterwards.
		if c.TOTPSecret, err = a.store.SealFactor(c.ID, secret); err != nil {
			return err
		}
		c.TOTPStep = 0
		if err = tx.ForgetTOTPSteps(ctx, c.ID); err != nil {
			return err
		}
		return tx.UpdateAccount(ctx, c)
	})
	if err != nil {
		return NewTOTP{}, err
	}
	return NewTOTP{secret, uri}, nil
}

// ConfirmTOTP enables a second factor once the caller has given a valid code, and returns the recovery codes, which are shown only once. The
// account's other sessions end, as they were opened without it.
func (a *Auth) ConfirmTOTP(ctx context.Context, otp string) (codes []pbx.Secret, err error) {
	account, err := self(ctx)
	if err != nil {
		return nil, err
	}
	try, err := a.pace.begin(pbx.ActorOf(ctx).From, account.Email)
	if err != nil {
		return nil, err
	}
	shown, kept := newRecoveryCodes()
	err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		c, ok, err := tx.Account(ctx, account.ID)
		switch {
		case err != nil:
			return err
		case !ok:
			return notSignedIn()
		case c.TOTP:
			return &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeTOTPOn, Msg: "this account has a second factor already: it is confirmed"}
		case c.TOTPSecret == "":
			return totpOff()
		}
		secret, err := a.store.OpenFactor(c.ID, c.TOTPSecret)
		if err != nil {
			return err
		}
		code, _ := cleanOTP(otp)
		if ok, err = a.useCode(ctx, tx, &c, secret, code); err != nil {
			return err
		} else if !ok {
			return pbx.Invalid(pbx.FieldError{Field: "otp", Code: pbx.FieldOTP, Message: "is not the current code: check the clocks of the authenticator and the server, and try the next code"})
		}
		c.TOTP = true
		return a.turnFactor(ctx, tx, c, kept, ActionTOTPOn)
	})
	if pbx.KindOf(err) != pbx.KindInvalid {
		try.takeBack()
	}
	if err != nil {
		return nil, err
	}
	return shown, nil
}

// StopTOTP disables the second factor of the caller's account.
func (a *Auth) StopTOTP(ctx context.Context, password pbx.Secret) error {
	c, err := a.confirm(ctx, "password", password)
	if err != nil {
		return err
	}
	return a.changeOwn(ctx, c, func(ctx context.Context, tx *store.Tx, c store.Credentials) error {
		switch {
		case c.TOTPSecret == "":
			return totpOff()
		case c.TOTP && a.factor.DemandedOf(c.Role):
			return factorNeeded("this portal requires a second factor for the role " + string(c.Role) + ": to move it to another device, have an owner reset the account, or run pbxportal admin reset")
		}
		c.TOTPSecret, c.TOTP, c.TOTPStep = "", false, 0
		return a.turnFactor(ctx, tx, c, nil, ActionTOTPOff)
	})
}

// turnFactor saves the caller's account, whose second factor was just enabled or disabled, with its recovery codes. The account's other sessions
// end.
func (a *Auth) turnFactor(ctx context.Context, tx *store.Tx, c store.Credentials, codes [][]byte, action string) error {
	if err := tx.UpdateAccount(ctx, c); err != nil {
		return err
	}
	if err := tx.DeleteOtherSessions(ctx, c.ID, PrincipalOf(ctx).Session()); err != nil {
		return err
	}
	if err := tx.ReplaceRecoveryCodes(ctx, c.ID, codes); err != nil {
		return err
	}
	return a.note(ctx, tx, action, accountObject(c.Account), nil, nil)
}

// confirm verifies the caller's password again before a change that a session alone must not authorise. A wrong password counts as a failed
// sign-in.
func (a *Auth) confirm(ctx context.Context, field string, password pbx.Secret) (c store.Credentials, err error) {
	account, err := self(ctx)
	if err != nil {
		return c, err
	}
	try, err := a.pace.begin(pbx.ActorOf(ctx).From, account.Email)
	if err != nil {
		return c, err
	}
	right := false
	c, ok, err := a.store.Account(ctx, account.ID)
	if err == nil && ok {
		right, err = a.passwordIs(ctx, c, password)
	}
	switch {
	case err != nil:
		try.takeBack()
		return c, err
	case !ok || c.Disabled:
		return c, notSignedIn()
	case !right:
		if err := a.refusal(ctx, ActionConfirmFailed, string(account.ID), accountObject(account), nil); err != nil {
			return c, err
		}
		return c, pbx.Invalid(pbx.FieldError{Field: field, Code: pbx.FieldPassword, Message: "is not your password"})
	}
	try.succeeded()
	return c, nil
}

// changeOwn runs fn on the account as re-read in a transaction, if its credentials have not changed.
func (a *Auth) changeOwn(ctx context.Context, was store.Credentials, fn func(context.Context, *store.Tx, store.Credentials) error) error {
	return a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		c, ok, err := tx.Account(ctx, was.ID)
		switch {
		case err != nil:
			return err
		case !ok || c.Disabled || c.PasswordHash != was.PasswordHash:
			return notSignedIn()
		}
		return fn(ctx, tx, c)
	})
}

// FactorNeeded returns the error for a caller who lacks a required second factor.
func FactorNeeded() error {
	return factorNeeded("this portal requires a second factor for this account, which has none yet: set one up in the pages, or with POST /account/totp")
}

func factorNeeded(msg string) error {
	return &pbx.Error{Kind: pbx.KindForbidden, Code: pbx.CodeSecondFactor, Msg: msg}
}

func totpOff() error {
	return &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeTOTPOff, Msg: "this account has no second factor to confirm or remove: start one first"}
}
