package auth

import (
	"context"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// ReplaceLostFactors puts a secret that nobody knows in the place of each second factor that is sealed with this key, which is lost, and gives
// the accounts. Whoever has one is still asked for it, so that a password alone opens nothing that it did not open before: he signs in with
// a recovery code and makes himself a new one, or is reset. One that was not confirmed yet is dropped.
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
