package asterisk

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Endpoints returns the sorted ids of all PJSIP endpoints that are loaded.
func (c *Control) Endpoints(ctx context.Context) ([]string, error) {
	return c.ids(ctx, "pjsip list endpoints", "Endpoint")
}

// Auths returns the sorted ids of all PJSIP auths that are loaded.
func (c *Control) Auths(ctx context.Context) ([]string, error) {
	return c.ids(ctx, "pjsip list auths", "Auth")
}

// AORs returns the sorted ids of all PJSIP AORs that are loaded.
func (c *Control) AORs(ctx context.Context) ([]string, error) {
	return c.ids(ctx, "pjsip list aors", "Aor")
}

// Identifies returns the sorted ids of all PJSIP objects that are loaded and match requests to an endpoint by their source address.
func (c *Control) Identifies(ctx context.Context) ([]string, error) {
	return c.ids(ctx, "pjsip list identifies", "Identify")
}

// Registrations returns the sorted ids of all outbound PJSIP registrations that are loaded.
func (c *Control) Registrations(ctx context.Context) ([]string, error) {
	return c.ids(ctx, "pjsip list registrations", "Registration")
}

// Extensions returns all steps of a dialplan context, in the order Asterisk searches them, and whether the context exists.
func (c *Control) Extensions(ctx context.Context, dialplanContext string) (steps []Extension, exists bool, err error) {
	if !IsPlain(dialplanContext) {
		return nil, false, fmt.Errorf("%w: %q is no name of a context", ErrCommand, clip(dialplanContext))
	}
	err = c.askWhole(ctx, "dialplan show "+dialplanContext, func(answer string) error {
		steps, exists, err = parseExtensions(answer, dialplanContext)
		return err
	})
	return steps, exists, about("the dialplan", err)
}

// Extension returns the steps of one extension of a dialplan context, none if it does not exist.
func (c *Control) Extension(ctx context.Context, dialplanContext, exten string) (steps []Extension, err error) {
	if !IsPlain(dialplanContext) || !IsPlain(exten) {
		return nil, fmt.Errorf("%w: %q is no name of an extension", ErrCommand, clip(exten+"@"+dialplanContext))
	}
	err = c.askWhole(ctx, "dialplan show "+exten+"@"+dialplanContext, func(answer string) error {
		first, rest, _ := strings.Cut(strings.TrimSpace(answer), "\n")
		if first == "There is no existence of "+exten+"@"+dialplanContext+" extension" && (rest == "" || commandFailed(rest)) {
			return nil
		}
		steps, _, err = parseExtensions(answer, dialplanContext)
		return err
	})
	return steps, about("the dialplan", err)
}

// Contacts returns where phones can be reached now, sorted by AOR.
func (c *Control) Contacts(ctx context.Context) ([]Contact, error) {
	answer, err := c.ask(ctx, "pjsip list contacts")
	if err != nil {
		return nil, err
	}
	contacts, err := parseContacts(answer)
	return contacts, about("contacts", err)
}

// Version returns the number of the running Asterisk, for example 22.10.1.
func (c *Control) Version(ctx context.Context) (string, error) {
	answer, err := c.ask(ctx, "core show version")
	if err != nil {
		return "", err
	}
	version, err := parseVersion(answer)
	return version, about("the version", err)
}

// Modules returns the sorted names of all running modules, for example res_pjsip.so.
func (c *Control) Modules(ctx context.Context) ([]string, error) {
	answer, err := c.ask(ctx, "module show")
	if err != nil {
		return nil, err
	}
	modules, err := parseModules(answer)
	return modules, about("modules", err)
}

// Transports returns the sorted ids of all PJSIP transports that are loaded; without one no phone reaches Asterisk.
func (c *Control) Transports(ctx context.Context) ([]string, error) {
	return c.ids(ctx, "pjsip list transports", "Transport")
}

// Transport is a PJSIP transport that is loaded.
type Transport struct{ ID, Protocol, Address string }

// TransportList returns the PJSIP transports that are loaded, in the order of the answer.
func (c *Control) TransportList(ctx context.Context) (all []Transport, err error) {
	err = c.askWhole(ctx, "pjsip list transports", func(answer string) error {
		all, err = parseTransports(answer)
		return err
	})
	return all, about("transports", err)
}

