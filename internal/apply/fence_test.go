package apply_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// interposed calls do once, right after a step of the target.
type interposed struct {
	*script
	step string
	do   func()
}

func (i *interposed) after(step string) {
	if do := i.do; step == i.step && do != nil {
		i.do = nil
		do()
	}
}

func (i *interposed) Stage(number, parent int, id pbx.RunID, files []pbx.File) error {
	defer i.after("stage")
	return i.script.Stage(number, parent, id, files)
}

func (i *interposed) Activate(number int, inPlace []pbx.File) ([]string, error) {
	defer i.after("flip")
	return i.script.Activate(number, inPlace)
}

func (i *interposed) Reload(ctx context.Context, modules []pbx.Module) (pbx.Reload, error) {
	defer i.after("reload")
	return i.script.Reload(ctx, modules)
}

func (i *interposed) Live(ctx context.Context, q pbx.LiveQuery) (pbx.Live, error) {
	defer i.after("live")
	return i.script.Live(ctx, q)
}

func (i *interposed) MarkVerified(number int) error {
	defer i.after("accept")
	return i.script.MarkVerified(number)
}

// loseLock takes the apply lock from its holder, as the end of a connection does, or the loss of the lock's file.
func loseLock(t *testing.T, url string) {
	t.Helper()
	if path, ok := strings.CutPrefix(url, "sqlite:///"); ok {
		if err := os.Remove(path + ".apply-lock"); err != nil {
			t.Error(err)
		}
		return
	}
	storetest.Execute(t, url, `SELECT pg_terminate_backend(pid, 10000) FROM pg_locks
WHERE locktype = 'advisory' AND objid = 1885501442 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
}

func TestAPortalThatLostItsLockDuringAnApplyOverwritesNothingOfTheNextOne(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"stage", "flip", "reload", "live", "accept"} {
		for _, refused := range []bool{false, true} { // whether Asterisk contradicts the first portal, which would then roll back
			if refused && step != "live" {
				continue // this makes no difference
			}
			t.Run(fmt.Sprintf("%s, refused %t", step, refused), func(t *testing.T) {
				t.Parallel()
				storetest.Each(t, func(t *testing.T, url string) { loseAt(t, url, step, refused) })
			})
		}
	}
}

func loseAt(t *testing.T, url, step string, refused bool) {
	t.Helper()
	s := &script{}
	target := &interposed{script: s}
	stores := []*store.Store{storetest.Open(t, url), storetest.Open(t, url)}
	first := apply.New(apply.Config{Store: stores[0], Target: target, Now: time.Now})
	second := apply.New(apply.Config{Store: stores[1], Target: s, Now: time.Now})
	users := directory.New(stores[1], time.Now)
	create := func(name string) {
		t.Helper()
		if _, err := users.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: name, Email: name + "@example.com"}); err != nil {
			t.Fatal(err)
		}
	}
	create("anna")
	if _, err := second.Apply(t.Context(), apply.Request{TriggeredBy: "before"}); err != nil {
		t.Fatal(err)
	}
	create("bob")

	var lost pbx.RunID
	var next, left pbx.Run // the record of the next portal, and that of the first as the next one completed it
	target.step, target.do = step, func() {
		loseLock(t, url)
		create("carl")
		s.live = nil
		var err error
		if next, err = second.Apply(t.Context(), apply.Request{TriggeredBy: "second"}); err != nil {
			t.Errorf("the portal that took over: %v", err)
		}
		if left, err = second.RunDetails(t.Context(), lost); err != nil || left.Result == pbx.Interrupted {
			t.Errorf("the record of the portal that lost its lock is %s, error %v", left.Result, err)
		}
		if refused {
			s.live = func(l pbx.Live) pbx.Live { l.IDs["endpoint"] = nil; return l }
		}
	}
	if refused {
		s.live = func(l pbx.Live) pbx.Live { l.IDs["endpoint"] = nil; return l }
	}
	_, err := first.Apply(t.Context(), apply.Request{TriggeredBy: "first", Started: func(id pbx.RunID) { lost = id }})
	if pbx.CodeOf(err) != pbx.CodeApplyRunning && pbx.CodeOf(err) != pbx.CodeAuditFailed || !strings.Contains(fmt.Sprint(err), "lost its lock") || !strings.Contains(fmt.Sprint(err), "apply again") {
		t.Errorf("the portal that lost its lock returned %v", err)
	}
	for what, was := range map[string]pbx.Run{"the portal that lost its lock": left, "the portal that took over": next} {
		is, err := second.RunDetails(t.Context(), was.Log.ID)
		if diff := cmp.Diff(was, is); diff != "" || err != nil {
			t.Errorf("the record of %s was overwritten; error %v\n%s", what, err, diff)
		}
	}
	if s.site.Current != next.Revision || s.site.LastVerified != next.Revision {
		t.Errorf("revision %d is in place and %d is recorded as running; want %d, which the second portal activated", s.site.Current, s.site.LastVerified, next.Revision)
	}
}
