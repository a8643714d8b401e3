package apply_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// watched starts Engine.Run. reports returns what it reported in the next minute.
func watched(t *testing.T, f fixture) (reports func() string) {
	t.Helper()
	var said []string
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- f.engine.Run(ctx, func(message string, err error) {
			if err != nil {
				message += ": " + err.Error()
			}
			said = append(said, message)
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func() string {
		changed.Add(1)
		<-time.After(time.Minute)
		synctest.Wait()
		all := strings.Join(said, "\n")
		said = nil
		return all
	}
}

func TestDriftIsReportedOnceWhenItAppearsAndOnceWhenItIsResolved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &script{})
		reports := watched(t, f)
		expect := func(when string, want ...string) {
			t.Helper()
			lines := strings.Split(reports(), "\n")
			if len(want) == 0 {
				want = []string{""}
			}
			for i := range max(len(lines), len(want)) {
				if i >= len(lines) || i >= len(want) || !strings.Contains(lines[i], want[i]) {
					t.Errorf("%s: it reports %q, want %q", when, lines, want)
					return
				}
			}
		}
		edited, foreign := pbx.Drift{Kind: pbx.Edited, Path: "/x"}, pbx.Drift{Kind: pbx.External, Path: "/backup.conf"}
		expect("without changes")
		f.drift = []pbx.Drift{edited}
		expect("after a hand edit", "/x was edited by hand: review the plan")
		expect("a minute later")
		f.drift = []pbx.Drift{edited, foreign}
		expect("with a foreign file as well", "/backup.conf is not the portal's, but Asterisk reads it together with the portal's files: move it away")
		f.drift = []pbx.Drift{foreign}
		expect("when the hand edit is undone", "resolved: no longer present: /x was edited by hand")
		f.drift = nil
		expect("without changes again", "resolved: no longer present: /backup.conf")
		expect("a minute later")
		f.inspectErr = errors.New("permission denied")
		expect("when the files cannot be read", "the files cannot be looked at: permission denied")
		expect("a minute later")
		f.inspectErr = nil
		expect("when they can be read again", "the files can be looked at again")
		if did := slices.DeleteFunc(f.calls, func(call string) bool { return call == "live" }); len(did) > 0 {
			t.Errorf("it did more than read and query: %v", did)
		}
	})
}

func TestThePortalDoesNotCatchUpWhileTheFilesHaveDrifted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &script{reloadErr: errors.New("down")})
		if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); pbx.CodeOf(err) != pbx.CodeReloadFailed {
			t.Fatal(err)
		}
		reports := watched(t, f)
		if said := reports(); strings.Count(said, "Asterisk has not loaded the files yet: down") != 5 { // after 10, 12, 16, 24 and 40 s
			t.Errorf("while Asterisk is down: %s", said)
		}
		f.drift, f.reloadErr, f.calls = []pbx.Drift{{Kind: pbx.Edited, Path: "/x"}}, nil, nil
		if said := reports(); strings.Contains(said, "caught up") || len(f.calls) > 0 || f.site.LastVerified == f.site.Current {
			t.Errorf("a hand edit was deployed: %s, %v", said, f.calls)
		}
		if done, err := f.engine.CatchUp(t.Context()); done || pbx.CodeOf(err) != pbx.CodeDrift || !strings.Contains(err.Error(), "/x was edited by hand") {
			t.Errorf("done %v, error %v", done, err)
		}
		f.drift = nil
		if said := reports(); !strings.Contains(said, "Asterisk has caught up with the files") || f.site.LastVerified != f.site.Current {
			t.Errorf("when the edit is undone: %s", said)
		}
	})
}

func TestAnObjectThatAsteriskLosesBetweenAppliesIsReportedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &script{})
		f.apply(t, apply.Request{TriggeredBy: "test"})
		reports := watched(t, f)
		if said := reports(); said != "" {
			t.Errorf("without differences, it reports %q", said)
		}
		f.live = func(l pbx.Live) pbx.Live { l.IDs["auth"] = l.IDs["auth"][1:]; return l }
		if said := reports(); !strings.Contains(said, "auth 1000 is missing") {
			t.Errorf("with a missing auth, it reports %q", said)
		}
		if said := reports(); said != "" {
			t.Errorf("with nothing new, it reports %q", said)
		}
		f.live = nil
		if said := reports(); !strings.Contains(said, "resolved") {
			t.Errorf("with the auth present again, it reports %q", said)
		}
	})
}

// An apply that Asterisk does not answer is not a success. The portal retries it automatically, and records that it keeps failing, once, however often
// it fails, and that it succeeded.
func TestAnUnconfirmedApplyIsRetriedAndRecordedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &script{liveErr: errors.New("garbage")})
		run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
		if pbx.CodeOf(err) != pbx.CodeNotConfirmed || run.Log.Outcome != pbx.Failure || !f.ahead() {
			t.Fatalf("%s, %s, error %v", run.Result, run.Log.Outcome, err)
		}
		reports := watched(t, f)
		records := func() (all []pbx.Run) {
			page, err := f.engine.Logs(t.Context(), apply.LogQuery{Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range page.Logs {
				if l.TriggeredBy == "portal" {
					story, err := f.engine.RunDetails(t.Context(), l.ID)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, story)
				}
			}
			return all
		}
		if said := reports(); strings.Count(said, "has not loaded the files yet: it could not be verified that Asterisk runs them: garbage") != 5 || len(records()) != 0 {
			t.Errorf("in the first minute: %d records, %s", len(records()), said)
		}
		for range 400 { // minutes
			reports()
		}
		failed := records()
		if len(failed) != 1 || failed[0].Result != pbx.NotConfirmed || failed[0].Log.Outcome != pbx.Failure || !strings.Contains(failed[0].Log.ErrorDetails, "garbage") || !f.ahead() {
			t.Fatalf("the records after hours are %+v", failed)
		}
		changed.Add(1)
		f.liveErr, f.calls = nil, nil
		if said := reports(); !strings.Contains(said, "caught up") || f.ahead() {
			t.Errorf("when Asterisk answers again: %s, %v", said, f.calls)
		}
		all := records()
		if len(all) != 2 || all[0].Result != pbx.Applied || all[0].Log.Outcome != pbx.Success || all[0].Verification != pbx.Confirmed {
			t.Errorf("the records are %+v", all)
		}
		if story, err := f.engine.RunDetails(t.Context(), run.Log.ID); err != nil || story.Result != pbx.NotConfirmed || story.Log.Outcome != pbx.Failure || story.Verification != pbx.Confirmed {
			t.Errorf("the record of the apply itself: %+v, error %v", story, err)
		}
	})
}
