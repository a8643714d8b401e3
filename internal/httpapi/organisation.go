package httpapi

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

func organisations() kindOf[openapi.Organisation] {
	return kindOf[openapi.Organisation]{pbx.KindOrganisation, "/api/v1/organisation", toOrganisation, fromOrganisation}
}

// GetOrganisation returns the organisation.
func (a *api) GetOrganisation(ctx context.Context, r openapi.GetOrganisationRequestObject) (openapi.GetOrganisationResponseObject, error) {
	o, err := getThing(ctx, a, organisations(), string(pbx.OrganisationID))
	if err == nil && has(r.Params.IfNoneMatch, o.version) {
		return notModified(o.version), nil
	}
	if err == nil {
		err = a.addEffective(ctx, &o.body)
	}
	return openapi.GetOrganisation200JSONResponse{Body: o.body, Headers: openapi.GetOrganisation200ResponseHeaders{ETag: o.tag}}, err
}

// UpdateOrganisation changes the settings of the organisation that a merge patch names.
func (a *api) UpdateOrganisation(ctx context.Context, r openapi.UpdateOrganisationRequestObject) (openapi.UpdateOrganisationResponseObject, error) {
	o, err := updateThing(ctx, a, organisations(), string(pbx.OrganisationID), r.Params.IfMatch, *cmp.Or(r.JSONBody, r.ApplicationMergePatchPlusJSONBody))
	if err == nil {
		err = a.addEffective(ctx, &o.body)
	}
	return openapi.UpdateOrganisation200JSONResponse{Body: o.body, Headers: openapi.UpdateOrganisation200ResponseHeaders{ETag: o.tag}}, err
}

// addEffective fills in the settings that apply.
func (a *api) addEffective(ctx context.Context, o *openapi.Organisation) error {
	settings, err := a.routing.Settings(ctx, pbx.DefaultTenant)
	if err != nil {
		return err
	}
	var transports []pbx.Transport
	if a.asterisk != nil {
		transports = a.asterisk(ctx)
	}
	fillOrganisation(o, pbx.EffectiveOf(settings.Organisation, a.engine.Calls(), a.routing.Quarantine(), transports), transports)
	return nil
}

func fillOrganisation(o *openapi.Organisation, e pbx.Effective, transports []pbx.Transport) {
	o.EffectiveCalls, o.EffectiveCoolDownSeconds, o.Origins, o.EmergencyNumbers = toCallSettings(e.Calls), int(e.CoolDown.Seconds()), e.Origins, e.Emergency
	o.EffectivePhones = openapi.EffectivePhoneNetwork{
		ServerAddress: unlessZero(e.Phones.ServerAddress), ServerPort: e.Phones.ServerPort, Transport: openapi.EffectivePhoneNetworkTransport(e.Phones.Transport),
		PublicAddress: unlessZero(e.Phones.PublicAddress), Codecs: e.Phones.Codecs.List(), Srtp: openapi.EffectivePhoneNetworkSrtp(e.Phones.SRTP),
	}
	o.Transports = each(transports, func(t pbx.Transport) openapi.Transport {
		return openapi.Transport{Name: t.Name, Protocol: t.Protocol, Address: t.Address}
	})
}

func toOrganisation(i pbx.Item) openapi.Organisation {
	o, ok := i.Body.(*pbx.Organisation)
	if !ok {
		return openapi.Organisation{}
	}
	out := openapi.Organisation{
		Name: i.Name, Country: unlessZero(o.Country), TimeZone: unlessZero(o.TimeZone), MainNumber: unlessZero(o.MainNumber), Language: unlessZero(o.Language),
		CoolDownDays: o.CoolDownDays, Calls: toCallSettings(o.Calls), Version: i.Version, UpdatedAt: i.UpdatedAt.UTC(),
		EmergencyNumbers: []string{}, Transports: []openapi.Transport{},
		Phones: openapi.PhoneNetwork{
			ServerAddress: unlessZero(o.Phones.ServerAddress), ServerPort: unlessZero(o.Phones.ServerPort), Transport: unlessZero(openapi.PhoneNetworkTransport(o.Phones.Transport)),
			PublicAddress: unlessZero(o.Phones.PublicAddress), Srtp: unlessZero(openapi.PhoneNetworkSrtp(o.Phones.SRTP)),
		},
	}
	if o.Phones.Codecs != "" {
		codecs := o.Phones.Codecs.List()
		out.Phones.Codecs = &codecs
	}
	return out
}

func fromOrganisation(o openapi.Organisation) (name string, body pbx.Body, err error) {
	calls, err := fromCallSettings(o.Calls)
	p := o.Phones
	return o.Name, &pbx.Organisation{
		Country: value(o.Country), TimeZone: value(o.TimeZone), MainNumber: value(o.MainNumber), Language: value(o.Language), CoolDownDays: o.CoolDownDays, Calls: calls,
		Phones: pbx.PhoneNetwork{
			ServerAddress: value(p.ServerAddress), ServerPort: value(p.ServerPort), Transport: string(value(p.Transport)), PublicAddress: value(p.PublicAddress),
			Codecs: pbx.CodecList(strings.Join(value(p.Codecs), ",")), SRTP: pbx.MediaPolicy(value(p.Srtp)),
		},
	}, err
}

// OrganisationJSON returns the organisation in the form of the contract. installation are the call settings of the installation, quarantine its cool-down.
func OrganisationJSON(i pbx.Item, installation pbx.CallSettings, quarantine time.Duration, transports []pbx.Transport) any {
	out := toOrganisation(i)
	if o, ok := i.Body.(*pbx.Organisation); ok {
		fillOrganisation(&out, pbx.EffectiveOf(*o, installation, quarantine, transports), transports)
	}
	return out
}
