package httpapi

import (
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// newUserV1 returns a user with the call settings. installation are those of the installation.
func newUserV1(u pbx.User, installation pbx.CallSettings) openapi.UserV1 {
	v := toUserV1(u)
	own, effective := toCallSettings(u.Calls), toCallSettings(u.EffectiveCalls(installation))
	v.Calls, v.EffectiveCalls = &own, &effective
	return v
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
		RingSeconds: unlessZero(c.RingSeconds), CallLimit: unlessZero(c.CallLimit), WhenBusy: to(c.WhenBusy), WhenUnanswered: to(c.WhenUnanswered),
		WhenUnreachable: to(c.WhenUnreachable), CallerName: unlessZero(c.CallerName), CallerNumber: unlessZero(c.CallerNumber),
		Record: unlessZero(openapi.RecordPolicy(c.Record)), Language: unlessZero(c.Language), DialClass: unlessZero(c.DialClass),
	}
	if groups := c.PickupGroups.Numbers(); len(groups) > 0 {
		out.PickupGroups = &groups
	}
	return out
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
		RingSeconds: value(c.RingSeconds), CallLimit: value(c.CallLimit), WhenBusy: from(c.WhenBusy), WhenUnanswered: from(c.WhenUnanswered),
		WhenUnreachable: from(c.WhenUnreachable), CallerName: value(c.CallerName), CallerNumber: value(c.CallerNumber), PickupGroups: groups,
		Record: pbx.RecordPolicy(value(c.Record)), Language: value(c.Language), DialClass: value(c.DialClass),
	}, nil
}
