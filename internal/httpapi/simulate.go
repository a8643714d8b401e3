package httpapi

import (
	"context"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// SimulateCall returns what happens to a call.
func (a *api) SimulateCall(ctx context.Context, r openapi.SimulateCallRequestObject) (openapi.SimulateCallResponseObject, error) {
	b := r.Body
	if value(b.Plan) && b.Revision != nil {
		return nil, pbx.Invalid(pbx.FieldError{Field: "plan", Code: pbx.FieldUnknown, Message: "must be left out if revision names what the call is followed through"})
	}
	result, err := a.engine.Simulate(ctx, callflow.Call{
		As: value(b.As), From: value(b.From), To: value(b.To), Dial: value(b.Dial), At: value(b.At), Keys: value(b.Keys), Away: value(b.Away), Busy: value(b.Busy),
	}, value(b.Revision))
	if err != nil {
		return nil, err
	}
	return openapi.SimulateCall200JSONResponse(SimulationJSON(result, value(b.Revision))), nil
}

func toSimulation(r callflow.Result) openapi.Simulation {
	out := openapi.Simulation{
		Sentence: r.Sentence, Taken: r.Taken, Steps: []openapi.SimulationStep{}, Why: []openapi.SimulationReason{}, Faults: []openapi.CallFlowFault{},
	}
	for _, s := range r.Steps {
		step := openapi.SimulationStep{
			Kind: openapi.SimulationStepKind(s.Kind), Thing: toCallFlowThing(s.Thing), Rings: []openapi.CallFlowThing{}, Seconds: s.Seconds, Text: s.Text,
		}
		for _, t := range s.Rings {
			step.Rings = append(step.Rings, toCallFlowThing(t))
		}
		switch s.Kind {
		case callflow.StepRing:
			outcome := openapi.SimulationStepOutcome(s.Outcome)
			step.Outcome = &outcome
		case callflow.StepHangup:
			step.Cause = &s.Cause
		case callflow.StepEnter, callflow.StepAnswer:
		}
		out.Steps = append(out.Steps, step)
	}
	for _, w := range r.Why {
		out.Why = append(out.Why, openapi.SimulationReason{Thing: toCallFlowThing(w.Thing), Field: w.Field, Text: w.Text})
	}
	for _, f := range r.Faults {
		fault := openapi.CallFlowFault{Code: openapi.CallFlowFaultCode(f.Code), Things: []openapi.CallFlowRef{}, Field: f.Field, Text: f.Text}
		for _, t := range f.Things {
			fault.Things = append(fault.Things, openapi.CallFlowRef{Kind: string(t.Kind), ID: t.ID})
		}
		out.Faults = append(out.Faults, fault)
	}
	return out
}

func toCallFlowThing(t callflow.Thing) openapi.CallFlowThing {
	return openapi.CallFlowThing{Kind: string(t.Kind), ID: t.ID, Number: t.Number, Name: t.Name}
}
