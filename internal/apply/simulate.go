package apply

import (
	"context"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// Simulate follows a call through the users and items of the database, whether they have been applied or not. No phone rings.
func (e *Engine) Simulate(ctx context.Context, c callflow.Call) (callflow.Result, error) {
	m, err := e.store.Model(ctx, pbx.DefaultTenant)
	if err != nil {
		return callflow.Result{}, err
	}
	r, err := c.Request(m)
	if err != nil {
		return callflow.Result{}, err
	}
	r.RingSeconds = e.options.RingTimeout
	return callflow.Simulate(m, r), nil
}
