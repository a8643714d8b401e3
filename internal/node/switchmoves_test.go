package node_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// renumber gives a user another number.
func (s *site) renumber(t *testing.T, u pbx.User, number pbx.Number) {
	t.Helper()
	if _, err := directory.New(s.store, time.Now).Change(t.Context(), pbx.DefaultTenant, u.ID, 0, func(u *pbx.User) error {
		u.Extension.Number = number
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// onAsterisk returns the switches that Asterisk has, by extension.
func (s *site) onAsterisk(t *testing.T) map[string]asterisk.Switches {
	t.Helper()
	all, err := s.asterisk.Control().Switches(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// annas and bertas are switches.
func annas() asterisk.Switches {
	return asterisk.Switches{DoNotDisturb: true, ForwardAlways: "1002", ForwardBusy: "*1", ForwardUnanswered: "#", ForwardUnreachable: "+49"}
}

func bertas() asterisk.Switches { return asterisk.Switches{ForwardBusy: "1000"} }

func TestSwitchesFollowAUserToAnotherNumberAndEndWithTheUser(t *testing.T) {
	t.Parallel()
	s := newSiteOf(t, render.Options{FeatureCodes: true})
	anna, berta, claus := s.create(t, "Anna"), s.create(t, "Berta"), s.create(t, "Claus")
	s.mustApply(t)
	for number, switches := range map[pbx.Number]asterisk.Switches{1000: annas(), 1001: bertas(), 1002: annas()} {
		if err := s.node.SetSwitches(t.Context(), number, pbx.Switches{}, pbx.Switches(switches)); err != nil {
			t.Fatal(err)
		}
	}
	// Anna gets Berta's number, Berta another one, and Claus is deleted.
	s.renumber(t, berta, 1500)
	s.renumber(t, anna, 1001)
	if _, err := directory.New(s.store, time.Now).Delete(t.Context(), pbx.DefaultTenant, claus.ID); err != nil {
		t.Fatal(err)
	}
	plan, err := s.engine.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []pbx.Effect{
		{Verb: pbx.MoveSwitches, Number: 1000, To: 1001, Reversible: true}, {Verb: pbx.MoveSwitches, Number: 1001, To: 1500, Reversible: true}, {Verb: pbx.ClearSwitches, Number: 1002},
	} {
		if !slices.Contains(plan.Effects, want) {
			t.Errorf("the plan lacks %+v: %+v", want, plan.Effects)
		}
	}
	run := s.mustApply(t)
	if want := map[string]asterisk.Switches{"1001": annas(), "1500": bertas()}; !maps.Equal(s.onAsterisk(t), want) {
		t.Errorf("Asterisk has %+v, want %+v", s.onAsterisk(t), want)
	}
	if !slices.ContainsFunc(run.Events, func(e pbx.Event) bool { return e.Code == pbx.EventSwitches && e.Detail == "[1000 1001 1002 1500]" }) {
		t.Errorf("the run does not report it: %+v", run.Events)
	}
}

// Asterisk alone has the switches: nothing of them is in the files or the database, and no reload or restart changes them.
func TestSwitchesSurviveReloadsAndRestartsAndAreNowhereElse(t *testing.T) {
	t.Parallel()
	s := newSiteOf(t, render.Options{FeatureCodes: true})
	url := storetest.SQLite(t)
	s.store = storetest.Open(t, url)
	s.directory = directory.New(s.store, time.Now)
	portal := func() *apply.Engine {
		return apply.New(apply.Config{Store: s.store, Target: s.node, Now: time.Now, Render: render.Options{FeatureCodes: true}})
	}
	s.engine = portal()
	s.create(t, "Anna")
	s.mustApply(t)
	unmistakable := asterisk.Switches{DoNotDisturb: true, ForwardAlways: "98765432123", ForwardBusy: "1000"}
	if err := s.node.SetSwitches(t.Context(), 1000, pbx.Switches{}, pbx.Switches(unmistakable)); err != nil {
		t.Fatal(err)
	}
	s.create(t, "Berta")
	s.mustApply(t) // both modules are reloaded
	want := map[string]asterisk.Switches{"1000": unmistakable}
	if got := s.onAsterisk(t); !maps.Equal(got, want) {
		t.Errorf("after a reload Asterisk has %+v, want %+v", got, want)
	}
	if err := s.asterisk.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.engine = portal()
	s.create(t, "Claus")
	s.mustApply(t)
	if got := s.onAsterisk(t); !maps.Equal(got, want) {
		t.Errorf("after a restart Asterisk has %+v, want %+v", got, want)
	}
	files, err := filepath.Glob(s.path("*/*/generated_*.conf"))
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	var text []byte
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, content...)
	}
	for where, text := range map[string]string{"the files": string(text), "the database": storetest.Everything(t, url)} {
		if !strings.Contains(text, "Claus") {
			t.Errorf("%s could not be searched", where)
		}
		if strings.Contains(text, unmistakable.ForwardAlways) {
			t.Errorf("%s have a forward", where)
		}
	}
}

// killed is a host at which a portal is killed before its n-th call after the files were activated.
type killed struct {
	apply.Target
	left *int
}

var errKilled = errors.New("killed")

func (k killed) dies() bool {
	*k.left--
	return *k.left < 0
}

func (k killed) PrepareSwitches(ctx context.Context, revision int, effects []pbx.Effect) error {
	if k.dies() {
		panic(errKilled)
	}
	return k.Target.PrepareSwitches(ctx, revision, effects)
}

func (k killed) MarkVerified(number int) error {
	if k.dies() {
		panic(errKilled)
	}
	return k.Target.MarkVerified(number)
}

func (k killed) SettleSwitches(ctx context.Context) ([]pbx.Number, error) {
	if k.dies() {
		panic(errKilled)
	}
	return k.Target.SettleSwitches(ctx)
}

// Whatever is interrupted, the next apply leaves all switches at the new number, and none at the old one.
func TestSwitchesAreMovedAsAWholeIfAPortalIsKilledAtAnyStep(t *testing.T) {
	t.Parallel()
	s := newSiteOf(t, render.Options{FeatureCodes: true})
	anna := s.create(t, "Anna")
	s.create(t, "Berta")
	s.mustApply(t)
	if err := s.node.SetSwitches(t.Context(), 1000, pbx.Switches{}, pbx.Switches(annas())); err != nil {
		t.Fatal(err)
	}
	from := "1000"
	for step := range 6 {
		to := pbx.Number(1500 + step)
		s.renumber(t, anna, to)
		left := step
		func() {
			defer func() { _ = recover() }()
			e := apply.New(apply.Config{Store: s.store, Target: killed{s.node, &left}, Now: time.Now, Render: render.Options{FeatureCodes: true}})
			_, _ = e.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
		}()
		now := s.onAsterisk(t)
		if len(now) != 1 || now[from] != annas() && now[fmt.Sprint(to)] != annas() {
			t.Errorf("killed before step %d, Asterisk has %+v", step, now)
		}
		s.engine = apply.New(apply.Config{Store: s.store, Target: s.node, Now: time.Now, Render: render.Options{FeatureCodes: true}})
		s.mustApply(t)
		if now := s.onAsterisk(t); len(now) != 1 || now[fmt.Sprint(to)] != annas() {
			t.Errorf("after the apply that follows step %d, Asterisk has %+v", step, now)
		}
		from = fmt.Sprint(to)
	}
}

// What was prepared is completed, whatever of it was set already.
func TestPreparedSwitchesAreSetCompletelyAfterAnInterruption(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.asterisk.Control()
	want := map[string]asterisk.Switches{"1000": {}, "1001": annas(), "1500": bertas()}
	for interrupted := range 8 { // after so many of the switches
		for exten, has := range s.onAsterisk(t) {
			if err := c.SetSwitches(t.Context(), exten, has, asterisk.Switches{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(c.SetSwitches(t.Context(), "1000", asterisk.Switches{}, annas()), c.SetSwitches(t.Context(), "1001", asterisk.Switches{}, bertas())); err != nil {
			t.Fatal(err)
		}
		if err := c.PrepareSwitches(t.Context(), "7", want); err != nil {
			t.Fatal(err)
		}
		if changed, err := c.SetPrepared(t.Context(), "8"); err != nil || changed != nil {
			t.Errorf("for another revision: %v, %v", changed, err)
		}
		for i, set := range []func() error{
			func() error {
				return c.SetSwitches(t.Context(), "1000", annas(), asterisk.Switches{DoNotDisturb: true})
			},
			func() error {
				return c.SetSwitches(t.Context(), "1000", asterisk.Switches{DoNotDisturb: true}, asterisk.Switches{})
			},
			func() error { return c.SetSwitches(t.Context(), "1001", bertas(), annas()) },
			func() error { return c.SetSwitches(t.Context(), "1500", asterisk.Switches{}, bertas()) },
		} {
			if i < interrupted {
				if err := set(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := c.SetPrepared(t.Context(), "7"); err != nil {
			t.Fatal(err)
		}
		if got := s.onAsterisk(t); !maps.Equal(got, map[string]asterisk.Switches{"1001": annas(), "1500": bertas()}) {
			t.Errorf("interrupted after %d: %+v", interrupted, got)
		}
		if changed, err := c.SetPrepared(t.Context(), "7"); err != nil || changed != nil {
			t.Errorf("a second time: %v, %v", changed, err)
		}
	}
}
