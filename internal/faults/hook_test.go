//go:build linux

package faults_test

import (
	"context"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// hooks are functions called just before, or just after, a call of the engine to the host, by the name of the method.
type hooks = map[string]func()

// hooked is a host with hooks.
type hooked struct {
	apply.Target
	before, after hooks
}

func (h hooked) at(method string) (afterwards func()) {
	if f := h.before[method]; f != nil {
		f()
	}
	if f := h.after[method]; f != nil {
		return f
	}
	return func() {}
}

func (h hooked) Stage(number, parent int, id pbx.RunID, files []pbx.File) error {
	defer h.at("stage")()
	return h.Target.Stage(number, parent, id, files)
}

func (h hooked) Activate(number int, over []pbx.File) ([]string, error) {
	defer h.at("flip")()
	return h.Target.Activate(number, over)
}

func (h hooked) Reload(ctx context.Context, modules []pbx.Module) (pbx.Reload, error) {
	defer h.at("reload")()
	return h.Target.Reload(ctx, modules)
}

func (h hooked) Live(ctx context.Context, q pbx.LiveQuery) (pbx.Live, error) {
	defer h.at("live")()
	return h.Target.Live(ctx, q)
}

func (h hooked) MarkVerified(number int) error {
	defer h.at("accept")()
	return h.Target.MarkVerified(number)
}

func (h hooked) Do(ctx context.Context, effects []pbx.Effect) ([]pbx.Effect, error) {
	defer h.at("forget")()
	return h.Target.Do(ctx, effects)
}

// hook returns an engine for the site with these hooks.
func (s *site) hook(before, after hooks) *apply.Engine {
	return apply.New(apply.Config{Store: s.store, Target: hooked{s.local, before, after}, Now: now})
}
