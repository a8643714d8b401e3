package node

import (
	"context"
	"strconv"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// Switches returns the switches of all users who have one on.
func (l *Local) Switches(ctx context.Context) (map[pbx.Number]pbx.Switches, error) {
	found, err := l.control.Switches(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[pbx.Number]pbx.Switches, len(found))
	for exten, s := range found {
		if n, ok := pbx.ParseNumber(exten); ok {
			all[n] = pbx.Switches(s)
		}
	}
	return all, nil
}

// SetSwitches changes the switches of a user from what they were.
func (l *Local) SetSwitches(ctx context.Context, number pbx.Number, from, to pbx.Switches) error {
	return l.control.SetSwitches(ctx, strconv.Itoa(int(number)), asterisk.Switches(from), asterisk.Switches(to))
}

// PrepareSwitches records in Asterisk which switches users have once Asterisk was seen to run a revision. What they have now stays until SettleSwitches,
// so that nothing is lost if the revision is never seen to run.
func (l *Local) PrepareSwitches(ctx context.Context, revision int, effects []pbx.Effect) error {
	now, err := l.Switches(ctx)
	if err != nil {
		return err
	}
	to := map[string]asterisk.Switches{}
	for number, s := range pbx.SwitchesAfter(now, effects) {
		to[strconv.Itoa(int(number))] = asterisk.Switches(s)
	}
	return l.control.PrepareSwitches(ctx, strconv.Itoa(revision), to)
}

// SettleSwitches carries out what was prepared for the revision that Asterisk was last seen to run.
func (l *Local) SettleSwitches(ctx context.Context) (changed []pbx.Number, err error) {
	state, err := l.tree.State()
	if err != nil {
		return nil, err
	}
	extens, err := l.control.SetPrepared(ctx, strconv.Itoa(state.Good))
	for _, exten := range extens {
		if n, ok := pbx.ParseNumber(exten); ok {
			changed = append(changed, n)
		}
	}
	return changed, err
}
