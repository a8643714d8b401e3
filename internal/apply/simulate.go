package apply

import (
	"context"
	"fmt"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// Simulate follows a call through the users and items of the database, whether they have been applied or not, or, if revision is not 0, through those of
// the files of a revision. No phone rings. KindNotFound if there is no such revision, or its files are no longer kept.
func (e *Engine) Simulate(ctx context.Context, c callflow.Call, revision int) (callflow.Result, error) {
	m, err := e.store.Model(ctx, pbx.DefaultTenant)
	if err == nil && revision != 0 {
		m, err = e.modelOf(ctx, revision, m)
	}
	if err != nil {
		return callflow.Result{}, err
	}
	r, err := c.Request(m)
	if err != nil {
		return callflow.Result{}, err
	}
	r.RingSeconds, r.FeatureCodes, r.Switches = e.options.RingTimeout, e.options.FeatureCodes, e.switchesOf(ctx, m)
	return callflow.Simulate(m, r), nil
}

// Calls returns the call settings of the installation, which users without settings of their own have.
func (e *Engine) Calls() pbx.CallSettings { return pbx.Installation(e.options.RingTimeout) }

// modelOf returns the users and items of the files of a revision, with the names and ids of the current ones.
func (e *Engine) modelOf(ctx context.Context, revision int, now pbx.Model) (pbx.Model, error) {
	d, err := e.oldDraft(ctx, revision)
	if err != nil {
		return pbx.Model{}, err
	}
	m, ok := d.inventory.Model(now)
	if !ok {
		return pbx.Model{}, pbx.Invalid(pbx.FieldError{
			Field: "revision", Code: pbx.FieldChoice, Message: fmt.Sprintf("has ring groups in the form of another version of the portal: revision %d cannot be simulated, choose another", revision),
		})
	}
	return m, nil
}
