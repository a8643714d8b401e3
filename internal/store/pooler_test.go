package store_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// Through a transaction pooler two portals could apply concurrently: the lock belongs to a connection that the next statement may not get.
func TestATransactionPoolerIsRefusedWithTheFix(t *testing.T) {
	t.Parallel()
	direct := labtest.Postgres(t)
	for name, settings := range map[string][]string{
		"transaction":                          {"pool_mode = transaction"},
		"transaction, prepared statements off": {"pool_mode = transaction", "max_prepared_statements = 0"},
		"transaction, one server":              {"pool_mode = transaction", "default_pool_size = 2", "max_db_connections = 2"},
		"transaction, reset after each":        {"pool_mode = transaction", "server_reset_query = DISCARD ALL", "server_reset_query_always = 1"},
		"statement":                            {"pool_mode = statement"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := store.Open(labtest.Pgbouncer(t, direct, settings...))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_, err = s.Migrate(t.Context())
			for what, err := range map[string]error{"opening": err, "doctor": s.Pooled(t.Context())} {
				if pbx.KindOf(err) != pbx.KindUnavailable || !strings.Contains(err.Error(), "pool_mode=session") || !strings.Contains(err.Error(), "directly") {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

func TestABusyTransactionPoolerIsRecognised(t *testing.T) {
	t.Parallel()
	url := labtest.Pgbouncer(t, labtest.Postgres(t), "pool_mode = transaction", "default_pool_size = 8")
	busy, err := store.Open(url) // other clients of the pooler take server connections in between
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	var others sync.WaitGroup
	end := make(chan struct{})
	for range 4 {
		others.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
					_ = busy.Ping(t.Context())
				}
			}
		})
	}
	defer others.Wait()
	defer close(end)
	for range 20 {
		s, err := store.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		if s.Pooled(t.Context()) == nil {
			t.Error("not recognised")
		}
		_ = s.Close()
	}
}

// A session pooler keeps a server for each connection: everything works through it, and there is one lock.
func TestASessionPoolerWorksLikePostgreSQLItself(t *testing.T) {
	t.Parallel()
	direct := labtest.Postgres(t)
	through := labtest.Pgbouncer(t, direct, "pool_mode = session")
	a, b := storetest.Open(t, through), storetest.Open(t, direct)
	for i, s := range []*store.Store{a, b, a, b} {
		if err := insert(t.Context(), s, newUser(pbx.Number(1000+i), strings.Repeat("a", i+1)+"@example.com")); err != nil {
			t.Fatal(err)
		}
		users, err := a.Users(t.Context(), pbx.DefaultTenant)
		if len(users) != i+1 || err != nil {
			t.Fatalf("%d users, %v", len(users), err)
		}
	}
	for range 16 {
		lock, err := a.TryApplyLock(t.Context())
		if lock == nil || err != nil {
			t.Fatalf("lock %v, error %v", lock, err)
		}
		for _, s := range []*store.Store{a, b} {
			if second, err := s.TryApplyLock(t.Context()); second != nil || err != nil {
				t.Errorf("a second lock: %v, error %v", second, err)
			}
		}
		if err := lock.Check(t.Context()); err != nil {
			t.Error(err)
		}
		lock.Release()
		if lock, err = b.TryApplyLock(t.Context()); lock == nil || err != nil {
			t.Fatalf("after its release: %v, error %v", lock, err)
		}
		lock.Release()
	}
}
