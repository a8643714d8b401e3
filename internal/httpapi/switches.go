package httpapi

import (
	"cmp"
	"context"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// GetSwitches returns the switches of a user.
func (a *api) GetSwitches(ctx context.Context, r openapi.GetSwitchesRequestObject) (openapi.GetSwitchesResponseObject, error) {
	u, err := a.directory.Get(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID))
	if err != nil {
		return nil, err
	}
	s, err := a.engine.Switches(ctx, u)
	if err != nil {
		return nil, err
	}
	return openapi.GetSwitches200JSONResponse(SwitchesJSON(s)), nil
}

// UpdateSwitches changes the switches of a user that a merge patch names.
func (a *api) UpdateSwitches(ctx context.Context, r openapi.UpdateSwitchesRequestObject) (openapi.UpdateSwitchesResponseObject, error) {
	u, err := a.directory.Get(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID))
	if err != nil {
		return nil, err
	}
	s, _, err := a.engine.ChangeSwitches(ctx, u, func(s *pbx.Switches) error {
		to, err := patched(SwitchesJSON(*s), *cmp.Or(r.JSONBody, r.ApplicationMergePatchPlusJSONBody))
		*s = pbx.Switches{
			DoNotDisturb: to.DoNotDisturb, ForwardAlways: value(to.ForwardAlways), ForwardBusy: value(to.ForwardBusy), ForwardUnanswered: value(to.ForwardUnanswered),
			ForwardUnreachable: value(to.ForwardUnreachable),
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	a.live.SetSwitches(u.Extension.Number, s)
	return openapi.UpdateSwitches200JSONResponse(SwitchesJSON(s)), nil
}

// SwitchesJSON returns the switches of a user.
func SwitchesJSON(s pbx.Switches) openapi.Switches {
	return openapi.Switches{
		DoNotDisturb: s.DoNotDisturb, ForwardAlways: unlessZero(s.ForwardAlways), ForwardBusy: unlessZero(s.ForwardBusy), ForwardUnanswered: unlessZero(s.ForwardUnanswered),
		ForwardUnreachable: unlessZero(s.ForwardUnreachable),
	}
}
