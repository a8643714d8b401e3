//go:build linux

package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

var soak = flag.Duration("soak", 5*time.Second, "how long the soak goes on, on each engine")

// The soak changes users at random, applies, kills the portal and Asterisk at random moments, and suspends Asterisk; after each step it
// compares files, live Asterisk and audit. For an hour of it: go test ./internal/faults -run Soak -soak 1h -timeout 0.
func TestSoak(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		length := *soak
		if testing.Short() {
			length /= 10
		}
		s := newSite(t, labtest.Asterisk(t), url, 5)
		count := map[string]int{}
		acknowledged := map[pbx.RunID]int{}
		for end := now().Add(length); now().Before(end) && !t.Failed(); {
			s.step(t, count, acknowledged)
		}
		lost := 0
		for id, revision := range acknowledged {
			run, ok, err := s.store.Run(t.Context(), id)
			if err != nil || !ok || run.Log.Outcome != pbx.Success || run.Revision != revision {
				lost++
				t.Errorf("apply %s was acknowledged as revision %d and is on record as %+v, %v", id, revision, run.Log, err)
			}
		}
		t.Logf("%d applies acknowledged, %d lost; %s", len(acknowledged), lost, tally(count))
	})
}

// step makes one random change and checks that everything agrees.
func (s *site) step(t *testing.T, count map[string]int, acknowledged map[pbx.RunID]int) {
	t.Helper()
	before, _ := s.meant(t)
	for range 1 + rand.IntN(3) {
		switch users := s.users(t); {
		case len(users) < 3 || len(users) < 30 && rand.IntN(2) == 0:
			s.create(t)
		default:
			s.remove(t, users[rand.IntN(len(users))])
		}
	}
	after, _ := s.meant(t)
	known := len(s.logs(t))

	kill, fault := rand.IntN(2) == 0, rand.IntN(6)
	moment := time.Duration(rand.IntN(120)) * time.Millisecond
	p, log := s.start(t, "apply", "--json")
	down := false
	wait(t.Context(), time.Duration(rand.IntN(80))*time.Millisecond)
	var err error
	switch fault {
	case 0:
		down, err = true, s.asterisk.Kill()
		count["kills of Asterisk"]++
	case 1:
		err = s.asterisk.Suspend()
		wait(t.Context(), moment)
		err = errors.Join(err, s.asterisk.Resume())
		count["stops of Asterisk"]++
	}
	if err != nil {
		t.Fatal(err)
	}
	if kill {
		wait(t.Context(), moment)
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		count["kills of the portal"]++
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	result, err := p.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if result.ExitCode == 0 {
		var r ran
		if err := json.Unmarshal(said, &r); err != nil {
			t.Fatalf("%v in %s", err, said)
		}
		acknowledged[pbx.RunID(r.ID)] = r.Revision
	}
	if down {
		if err := s.asterisk.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	count["steps"]++
	for _, f := range s.examine(t, before, after, known) {
		count["disagreements"]++
		t.Errorf("killed %v, fault %d: %s\n%s", kill, fault, f, said)
	}
}