// Codecs returns the sorted names of the audio formats that Asterisk knows.
func (c *Control) Codecs(ctx context.Context) (names []string, err error) {
	answer, err := c.ask(ctx, "core show codecs audio")
	if err != nil {
		return nil, err
	}
	names, err = parseCodecs(answer)
	return names, about("codecs", err)
}

// configDir matches the line of `core show settings` that names the folder of the configuration.
var configDir = regexp.MustCompile(`(?m)^\s*Configuration directory:\s+(\S.*?)\s*$`)

// ConfigDir returns the folder from which the running Asterisk reads its configuration.
func (c *Control) ConfigDir(ctx context.Context) (string, error) {
	answer, err := c.ask(ctx, "core show settings")
	if err != nil {
		return "", err
	}
	found := configDir.FindStringSubmatch(answer)
	if found == nil {
		return "", about("its configuration folder", fmt.Errorf("%w: %q", ErrUnparsable, clip(answer)))
	}
	return found[1], nil
}

// WaitBooted returns once Asterisk has started completely, or after the timeout of a command.
func (c *Control) WaitBooted(ctx context.Context) error {
	answer, err := c.ask(ctx, "core waitfullybooted")
	if err != nil {
		return err
	}
	if strings.TrimSpace(answer) != "Asterisk has fully booted." {
		return about("whether Asterisk has started", fmt.Errorf("%w: %q", ErrUnparsable, clip(answer)))
	}
	return nil
}

// UnansweredError means that a query got no complete answer; Reply has the reason.
type UnansweredError struct {
	Reply Reply
}

// Error returns the whole explanation in one line.
func (e *UnansweredError) Error() string {
	text := strings.Join(strings.Fields(e.Reply.Stderr), " ")
	if text == "" {
		text = fmt.Sprintf("it ended with exit status %d", e.Reply.ExitCode)
	}
	return "cannot ask Asterisk: " + text
}

func (c *Control) ask(ctx context.Context, command string) (string, error) {
	reply, err := c.Run(ctx, command)
	if err != nil {
		return "", err
	}
	if reply.Fault != FaultNone {
		return "", &UnansweredError{Reply: reply}
	}
	return reply.Stdout, nil
}

// askWhole asks, and passes the answer to parse. It asks up to three times if lines of the answer were lost.
func (c *Control) askWhole(ctx context.Context, command string, parse func(answer string) error) error {
	for attempt := 1; ; attempt++ {
		answer, err := c.ask(ctx, command)
		if err != nil {
			return err
		}
		if err = parse(answer); attempt == 3 || !errors.Is(err, errLinesLost) {
			return err
		}
	}
}

// ids queries a list in two halves concurrently, by how an id ends: for a thousand objects Asterisk takes less than half as long as for the whole list.
// Through a command, starting a second program would take longer than that saves.
func (c *Control) ids(ctx context.Context, command, label string) ([]string, error) {
	halves := []string{" like [02468]$", " like [^02468]$"}
	if c.argv != nil {
		halves = []string{""}
	}
	found := make([][]string, len(halves))
	g, ctx := errgroup.WithContext(ctx)
	for i, half := range halves {
		g.Go(func() error {
			err := c.askWhole(ctx, command+half, func(answer string) (err error) {
				found[i], err = parseIDs(answer, label)
				return err
			})
			if err == nil && half != "" && slices.ContainsFunc(found[i], func(id string) bool { return len(id) < wholeID && isEven(id) != (i == 0) }) {
				err = fmt.Errorf("%w: it lists objects that were not requested", ErrUnparsable)
			}
			return about(strings.TrimPrefix(command, "pjsip list "), err)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := slices.Concat(found...)
	slices.Sort(all)
	return all, nil
}

// wholeID is a length below which a list shows an id in full.
const wholeID = 40

// isEven reports whether an id ends with an even digit.
func isEven(id string) bool { return strings.ContainsRune("02468", rune(id[len(id)-1])) }

// IsPlain reports whether a name can be asked for: others need quoting in a command.
func IsPlain(name string) bool { return len(name) <= longestName && plainName.MatchString(name) }

// longestName is the number of bytes of the longest name of an object or an extension. Expressions do not repeat a class as often: compiling that takes longer
// than all other expressions of the package.
const longestName = 79

// plainName matches what needs no quoting in a command.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// about names the query that an answer failed to settle.
func about(question string, err error) error {
	if errors.Is(err, ErrNoSuchCommand) || errors.Is(err, ErrUnparsable) {
		return fmt.Errorf("cannot find out %s from Asterisk: %w", question, err)
	}
	return err
}
