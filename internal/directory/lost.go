package directory

import (
	"context"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// ReissueLostSecrets gives a new secret to each phone whose secret is encrypted with this key, which is lost, and returns the users of these phones, each
// once or more often. Their phones register with the old secret until the next apply, and need the new one after it. If it is interrupted, some phones
// have new secrets; calling it again continues with the others.
func (d *Directory) ReissueLostSecrets(ctx context.Context, key string) (renewed []pbx.User, err error) {
	renewed, err = d.reissue(ctx, func(ctx context.Context, tx *store.Tx) ([]pbx.User, error) { return tx.UsersSealedBy(ctx, key) }, d.reissueFirst)
	if err != nil {
		return renewed, err
	}
	further, err := d.reissue(ctx, func(ctx context.Context, tx *store.Tx) ([]pbx.User, error) { return tx.DevicesSealedBy(ctx, key) }, d.reissueFurther)
	return append(renewed, further...), err
}

// reissue calls renew with the users that lost returns, some of them in each transaction, until there are none.
func (d *Directory) reissue(ctx context.Context, lost func(context.Context, *store.Tx) ([]pbx.User, error),
	renew func(context.Context, *store.Tx, time.Time, *pbx.User) error,
) (renewed []pbx.User, err error) {
	for {
		var some []pbx.User
		err = d.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
			some, err = lost(ctx, tx)
			now := d.now().UTC().Truncate(time.Microsecond)
			for i := range some {
				if err == nil {
					err = renew(ctx, tx, now, &some[i])
				}
			}
			return err
		})
		if err != nil || len(some) == 0 {
			return renewed, err
		}
		renewed = append(renewed, some...)
	}
}

// reissueFirst gives the first phone of a user a new secret.
func (d *Directory) reissueFirst(ctx context.Context, tx *store.Tx, now time.Time, u *pbx.User) error {
	u.Extension.Secret = pbx.NewSecret()
	event, facts, err := d.event(ctx, now, pbx.ActionUserSecret, *u)
	if err != nil {
		return err
	}
	event.After = facts
	return tx.SetSecret(ctx, u.Extension.ID, u.Extension.Secret, event)
}

// reissueFurther gives the only one of the further phones a new secret.
func (d *Directory) reissueFurther(ctx context.Context, tx *store.Tx, now time.Time, u *pbx.User) error {
	phone := &u.Devices[0]
	phone.Secret = pbx.NewSecret()
	event, facts, err := d.event(ctx, now, pbx.ActionDeviceSecret, *u)
	if err != nil {
		return err
	}
	delete(facts, "secret") // of the first, which is not read
	event.After = facts
	return tx.SetDeviceSecret(ctx, phone.ID, phone.Secret, event)
}
