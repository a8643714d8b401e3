package directory

import (
	"context"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// ReissueLostSecrets gives a new secret to each user whose secret is encrypted with this key, which is lost, and returns these users with their
// new secrets. Their phones register with the old secret until the next apply, and need the new one after it. If it is interrupted, some users
// have new secrets; calling it again continues with the others.
func (d *Directory) ReissueLostSecrets(ctx context.Context, key string) (renewed []pbx.User, err error) {
	for {
		var some []pbx.User
		err = d.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
			if some, err = tx.UsersSealedBy(ctx, key); err != nil {
				return err
			}
			now := d.now().UTC().Truncate(time.Microsecond)
			for i := range some {
				u := &some[i]
				u.Extension.Secret = pbx.NewSecret()
				event, facts, err := d.event(ctx, now, pbx.ActionUserSecret, *u)
				if err != nil {
					return err
				}
				event.After = facts
				if err := tx.SetSecret(ctx, u.Extension.ID, u.Extension.Secret, event); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(some) == 0 {
			return renewed, err
		}
		renewed = append(renewed, some...)
	}
}
