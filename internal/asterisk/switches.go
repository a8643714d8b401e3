package asterisk

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Switches are what the dialplan of the portal holds of a user in Asterisk itself: the device state of do not disturb, and in the database the numbers
// that calls are forwarded to, "" for none.
type Switches struct {
	DoNotDisturb                                                      bool
	ForwardAlways, ForwardBusy, ForwardUnanswered, ForwardUnreachable string
}

// The families of Asterisk's database with the switches: forwards by number and key, and device states, of which those that begin with dndDevice are ours.
const (
	switchFamily = "sc"
	stateFamily  = "CustomDevstate"
	dndDevice    = "sc-dnd-"
)

// With returns the switches with another value of one, "1" or "" for dnd; ok is false if the key or the value is none.
func (s Switches) With(key, value string) (with Switches, ok bool) {
	if key == "dnd" {
		s.DoNotDisturb = value == "1"
		return s, value == "1" || value == ""
	}
	field := s.forward(key)
	if field == nil || !forwardTarget.MatchString(value) {
		return s, false
	}
	*field = value
	return s, true
}

// forward returns the field of a forward by its key in the database, nil for another key.
func (s *Switches) forward(key string) *string {
	return map[string]*string{"cfa": &s.ForwardAlways, "cfb": &s.ForwardBusy, "cfn": &s.ForwardUnanswered, "cfu": &s.ForwardUnreachable}[key]
}

var (
	extension     = regexp.MustCompile(`^[0-9]{1,20}$`)
	forwardTarget = regexp.MustCompile(`^[0-9*#+]{0,32}$`)
	forwardKey    = regexp.MustCompile(`^/` + switchFamily + `/([0-9]{1,20})/([a-z]+)$`)
	stateKey      = regexp.MustCompile(`^/` + stateFamily + `/` + dndDevice + `([0-9]{1,20})$`)
)

// Switches returns the switches of all extensions that have one on.
func (c *Control) Switches(ctx context.Context) (map[string]Switches, error) {
	all := map[string]Switches{}
	for _, family := range []string{switchFamily, stateFamily} {
		entries, err := c.entries(ctx, family)
		if err != nil {
			return nil, err
		}
		for key, value := range entries {
			addSwitch(all, key, value)
		}
	}
	return all, nil
}

// addSwitch adds the switch that an entry of Asterisk's database holds, if it is one, to those of its extension.
func addSwitch(all map[string]Switches, key, value string) {
	exten, name := "", "dnd"
	if found := forwardKey.FindStringSubmatch(key); found != nil {
		exten, name = found[1], found[2]
	} else if found := stateKey.FindStringSubmatch(key); found != nil && value == "BUSY" {
		exten, value = found[1], "1"
	}
	if with, ok := all[exten].With(name, value); ok && exten != "" && with != (Switches{}) {
		all[exten] = with
	}
}

// Switches returns the switches of all extensions that have one on. It needs no permission to change anything.
func (a *AMI) Switches(ctx context.Context) (map[string]Switches, error) {
	got, err := a.ask(ctx, []field{{"Action", "DBGetTree"}, {"Family", switchFamily}}, []field{{"Action", "DBGetTree"}, {"Family", stateFamily}})
	if err != nil {
		return nil, err
	}
	all := map[string]Switches{}
	for _, answer := range got {
		for _, item := range answer.items {
			addSwitch(all, strings.Clone(item.get("Key")), strings.Clone(item.get("Val")))
		}
	}
	return all, nil
}

