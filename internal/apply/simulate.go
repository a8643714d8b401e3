package apply

import (
	"context"
	"fmt"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// Simulate follows a call through the users and items of the database, whether they have been applied or not, or, if revision is not 0, through those of
// the files of a revision. No phone rings. KindNotFound if there is no such revision, or its files are no longer kept.
func (e *Engine) Simulate(ctx context.Context, c callflow.Call, revision int) (callflow.Result, error) {
	m, err := e.store.Model(ctx, pbx.DefaultTenant)
	var inventory render.Inventory
	if err == nil {
		m, inventory, err = e.simulated(ctx, m, revision)
	}
	if err != nil {
		return callflow.Result{}, err
	}
	r, err := c.Request(m)
	if err != nil {
		return callflow.Result{}, err
	}
	r.RingSeconds, r.FeatureCodes, r.Switches = e.options.RingTimeout, e.options.FeatureCodes, e.switchesOf(ctx, m, inventory)
	return callflow.Simulate(m, r), nil
}

// Calls returns the call settings of the installation, which users without settings of their own have.
func (e *Engine) Calls() pbx.CallSettings { return pbx.Installation(e.options.RingTimeout) }

// simulated returns the users and items of the database, now, with the inventory of the files that an apply would write, empty if it would write none; or, if
// revision is not 0, those of the files of a revision, with the current names and ids.
func (e *Engine) simulated(ctx context.Context, now pbx.Model, revision int) (pbx.Model, render.Inventory, error) {
	if revision == 0 {
		before := render.Rendered{}
		if draft := e.draft.Load(); draft != nil {
			before = *draft
		}
		r, _ := e.options.Next(before, now) // a plan reports the error
		return now, r.Inventory, nil
	}
	d, err := e.oldDraft(ctx, revision)
	if err != nil {
		return now, d.inventory, err
	}
	m, ok := d.inventory.Model(now)
	if !ok {
		return m, d.inventory, pbx.Invalid(pbx.FieldError{
			Field: "revision", Code: pbx.FieldChoice, Message: fmt.Sprintf("has ring groups in the form of another version of the portal: revision %d cannot be simulated, choose another", revision),
		})
	}
	return m, d.inventory, nil
}
