package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type deviceCommands struct {
	Add    deviceAddCommand    `cmd:"" help:"Add a phone to a user; prints the SIP user name and the secret for the phone."`
	List   deviceListCommand   `cmd:"" help:"List the phones of a user."`
	Show   deviceShowCommand   `cmd:"" help:"Show one phone with its secret."`
	Set    deviceSetCommand    `cmd:"" help:"Rename a phone."`
	Secret deviceSecretCommand `cmd:"" name:"new-secret" help:"Give a phone a new secret, and print it."`
	Delete deviceDeleteCommand `cmd:"" help:"Remove a phone from a user."`
}

// ofUser is the argument of commands on the phones of a user.
type ofUser struct {
	User string `arg:"" help:"The user's id or extension number."`
}

// oneDevice is the arguments of commands on one phone.
type oneDevice struct {
	ofUser `embed:""`

	Device string `arg:"" name:"phone" help:"The phone: its SIP user name such as 1000-2, its number among the user's phones, its name, or its id."`
}

// find returns the user and the phone.
func (c oneDevice) find(ctx context.Context, p *portal) (pbx.User, pbx.Device, error) {
	u, err := p.user(ctx, c.User)
	if err != nil {
		return u, pbx.Device{}, err
	}
	key := pbx.Fold(c.Device)
	found := named(directory.DevicesOf(u),
		func(d pbx.Device) bool {
			return key == strconv.Itoa(d.Suffix) || key == pbx.DeviceName(u.Extension.Number, d.Suffix) || key == string(d.ID)
		},
		func(d pbx.Device) bool { return key != "" && key == pbx.Fold(d.Name) }, // the first phone has no name
	)
	switch len(found) {
	case 0:
		return u, pbx.Device{}, &pbx.Error{
			Kind: pbx.KindNotFound, Code: pbx.CodeDeviceNotFound,
			Msg: fmt.Sprintf("%s has no phone %q: run pbxportal device list %d to see which there are", u.Name, c.Device, u.Extension.Number),
		}
	case 1:
		return u, found[0], nil
	}
	return u, pbx.Device{}, &pbx.Error{
		Kind: pbx.KindInvalid, Code: pbx.CodeInvalid,
		Msg: fmt.Sprintf("%d phones of %s are called %q: give the SIP user name, as pbxportal device list %d shows it", len(found), u.Name, c.Device, u.Extension.Number),
	}
}

type deviceAddCommand struct {
	ofUser `embed:""`

	Name string `arg:"" help:"What the phone is called in the portal, such as Desk or Mobile."`
}

// Run adds the phone.
func (c *deviceAddCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, err := p.user(ctx, c.User)
	if err != nil {
		return err
	}
	u, d, err := p.directory.AddDevice(ctx, pbx.DefaultTenant, u.ID, 0, c.Name)
	if err != nil {
		return err
	}
	return a.printDevice(u, d, "Not applied yet: run pbxportal apply to configure it in Asterisk.")
}

type deviceListCommand struct {
	ofUser `embed:""`
}

// Run lists the phones.
func (c *deviceListCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, err := p.user(ctx, c.User)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.DevicesJSON(u))
	}
	w := newTable(a.stdout)
	fmt.Fprintln(w, "PHONE\tSIP USER\tNAME\tADDED\tID")
	for _, d := range directory.DevicesOf(u) {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", d.Suffix, pbx.DeviceName(u.Extension.Number, d.Suffix), oneLine(d.Name), d.CreatedAt.Format(time.DateOnly), d.ID)
	}
	return w.Flush()
}

type deviceShowCommand struct {
	oneDevice `embed:""`
}

// Run shows the phone.
func (c *deviceShowCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, d, err := c.find(ctx, p)
	if err != nil {
		return err
	}
	return a.printDevice(u, d, "")
}

type deviceSetCommand struct {
	oneDevice `embed:""`

	Name string `required:"" help:"What the phone is called in the portal." placeholder:"NAME"`
}

// Run renames the phone.
func (c *deviceSetCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, d, err := c.find(ctx, p)
	if err != nil {
		return err
	}
	u, d, err = p.directory.ChangeDevice(ctx, pbx.DefaultTenant, u.ID, d.ID, 0, func(d *pbx.Device) error { d.Name = c.Name; return nil })
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.DeviceJSON(u, d))
	}
	fmt.Fprintf(a.stdout, "%s is now called %s. There is nothing to apply.\n", pbx.DeviceName(u.Extension.Number, d.Suffix), oneLine(d.Name))
	return nil
}

type deviceSecretCommand struct {
	oneDevice `embed:""`
}

// Run replaces the secret.
func (c *deviceSecretCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, d, err := c.find(ctx, p)
	if err != nil {
		return err
	}
	u, d, err = p.directory.NewDeviceSecret(ctx, pbx.DefaultTenant, u.ID, d.ID, 0)
	if err != nil {
		return err
	}
	return a.printDevice(u, d, "Not applied yet: run pbxportal apply. From then on the phone needs this secret.")
}

type deviceDeleteCommand struct {
	oneDevice `embed:""`
}

// Run removes the phone.
func (c *deviceDeleteCommand) Run(ctx context.Context, a *app, p *portal) error {
	u, d, err := c.find(ctx, p)
	if err != nil {
		return err
	}
	if _, err := p.directory.RemoveDevice(ctx, pbx.DefaultTenant, u.ID, d.ID, 0); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(httpapi.DeviceJSON(u, d))
	}
	fmt.Fprintf(a.stdout, "Removed the phone %s (%s) of %s.\nIt works until the next apply: run pbxportal apply.\n", oneLine(d.Name), pbx.DeviceName(u.Extension.Number, d.Suffix), oneLine(u.Name))
	return nil
}

// printDevice prints one phone, with the secret, and in text form a last line that says what to do next.
func (a *app) printDevice(u pbx.User, d pbx.Device, next string) error {
	if a.json {
		return a.printJSON(httpapi.DeviceWithSecretJSON(u, d))
	}
	w := newTable(a.stdout)
	fmt.Fprintf(w, "User\t%s\nPhone\t%s\nSIP user\t%s\nSecret\t%s\nAdded\t%s\nID\t%s\n",
		oneLine(u.Name), oneLine(d.Name), pbx.DeviceName(u.Extension.Number, d.Suffix), d.Secret.Reveal(), d.CreatedAt.Format(time.RFC3339), d.ID)
	if next != "" {
		fmt.Fprintln(w, next)
	}
	return w.Flush()
}
