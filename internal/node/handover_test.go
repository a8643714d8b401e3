package node_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// What belongs to a person stays with the person: phones, secrets and switches. Nothing of the former user acts on a number that was handed over.
func TestANumberThatWasHandedOverReachesItsNewUserAlone(t *testing.T) {
	t.Parallel()
	s := newSiteOf(t, render.Options{RingTimeout: 1, FeatureCodes: true})
	caller, anna, berta, claus := s.create(t, "Caller"), s.create(t, "Anna"), s.create(t, "Berta"), s.create(t, "Claus")
	s.mustApply(t)
	from := s.registered(t, caller)
	s.registered(t, anna)
	s.registered(t, berta)
	annas := asterisk.Switches{DoNotDisturb: true, ForwardAlways: "1003"}
	toBerta := annas // a forward to what becomes the number of the user ends
	toBerta.ForwardUnanswered = "1002"
	for number, switches := range map[pbx.Number]asterisk.Switches{1001: toBerta, 1002: bertas()} {
		if err := s.node.SetSwitches(t.Context(), number, pbx.Switches{}, pbx.Switches(switches)); err != nil {
			t.Fatal(err)
		}
	}
	handOver := func(what string, of pbx.User, h directory.HandOver, changes []string, want map[string]asterisk.Switches, renewed ...pbx.User) {
		t.Helper()
		if _, err := s.directory.HandOver(t.Context(), pbx.DefaultTenant, of.ID, h); err != nil {
			t.Fatal(what, err)
		}
		for _, u := range renewed {
			if _, err := s.directory.NewSecret(t.Context(), pbx.DefaultTenant, u.ID, 0); err != nil {
				t.Fatal(what, err)
			}
		}
		run := s.mustApply(t)
		var got []string
		for _, c := range run.Plan.Changes {
			if c.Number != 0 {
				got = append(got, fmt.Sprint(c.Kind, " ", c.Number, " ", c.Name, " ", c.Was))
			}
		}
		if !slices.Equal(got, changes) {
			t.Errorf("%s: the plan has %q, want %q", what, got, changes)
		}
		if got := s.onAsterisk(t); !maps.Equal(got, want) {
			t.Errorf("%s: Asterisk has the switches %+v, want %+v", what, got, want)
		}
	}
	handOver("an exchange", anna, directory.HandOver{To: berta.ID, Number: 1002}, []string{"changed 1001 Berta 1002", "changed 1002 Anna 1001"},
		map[string]asterisk.Switches{"1001": bertas(), "1002": annas})
	if got := s.contacts(t); !slices.Equal(got, []string{"1000"}) {
		t.Errorf("%q are still registered", got)
	}
	if _, err := s.phoneOf(t, "1001", anna.Extension.Secret.Reveal()); err == nil {
		t.Error("the phone of the former user registers with the number")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	bertasPhone, err := s.phoneOf(t, "1001", berta.Extension.Secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	call, err := from.Dial(ctx, "1001")
	if err != nil {
		t.Fatal(err)
	}
	in, err := bertasPhone.Incoming(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(in.Accept(ctx), call.Answered(ctx), call.Hangup(ctx)); err != nil {
		t.Error(err)
	}
	handOver("to a new user", berta, directory.HandOver{New: &pbx.NewUser{Name: "Dora", EmailOptional: true}}, []string{"added 1001 Dora 0", "changed 1004 Berta 1001"},
		map[string]asterisk.Switches{"1004": bertas(), "1002": annas})
	handOver("by one who leaves", anna, directory.HandOver{To: claus.ID, Leaves: true}, []string{"removed 1002 Anna 0", "changed 1002 Claus 1003"},
		map[string]asterisk.Switches{"1004": bertas()})
	handOver("to one who gets a new secret as well", berta, directory.HandOver{To: claus.ID, Leaves: true}, []string{"removed 1002 Claus 0", "changed 1004 Claus 0"}, nil, claus)
}