// SetSwitches changes the switches of an extension to these, from what they were: only what differs is written.
func (c *Control) SetSwitches(ctx context.Context, exten string, from, to Switches) error {
	if !extension.MatchString(exten) {
		return fmt.Errorf("%w: %q is no extension", ErrCommand, clip(exten))
	}
	if from.DoNotDisturb != to.DoNotDisturb {
		state := "UNAVAILABLE" // NOT_INUSE would hide a phone that is gone, and UNKNOWN leave a lamp on
		if to.DoNotDisturb {
			state = "BUSY"
		}
		if err := c.change(ctx, "devstate change Custom:"+dndDevice+exten+" "+state, "Changing "); err != nil {
			return err
		}
	}
	for _, key := range []string{"cfa", "cfb", "cfn", "cfu"} {
		var err error
		switch value := *to.forward(key); {
		case value == *from.forward(key):
		case !forwardTarget.MatchString(value):
			err = fmt.Errorf("%w: %q is no number", ErrCommand, clip(value))
		case value == "":
			err = c.change(ctx, "database del "+switchFamily+" "+exten+"/"+key, "Database entry ")
		default:
			err = c.put(ctx, switchFamily, exten+"/"+key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// change sends a command that changes something, whose answer must begin with a text.
func (c *Control) change(ctx context.Context, command, expected string) error {
	answer, err := c.ask(ctx, command)
	if err == nil && !strings.HasPrefix(answer, expected) {
		err = about("whether it changed a switch", fmt.Errorf("%w: %q", ErrUnparsable, clip(answer)))
	}
	return err
}

// put writes an entry of Asterisk's database. The texts must need no quoting.
func (c *Control) put(ctx context.Context, family, key, value string) error {
	return c.change(ctx, "database put "+family+" "+key+" "+value, "Updated database successfully")
}

// databaseLine matches a line of a listing of Asterisk's database.
var databaseLine = regexp.MustCompile(`(?m)^(/\S+) *: (.*?)\s*$`)

// entries returns the entries of a family of Asterisk's database, by key. Values must have no line breaks.
func (c *Control) entries(ctx context.Context, family string) (map[string]string, error) {
	var all map[string]string
	err := c.askWhole(ctx, "database show "+family, func(answer string) error {
		if err := refused(answer); err != nil {
			return err
		}
		all = map[string]string{}
		for _, m := range databaseLine.FindAllStringSubmatch(answer, -1) {
			all[m[1]] = m[2]
		}
		if count := counted.FindStringSubmatch(answer); count == nil || count[1] != strconv.Itoa(len(all)) {
			return fmt.Errorf("%w: %q", errLinesLost, clip(answer))
		}
		return nil
	})
	return all, about("the entries of its database", err)
}

// The family of Asterisk's database with switches that are to be moved: what each extension will have, and, once that is complete, a name.
const (
	moveFamily = "sc-move"
	moveReady  = "ready"
)

// PrepareSwitches records in Asterisk, under a name of digits, the switches that extensions are to have. What was recorded before is given up.
func (c *Control) PrepareSwitches(ctx context.Context, name string, to map[string]Switches) error {
	if !extension.MatchString(name) {
		return fmt.Errorf("%w: %q is no name", ErrCommand, clip(name))
	}
	if err := c.dropPrepared(ctx); err != nil || len(to) == 0 {
		return err
	}
	for _, exten := range slices.Sorted(maps.Keys(to)) {
		s := to[exten]
		if !extension.MatchString(exten) {
			return fmt.Errorf("%w: %q is no extension", ErrCommand, clip(exten))
		}
		dnd := ""
		if s.DoNotDisturb {
			dnd = "1"
		}
		if err := c.put(ctx, moveFamily, exten, strings.Join([]string{dnd, s.ForwardAlways, s.ForwardBusy, s.ForwardUnanswered, s.ForwardUnreachable}, "|")); err != nil {
			return err
		}
	}
	return c.put(ctx, moveFamily, moveReady, name)
}

// SetPrepared sets the switches that were recorded under a name, and returns the extensions whose switches changed. It sets none if nothing complete was
// recorded under that name. If it is interrupted, another call completes it.
func (c *Control) SetPrepared(ctx context.Context, name string) (changed []string, err error) {
	entries, err := c.entries(ctx, moveFamily)
	if err != nil || entries["/"+moveFamily+"/"+moveReady] != name {
		return nil, err
	}
	now, err := c.Switches(ctx)
	if err != nil {
		return nil, err
	}
	for key, value := range entries {
		exten, fields := strings.TrimPrefix(key, "/"+moveFamily+"/"), strings.Split(value, "|")
		if len(fields) != 5 {
			continue
		}
		to := Switches{fields[0] == "1", fields[1], fields[2], fields[3], fields[4]}
		if now[exten] == to {
			continue
		}
		if err := c.SetSwitches(ctx, exten, now[exten], to); err != nil {
			return changed, err
		}
		changed = append(changed, exten)
	}
	slices.Sort(changed)
	return changed, c.dropPrepared(ctx)
}

// dropPrepared removes what PrepareSwitches recorded; first the name, so that the rest is not taken for complete.
func (c *Control) dropPrepared(ctx context.Context) error {
	entries, err := c.entries(ctx, moveFamily)
	if err != nil || len(entries) == 0 { // Asterisk logs a warning where there is nothing to delete
		return err
	}
	if err := c.change(ctx, "database del "+moveFamily+" "+moveReady, "Database entry "); err != nil {
		return err
	}
	return c.change(ctx, "database deltree "+moveFamily, "")
}
