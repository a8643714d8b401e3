package auth

import (
	"context"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// ReplaceLostFactors replaces each second factor that is sealed with the given, lost key by a random secret, and returns the accounts. They still
// need a second factor, so that a password alone grants no more than before: their users sign in with a recovery code and set up a new factor, or
// have the account reset. An unconfirmed factor is removed.
func (a *Auth) ReplaceLostFactors(ctx context.Context, key string) (accounts []pbx.Account, err error) {
	for {
		var some []store.Credentials
		err = a.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
			if some, err = tx.AccountsSealedBy(ctx, key); err != nil {
				return err
			}
			for _, c := range some {
				if err := a.replaceFactor(ctx, tx, c); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(some) == 0 {
			return accounts, err
		}
		for _, c := range some {
			if c.TOTP {
				accounts = append(accounts, c.Account)
			}
		}
	}
}

func (a *Auth) replaceFactor(ctx context.Context, tx *store.Tx, c store.Credentials) error {
	c.TOTPStep = 0
	if !c.TOTP {
		c.TOTPSecret = ""
		return tx.UpdateAccount(ctx, c)
	}
	secret, _, err := newTOTP(c.Email)
	if err != nil {
		return err
	}
	if c.TOTPSecret, err = a.store.SealFactor(c.ID, secret); err != nil {
		return err
	}
	if err := tx.UpdateAccount(ctx, c); err != nil {
		return err
	}
	return a.note(ctx, tx, ActionTOTPLost, accountObject(c.Account), nil, nil)
}
