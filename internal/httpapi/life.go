package httpapi

import (
	"context"
	"strconv"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// LeaveUser deletes a user who leaves the organisation.
func (a *api) LeaveUser(ctx context.Context, r openapi.LeaveUserRequestObject) (openapi.LeaveUserResponseObject, error) {
	dryRun := value(r.Body.DryRun)
	done, err := a.directory.Leave(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID), directory.Leaving{
		Successor: pbx.UserID(value(r.Body.Successor)), IfMatch: versionOf(r.Params.IfMatch), DryRun: dryRun,
	})
	if err != nil {
		return nil, err
	}
	return openapi.LeaveUser200JSONResponse(ConsequencesJSON(done, dryRun)), nil
}

// HandOverNumber gives the number of a user to another.
func (a *api) HandOverNumber(ctx context.Context, r openapi.HandOverNumberRequestObject) (openapi.HandOverNumberResponseObject, error) {
	b := r.Body
	h := directory.HandOver{
		To: pbx.UserID(value(b.To)), Leaves: value(b.Leaves), IfMatch: versionOf(r.Params.IfMatch), DryRun: value(b.DryRun),
	}
	h.Number, _ = pbx.ParseNumber(value(b.Number)) // the contract has checked its form
	if b.Name != nil || b.Email != nil {
		h.New = &pbx.NewUser{Name: value(b.Name), Email: value(b.Email), EmailOptional: true}
	}
	done, err := a.directory.HandOver(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID), h)
	if err != nil {
		return nil, err
	}
	return openapi.HandOverNumber200JSONResponse(ConsequencesJSON(done, h.DryRun)), nil
}

// ConsequencesJSON returns the consequences of a change in the life cycle of a user.
func ConsequencesJSON(c directory.Consequences, dryRun bool) openapi.Consequences {
	v := openapi.Consequences{
		DryRun: dryRun, Users: each(c.People, movedUser),
		Released: each(c.Released, func(r directory.Released) openapi.ReleasedNumber {
			return openapi.ReleasedNumber{Number: numberText(r.Number), FreeAt: timeOrNull(r.FreeAt)}
		}),
		References: each(c.Replaced, func(r directory.Replaced) openapi.ReplacedUse {
			return openapi.ReplacedUse{Kind: string(r.Kind), ID: string(r.ID), Name: r.Name, Field: r.Field, Successor: r.By != ""}
		}),
	}
	if c.Account.ID != "" {
		v.Account = &openapi.LinkedAccount{ID: string(c.Account.ID), Name: c.Account.Name, Email: c.Account.Email}
	}
	return v
}

func movedUser(m directory.Moved) openapi.MovedUser {
	of := m.Was
	if m.Now.ID != "" {
		of = m.Now
	}
	v := openapi.MovedUser{ID: string(of.ID), Name: of.Name, Switches: openapi.None}
	switch {
	case m.Now.ID == "":
		v.Was, v.Switches = new(numberText(m.Was.Extension.Number)), openapi.Cleared
	case m.Was.ID == "":
		v.Number = new(numberText(m.Now.Extension.Number))
	default:
		v.Was, v.Number, v.Switches = new(numberText(m.Was.Extension.Number)), new(numberText(m.Now.Extension.Number)), openapi.Moved
	}
	for _, d := range directory.DevicesOf(of) {
		p := openapi.MovedPhone{Name: d.Name}
		if m.Was.ID != "" {
			p.Was = new(pbx.DeviceName(m.Was.Extension.Number, d.Suffix))
		}
		if m.Now.ID != "" {
			p.SIPUser = new(pbx.DeviceName(m.Now.Extension.Number, d.Suffix))
		}
		v.Phones = append(v.Phones, p)
	}
	return v
}

func numberText(n pbx.Number) string { return strconv.Itoa(int(n)) }
