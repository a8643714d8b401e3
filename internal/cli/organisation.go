package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type organisationCommands struct {
	Show organisationShowCommand `cmd:"" help:"Show the settings that apply, and where each comes from."`
	Set  organisationSetCommand  `cmd:"" help:"Change settings; what is not given stays, and an empty value removes a setting."`
}

type organisationShowCommand struct{}

// Run shows the organisation.
func (*organisationShowCommand) Run(ctx context.Context, a *app, p *portal) error {
	i, err := p.routing.Get(ctx, pbx.DefaultTenant, pbx.KindOrganisation, pbx.OrganisationID)
	if err != nil {
		return err
	}
	return a.printOrganisation(ctx, p, i, "")
}

type organisationSetCommand struct {
	Name          *string `help:"The name." placeholder:"NAME"`
	Country       *string `help:"The country, by ISO 3166." placeholder:"DE"`
	TimeZone      *string `help:"The time zone." placeholder:"Europe/Berlin"`
	MainNumber    *string `hidden:""`
	Language      *string `help:"The language of prompts." placeholder:"de" name:"prompt-language"`
	CoolDown      *string `help:"Days until a released number is reused." placeholder:"DAYS"`
	ServerAddress *string `hidden:""`
	ServerPort    *string `hidden:""`
	Transport     *string `hidden:""`
	PublicAddress *string `hidden:""`
	Codecs        *string `hidden:""`
	SRTP          *string `hidden:"" name:"srtp"`

	callFields `embed:""`
}

// Help describes the flags of phones and of call settings.
func (*organisationSetCommand) Help() string {
	return "Main number: --main-number. Phones: --server-address, --server-port, --transport udp|tcp|tls, --public-address, --codecs, --srtp off|offered|required. " + callsHelp
}

// Run changes the organisation.
func (c *organisationSetCommand) Run(ctx context.Context, a *app, p *portal) error {
	calls, err := c.setter(ctx, p)
	if err != nil {
		return err
	}
	days, err := coolDown(c.CoolDown)
	if err != nil {
		return err
	}
	var port *int
	if c.ServerPort != nil {
		n := 0
		if *c.ServerPort != "" {
			if n, err = strconv.Atoi(*c.ServerPort); err != nil || n == 0 {
				return usage(fmt.Errorf("--server-port must be a number from 1 to 65535, or empty"))
			}
		}
		port = &n
	}
	was, err := p.routing.Get(ctx, pbx.DefaultTenant, pbx.KindOrganisation, pbx.OrganisationID)
	if err != nil {
		return err
	}
	i, err := p.routing.Change(ctx, pbx.DefaultTenant, pbx.KindOrganisation, pbx.OrganisationID, 0, func(i *pbx.Item) error {
		if o, ok := i.Body.(*pbx.Organisation); ok {
			set(&i.Name, c.Name)
			set(&o.Country, c.Country)
			set(&o.TimeZone, c.TimeZone)
			set(&o.MainNumber, c.MainNumber)
			set(&o.Language, c.Language)
			set(&o.CoolDownDays, days)
			set(&o.Phones.ServerAddress, c.ServerAddress)
			set(&o.Phones.ServerPort, port)
			set(&o.Phones.Transport, c.Transport)
			set(&o.Phones.PublicAddress, c.PublicAddress)
			set(&o.Phones.SRTP, (*pbx.MediaPolicy)(c.SRTP))
			if c.Codecs != nil {
				o.Phones.Codecs = pbx.CodecList(strings.ReplaceAll(*c.Codecs, " ", ""))
			}
			calls(&o.Calls)
		}
		return nil
	})
	if err != nil {
		return err
	}
	next := "Not applied yet: run pbxportal apply."
	if i.Version == was.Version {
		next = "Nothing changed."
	}
	return a.printOrganisation(ctx, p, i, next)
}

// printOrganisation prints the settings that apply, and in text form a last line that says what to do next.
func (a *app) printOrganisation(ctx context.Context, p *portal, i pbx.Item, next string) error {
	transports := p.node.Transports(ctx)
	if a.json {
		return a.printJSON(httpapi.OrganisationJSON(i, p.engine.Calls(), p.config.NumberQuarantine, transports))
	}
	o, ok := i.Body.(*pbx.Organisation)
	if !ok {
		return nil
	}
	e := pbx.EffectiveOf(*o, p.engine.Calls(), p.config.NumberQuarantine, transports)
	w := newTable(a.stdout)
	row := func(label, text, field string) {
		if from := e.Origins[field]; text != "" && from != "" && from != pbx.FromOrganisation {
			text += " (" + from + ")"
		}
		if text != "" {
			fmt.Fprintf(w, "%s\t%s\n", label, oneLine(text))
		}
	}
	row("Name", i.Name, "")
	row("Country", o.Country, "")
	row("Emergency numbers", strings.Join(e.Emergency, " "), "")
	row("Time zone", o.TimeZone, "")
	row("Main number", o.MainNumber, "")
	row("Language", o.Language, "")
	row("Cool-down", durationText(e.CoolDown), "cool_down_days")
	row("Server address", e.Phones.ServerAddress, "phones.server_address")
	row("Server port", strconv.Itoa(e.Phones.ServerPort), "phones.server_port")
	row("Transport", e.Phones.Transport, "phones.transport")
	row("Public address", e.Phones.PublicAddress, "phones.public_address")
	row("Codecs", strings.Join(e.Phones.Codecs.List(), ","), "phones.codecs")
	row("SRTP", string(e.Phones.SRTP), "phones.srtp")
	origins := map[string]string{}
	for field, from := range e.Origins {
		if from == pbx.FromOrganisation {
			from = pbx.FromUser // its own
		}
		if field, ok := strings.CutPrefix(field, "calls."); ok {
			origins[field] = from
		}
	}
	if err := p.writeCallsOf(ctx, w, e.Calls, origins); err != nil {
		return err
	}
	if next != "" {
		fmt.Fprintln(w, next)
	}
	return w.Flush()
}

// callsText returns call settings in one line: those that are not inherited, by their name in the contract.
func callsText(c pbx.CallSettings, names map[pbx.Ref]string) string {
	facts := pbx.Facts{}
	c.AddTo(facts)
	for _, d := range []struct {
		field string
		to    pbx.Destination
	}{{"when_busy", c.WhenBusy}, {"when_unanswered", c.WhenUnanswered}, {"when_unreachable", c.WhenUnreachable}} {
		if d.to.Kind != "" {
			facts["calls."+d.field] = destinationText(d.to, names)
		}
	}
	var all []string
	for _, field := range slices.Sorted(maps.Keys(facts)) {
		all = append(all, strings.TrimPrefix(field, "calls.")+" "+facts[field])
	}
	return strings.Join(all, ", ")
}
