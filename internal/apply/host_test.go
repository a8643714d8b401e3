package apply_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// counted counts how often the files of the host are read.
type counted struct {
	*script
	reads atomic.Int64
}

func (c *counted) Declared(ctx context.Context) ([]pbx.HostObject, error) {
	c.reads.Add(1)
	return c.script.Declared(ctx)
}

func TestTheHostIsReadOnceASecondAndAsteriskQueriedOnceHoweverManyUsersAreCreated(t *testing.T) {
	t.Parallel()
	for name, deaf := range map[string]bool{"Asterisk answers": false, "Asterisk does not answer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := &counted{script: &script{declared: []pbx.HostObject{{Kind: "aor", Number: 1500}}}}
			if deaf {
				target.liveErr = errors.New("hangs")
			}
			var clock atomic.Int64
			s := storetest.New(t)
			engine := apply.New(apply.Config{Store: s, Target: target, Now: func() time.Time { return time.Unix(1_800_000_000+clock.Load(), 0) }})
			const seconds = 3
			asked := int64(0) // the reads that the query to Asterisk adds
			for second := range int64(seconds) {
				clock.Store(2 * second)
				var all sync.WaitGroup
				for range 200 {
					all.Go(func() { engine.LookAtHost(t.Context()) })
				}
				all.Wait()
				if second == 0 && !deaf {
					asked = 1
				}
				if got, want := target.reads.Load(), second+1+asked; got != want {
					t.Errorf("after second %d the files were read %d times, want %d", second, got, want)
				}
			}
			if target.asked != 1 {
				t.Errorf("Asterisk was asked %d times, want once", target.asked)
			}
			got, err := s.Host(t.Context(), store.HostFiles)
			if diff := cmp.Diff(target.declared, got); diff != "" || err != nil {
				t.Errorf("error %v\n%s", err, diff)
			}
		})
	}
}
