//go:build linux

package faults_test

import (
	"context"
	"sync"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/proc"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// Between fork and exec a new process holds a copy of each open file, and with it the lock of that file: closing the file does not release the lock
// while another part of the program is starting a process, as ASTERISK_CONTROL=exec:… does for every query.
func TestAReleasedLockIsFreeAtOnceWhileProcessesAreStarted(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 1)
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for ctx.Err() == nil {
				_, _ = proc.Run(ctx, proc.Command{Argv: []string{"true"}})
			}
		})
	}
	defer others.Wait()
	defer stop()
	taken := map[string]int{}
	for range 3000 {
		unlock, held, err := s.local.Lock()
		if err != nil {
			t.Fatal(err)
		}
		if held {
			unlock()
		} else {
			taken["of the files"]++
		}
		lock, err := s.store.TryApplyLock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if lock != nil {
			lock.Release()
		} else {
			taken["of the database"]++
		}
	}
	if len(taken) > 0 {
		t.Errorf("the lock was still taken: %s", tally(taken))
	}
}
