package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// BenchmarkListing1000Users reads all users as GET /users and an apply do: after a change, and again.
func BenchmarkListing1000Users(b *testing.B) {
	storetest.EachBench(b, func(b *testing.B, url string) {
		s := storetest.Open(b, url)
		insertThousand(b, s)
		list := func(b *testing.B) {
			users, err := s.Users(b.Context(), pbx.DefaultTenant)
			if err != nil || len(users) != pbx.PoolSize {
				b.Fatalf("%d users, error %v", len(users), err)
			}
		}
		b.Run("changed", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				s.UseKeys(storetest.Keys(b), false) // forgets the list as a change does
				b.StartTimer()
				list(b)
			}
		})
		b.Run("unchanged", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				list(b)
			}
		})
	})
}

// insertThousand inserts a user for every number of the pool.
func insertThousand(b *testing.B, s *store.Store) {
	b.Helper()
	err := s.InTx(b.Context(), func(ctx context.Context, tx *store.Tx) error {
		now := time.Now().UTC().Truncate(time.Microsecond)
		for n := pbx.FirstNumber; n <= pbx.LastNumber; n++ {
			if err := tx.InsertUsers(ctx, store.NewUser{User: pbx.User{
				ID: pbx.UserID(uuid.NewString()), TenantID: pbx.DefaultTenant, CreatedAt: now,
				Name: fmt.Sprintf("User %d", n), Email: fmt.Sprintf("user%d@example.com", n),
				Extension: pbx.Extension{ID: pbx.ExtensionID(uuid.NewString()), Number: n, Secret: pbx.NewSecret(), CreatedAt: now},
			}, Event: event(ctx, pbx.ActionUserCreate)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
