package store_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestOfManyKeysRecordedConcurrentlyOneIsFirstAndTheOthersAreRefused(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		storetest.Open(t, url)
		var all sync.WaitGroup
		rings, errs := make([]*keyring.Ring, 8), make([]error, 8)
		for i := range rings {
			s, ring := storetest.Open(t, url), newKeys(t)
			rings[i] = ring
			all.Go(func() {
				errs[i] = s.NoteKey(t.Context(), ring, func(was string) pbx.AuditEvent { return event(t.Context(), "key.use"+was) })
			})
		}
		all.Wait()
		at, err := storetest.Open(t, url).AtRest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		first := 0
		for i, ring := range rings {
			other, refused := errors.AsType[*store.OtherKeyError](errs[i])
			switch {
			case errs[i] == nil && ring.Current() == at.Key:
				first++
			case !refused || other.ID != at.Key:
				t.Errorf("key %s, noted %s: error %v", ring.Current(), at.Key, errs[i])
			}
		}
		if first != 1 || ask(t, url, `SELECT count(*) FROM audit_events`) != "1" {
			t.Errorf("%d were first, and there are %s events", first, ask(t, url, `SELECT count(*) FROM audit_events`))
		}
	})
}

func TestAReplacedKeyIsRecordedOnceWithItsEvent(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	note := func(keys *keyring.Ring) (asked int, was string) {
		t.Helper()
		err := s.NoteKey(t.Context(), keys, func(before string) pbx.AuditEvent {
			asked, was = asked+1, before
			return event(t.Context(), "key.rotate")
		})
		if err != nil {
			t.Fatal(err)
		}
		return asked, was
	}
	dir := t.TempDir()
	keys, err := keyring.Source{StateDir: dir}.LoadOrMake()
	if err != nil {
		t.Fatal(err)
	}
	old := keys.Current()
	if asked, was := note(keys); asked != 1 || was != "" {
		t.Errorf("the first: asked %d times, was %q", asked, was)
	}
	if _, err := keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	if asked, was := note(keys); asked != 1 || was != old {
		t.Errorf("after a turn: asked %d times, was %q, want %q", asked, was, old)
	}
	if asked, _ := note(keys); asked != 0 {
		t.Errorf("noted again: asked %d times", asked)
	}
}
