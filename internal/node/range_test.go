package node_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// insert adds users with numbers of the test's choice, as another program or SQL does: the portal itself allocates only numbers of the pool. It returns
// the last.
func (s *site) insert(t *testing.T, numbers ...pbx.Number) (u pbx.User) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	err := s.store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		var added []store.NewUser
		for _, number := range numbers {
			id := uuid.NewString()
			u = pbx.User{
				ID: pbx.UserID(id), TenantID: pbx.DefaultTenant, Name: fmt.Sprintf("User %d", number), Email: id + "@example.com", CreatedAt: now,
				Extension: pbx.Extension{ID: pbx.ExtensionID(uuid.NewString()), Number: number, Secret: pbx.NewSecret(), CreatedAt: now},
			}
			added = append(added, store.NewUser{User: u, Event: pbx.NewAuditEvent(ctx, now, pbx.ActionUserCreate, pbx.AuditObject{Type: "user", ID: id})})
		}
		return tx.InsertUsers(ctx, added...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUsersOutsideThePoolAreAppliedAndRemovedAmongTheAdministratorsOwnNumbers(t *testing.T) {
	t.Parallel()
	s := newHostSite(t)
	s.above(t, "pjsip.conf", "[200]\ntype=endpoint\ncontext=office\n[200]\ntype=aor\n[700000]\ntype=endpoint\ncontext=office\n")
	s.above(t, "extensions.conf", "[synergy-internal]\nexten => 300,1,NoOp(by hand)\n[office]\nexten => 20,1,NoOp()\nexten => 112,1,NoOp()\n")
	s.console(t, "module reload res_pjsip.so")
	s.console(t, "dialplan reload")
	low, high := s.insert(t, 20), s.insert(t, 250_000)
	if u := s.create(t, "Anna"); u.Extension.Number != 1000 {
		t.Fatalf("the first user of the pool gets %d", u.Extension.Number)
	}
	plan, err := s.engine.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var numbers []pbx.Number
	for _, c := range plan.Changes {
		numbers = append(numbers, c.Number)
	}
	if !slices.Equal(numbers, []pbx.Number{20, 1000, 250_000}) || len(plan.Clashes) > 0 {
		t.Errorf("the plan has the numbers %v and the clashes %v", numbers, plan.Clashes)
	}
	// Of the host's objects, only those with numbers of the pool or of users are reported.
	if len(plan.Host) != 1 || plan.Host[0].Number != 20 || plan.Host[0].Context != "office" {
		t.Errorf("the plan names %v of the host", plan.Host)
	}
	s.mustApply(t)
	inPlace := func(want ...string) {
		t.Helper()
		plan, err := s.engine.Plan(t.Context())
		if err != nil || plan.Behind != "" || plan.Pending || len(plan.Drift)+len(plan.Clashes) > 0 {
			t.Errorf("behind %q, pending %t, drift %v, clashes %v, error %v", plan.Behind, plan.Pending, plan.Drift, plan.Clashes, err)
		}
		endpoints, err := s.asterisk.Control().Endpoints(t.Context())
		slices.Sort(endpoints)
		if !slices.Equal(endpoints, want) || err != nil {
			t.Errorf("Asterisk has the endpoints %v, want %v; error %v", endpoints, want, err)
		}
		steps, _, err := s.asterisk.Control().Extensions(t.Context(), pbx.Context)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range want {
			dials := slices.ContainsFunc(steps, func(e asterisk.Extension) bool { return e.Exten == id && strings.HasPrefix(e.AppData, "PJSIP/"+id+",") })
			if own := id == "200" || id == "700000"; dials == own {
				t.Errorf("%s dials its phone: %t", id, dials)
			}
		}
	}
	inPlace("1000", "20", "200", "250000", "700000")
	text := s.generated(t)
	first, second, third := strings.Index(text, "exten => 250000,1"), strings.Index(text, "exten => 1000,1"), strings.Index(text, "exten => 20,1")
	if first < 0 || second < first || third < second {
		t.Errorf("the dialplan is not ordered by descending number: 250000, 1000 and 20 are at %d, %d and %d", first, second, third)
	}

	// An object of the administrator with the number of a user outside the pool is a clash, as in the pool.
	beside := s.insert(t, 700_000)
	s.refused(t, "an endpoint", "endpoint 700000 ("+s.asterisk.ConfigDir+"/pjsip.conf, line 15)")
	for _, u := range []pbx.User{beside, low, high} {
		if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, u.ID); err != nil {
			t.Fatal(err)
		}
	}
	if u := s.create(t, "Berta"); u.Extension.Number != 1001 {
		t.Errorf("after users beside the pool were deleted the next one gets %d, want 1001", u.Extension.Number)
	}
	s.mustApply(t)
	inPlace("1000", "1001", "200", "700000")
}

func TestTenThousandUsersAreAppliedAndOneOfThemChangedOnARealAsteriskAtLength(t *testing.T) {
	t.Parallel()
	n := labtest.Soak(300, 10_000)
	s := newSite(t)
	numbers := []pbx.Number{10, 999_999}
	others := n - len(numbers)
	for i := range others {
		numbers = append(numbers, pbx.Number(1000+i*97%others)) // in no order, with four and five digits
	}
	for some := range slices.Chunk(numbers, 1000) {
		s.insert(t, some...)
	}
	took := func(what string, users int) {
		t.Helper()
		start := time.Now()
		run, err := s.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
		if err != nil || run.Result != pbx.Applied || run.Verification != pbx.Confirmed || run.Users != users {
			t.Fatalf("%s: result %q, verification %q, %d users, error %v", what, run.Result, run.Verification, run.Users, err)
		}
		var stages strings.Builder
		for _, e := range run.Events {
			fmt.Fprintf(&stages, " %s %v", e.Stage, e.After.Round(time.Millisecond))
		}
		t.Logf("%d users, %s: %v:%s", n, what, time.Since(start).Round(time.Millisecond), stages.String())
	}
	took("the first apply", n)
	users, err := s.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, n / 2, n - 1} {
		if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, users[at].ID); err != nil {
			t.Fatal(err)
		}
		s.insert(t, users[at].Extension.Number)
		took(fmt.Sprintf("user %d replaced", users[at].Extension.Number), n)
	}
	start := time.Now()
	plan, err := s.engine.Plan(t.Context())
	if err != nil || plan.Pending || plan.Behind != "" {
		t.Errorf("pending %t, behind %q, error %v", plan.Pending, plan.Behind, err)
	}
	t.Logf("%d users, a plan with everything that Asterisk has: %v", n, time.Since(start).Round(time.Millisecond))
}
