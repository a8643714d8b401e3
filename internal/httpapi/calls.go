package httpapi

import (
	"context"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// newUserV1 returns a user with the call settings. settings are those of the tenant, installation those of the installation.
func newUserV1(u pbx.User, settings pbx.Settings, installation pbx.CallSettings) openapi.UserV1 {
	v, levels := toUserV1(u), settings.Levels()
	own, effective, origins := toCallSettings(u.Calls), toCallSettings(levels.Shown(u, installation)), openapi.Origins(levels.Origins(u, installation))
	v.Calls, v.EffectiveCalls, v.CallOrigins = &own, &effective, &origins
	if p, ok := settings.PoolOf(u.Extension.Number); ok {
		v.Pool = unlessZero(string(p.ID))
	}
	return v
}

// userV1 returns a user with the call settings.
func (a *api) userV1(ctx context.Context, u pbx.User) (openapi.UserV1, error) {
	settings, err := a.routing.Settings(ctx, u.TenantID)
	return newUserV1(u, settings, a.engine.Calls()), err
}

// toCallSettings leaves out what is inherited.
func toCallSettings(c pbx.CallSettings) openapi.CallSettings {
	to := func(d pbx.Destination) *openapi.Destination {
		if d.Kind == "" {
			return nil
		}
		return &openapi.Destination{Kind: string(d.Kind), ID: unlessZero(d.ID)}
	}
	out := openapi.CallSettings{
		RingSeconds: unlessZero(c.RingSeconds), CallLimit: toCallLimit(c.CallLimit), WhenBusy: to(c.WhenBusy), WhenUnanswered: to(c.WhenUnanswered),
		WhenUnreachable: to(c.WhenUnreachable), CallerName: unlessZero(c.CallerName), CallerNumber: unlessZero(c.CallerNumber),
		Record: unlessZero(openapi.RecordPolicy(c.Record)), Language: unlessZero(c.Language), DialClass: unlessZero(c.DialClass),
	}
	if groups := c.PickupGroups.Numbers(); len(groups) > 0 {
		out.PickupGroups = &groups
	}
	return out
}

// toCallLimit returns nil for a limit that is inherited, and 0 for none.
func toCallLimit(l pbx.CallLimit) *int {
	if l == pbx.NoCallLimit {
		return new(int)
	}
	return unlessZero(int(l))
}

// fromCallLimit is the reverse of toCallLimit.
func fromCallLimit(limit *int) pbx.CallLimit {
	if limit != nil && *limit == 0 {
		return pbx.NoCallLimit
	}
	return pbx.CallLimit(value(limit))
}

// fromCallSettings is the reverse of toCallSettings.
func fromCallSettings(c openapi.CallSettings) (pbx.CallSettings, error) {
	from := func(d *openapi.Destination) pbx.Destination {
		if d == nil {
			return pbx.Destination{}
		}
		return pbx.Destination{Kind: pbx.ThingKind(d.Kind), ID: value(d.ID)}
	}
	groups, ok := pbx.PickupGroupsOf(value(c.PickupGroups))
	if !ok {
		return pbx.CallSettings{}, pbx.Invalid(pbx.FieldError{Field: "calls.pickup_groups", Code: pbx.FieldTwice, Message: "must be different numbers from 0 to 63"})
	}
	return pbx.CallSettings{
		RingSeconds: value(c.RingSeconds), CallLimit: fromCallLimit(c.CallLimit), WhenBusy: from(c.WhenBusy), WhenUnanswered: from(c.WhenUnanswered),
		WhenUnreachable: from(c.WhenUnreachable), CallerName: value(c.CallerName), CallerNumber: value(c.CallerNumber), PickupGroups: groups,
		Record: pbx.RecordPolicy(value(c.Record)), Language: value(c.Language), DialClass: value(c.DialClass),
	}, nil
}
