package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/glance"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// planned is a plan or its error.
type planned struct {
	plan pbx.Plan
	err  error
}

func newPlans(now func() time.Time, plan func(context.Context) (pbx.Plan, error)) *glance.Shared[planned] {
	return glance.New(now, requestPatience, requestPatience, func(ctx context.Context) (p planned) {
		p.plan, p.err = plan(ctx)
		return p
	})
}

// GetPlan returns what an apply would do now. The plan is computed even if the client has it, to find out whether it is still the same. A plan
// queries everything that Asterisk has loaded, so callers that arrive during a computation share the next.
func (a *api) GetPlan(ctx context.Context, r openapi.GetPlanRequestObject) (openapi.GetPlanResponseObject, error) {
	plans := a.plans
	if value(r.Params.Live) {
		plans = a.livePlans
	}
	seen, ok := plans.Fresh(ctx)
	if !ok {
		return nil, cmp.Or(ctx.Err(), context.DeadlineExceeded)
	}
	plan, err := seen.What.plan, seen.What.err
	if err != nil {
		return nil, err
	}
	return planAnswer{plan, strings.Contains(value(r.Params.IfNoneMatch), quoted(plan.Hash))}, nil
}

// planAnswer is a plan, and whether the client has it.
type planAnswer struct {
	plan  pbx.Plan
	known bool
}

// VisitGetPlanResponse writes the response.
func (p planAnswer) VisitGetPlanResponse(w http.ResponseWriter) error {
	if p.known {
		return openapi.GetPlan304Response{Headers: openapi.GetPlan304ResponseHeaders{ETag: quoted(p.plan.Hash)}}.VisitGetPlanResponse(w)
	}
	return openapi.GetPlan200JSONResponse{Body: toPlan(p.plan), Headers: openapi.GetPlan200ResponseHeaders{ETag: quoted(p.plan.Hash)}}.VisitGetPlanResponse(w)
}

// quoted returns a hash as an entity tag.
func quoted(hash string) string { return `"` + hash + `"` }

func toPlan(p pbx.Plan) openapi.Plan {
	users := p.UserChanges()
	changes := make([]openapi.Change, len(users))
	for i, c := range users {
		changes[i] = openapi.Change{
			Kind: openapi.ChangeKind(c.Kind), Number: int(c.Number), FormerNumber: unlessZero(int(c.Was)), Name: c.Name, What: list(c.What), Reregister: c.Reregister,
		}
		if c.Phones != nil {
			changes[i].Devices = &c.Phones
		}
	}
	others := p.ThingChanges()
	things := make([]openapi.ThingChange, len(others))
	for i, c := range others {
		things[i] = openapi.ThingChange{
			Kind: openapi.ThingChangeKind(c.Kind), Thing: string(c.Owner.Kind), Key: c.Owner.Key, Name: c.Name, What: list(c.What),
		}
	}
	effects := make([]openapi.Effect, len(p.Effects))
	for i, e := range p.Effects {
		effects[i] = openapi.Effect{Verb: openapi.EffectVerb(e.Verb), Number: int(e.Number), Device: unlessZero(e.Suffix), To: unlessZero(int(e.To)), Reversible: e.Reversible}
	}
	var behaviour *[]string
	if p.Behaviour != nil {
		behaviour = &p.Behaviour
	}
	return openapi.Plan{
		Hash: p.Hash, Revision: p.Revision, Users: p.Users, Items: p.Items, Pending: p.Pending, Changes: changes, Things: things, Effects: effects,
		Diffs: toDiffs(p.Diffs), Drift: toDrift(p.Drift),
		Behaviour: behaviour, Behind: p.Behind, BehindCode: unlessZero(openapi.BehindCode(p.SyncCode)), AskedAt: unlessZero(p.AskedAt),
		WaitingSince: unlessZero(p.WaitingSince.UTC()), Host: toHost(p),
	}
}

func toHost(p pbx.Plan) *[]openapi.HostObject {
	if len(p.Host) == 0 {
		return nil
	}
	all := make([]openapi.HostObject, len(p.Host))
	for i, o := range p.Host {
		all[i] = openapi.HostObject{
			Kind: o.Kind, Number: int(o.Number), Context: unlessZero(o.Context), File: unlessZero(o.File), Line: unlessZero(o.Line),
			Clash: slices.Contains(p.Clashes, o), Text: o.String(),
		}
	}
	return &all
}

func toPlanSummary(p pbx.Plan) openapi.PlanSummary {
	s := openapi.PlanSummary{Hash: p.Hash, Revision: p.Revision, Pending: p.Pending}
	for _, c := range p.UserChanges() {
		switch c.Kind {
		case pbx.Added:
			s.Added++
		case pbx.Removed:
			s.Removed++
		case pbx.Changed:
			s.Changed++
		}
	}
	others := map[string]int{}
	for _, c := range p.ThingChanges() {
		if c.Owner.Kind != pbx.KindLibrary { // it follows from the others
			others[string(c.Owner.Kind)]++
		}
	}
	if len(others) > 0 {
		s.Others = &others
	}
	return s
}

func toDiffs(diffs []pbx.FileDiff) openapi.Diffs {
	out := make(openapi.Diffs, len(diffs))
	for i, d := range diffs {
		out[i] = openapi.FileDiff{Path: d.Path, Text: d.Text}
	}
	return out
}

func toDrift(drift []pbx.Drift) openapi.DriftList {
	out := make(openapi.DriftList, len(drift))
	for i, d := range drift {
		out[i] = openapi.Drift{Kind: openapi.DriftKind(d.Kind), Path: d.Path, Is: unlessZero(d.Is)}
	}
	return out
}
