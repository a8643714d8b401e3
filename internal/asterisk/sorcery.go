package asterisk

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Kind is a type of PJSIP object, as Asterisk's sorcery names it.
type Kind string

// The types of PJSIP objects that the portal writes.
const (
	KindEndpoint     Kind = "endpoint"
	KindAuth         Kind = "auth"
	KindAOR          Kind = "aor"
	KindIdentify     Kind = "identify"
	KindRegistration Kind = "registration"
)

// attributesPerCommand is how many attributes fit into one command.
const attributesPerCommand = 9

// Attributes returns the value of one attribute for those of the ids whose loaded object has it. It is for attributes beginning with @, which mean
// nothing to Asterisk: never for one that holds a password. It needs func_sorcery.so and func_strings.so; without them the result is ErrUnparsable.
func (c *Control) Attributes(ctx context.Context, kind Kind, ids []string, attribute string) (map[string]string, error) {
	if !strings.HasPrefix(attribute, "@") || !IsPlain(attribute[1:]) {
		return nil, fmt.Errorf("%w: %q is no attribute to ask for", ErrCommand, clip(attribute))
	}
	values := make(map[string]string, len(ids))
	for len(ids) > 0 {
		n := min(attributesPerCommand, len(ids))
		// EVAL puts many queries into one command; the separator does not occur in our values, and a blank would end the argument.
		command := "dialplan eval function EVAL("
		for _, id := range ids[:n] {
			if !IsPlain(id) {
				return nil, fmt.Errorf("%w: %q is no plain name", ErrCommand, clip(id))
			}
			command += "${AST_SORCERY(res_pjsip," + string(kind) + "," + id + "," + attribute + ")}|"
		}
		answer, err := c.ask(ctx, command+")")
		if err != nil {
			return nil, err
		}
		got, err := parseEval(answer, n)
		if err != nil {
			return nil, about("attributes", err)
		}
		for i, value := range got {
			if value != "" {
				values[ids[i]] = value
			}
		}
		ids = ids[n:]
	}
	return values, nil
}

// plainPath matches file names that can be an argument of a function.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)

// Setting returns the first value that Asterisk itself finds for a key in a category of a configuration file, with everything the file includes: what it
// would read at a reload, with its own permissions. Relative paths are relative to its configuration folder. ok is false if it cannot load the file as a
// whole, and if there is no such key. It needs func_config.so. The value must not be a secret: it goes through Asterisk's console.
func (c *Control) Setting(ctx context.Context, file, category, key string) (value string, ok bool, err error) {
	if len(file) > 300 || !plainPath.MatchString(file) || !IsPlain(category) || !IsPlain(key) {
		return "", false, fmt.Errorf("%w: %q is no plain name", ErrCommand, clip(file+" "+category+" "+key))
	}
	answer, err := c.ask(ctx, "dialplan eval function AST_CONFIG("+file+","+category+","+key+")")
	if err != nil {
		return "", false, err
	}
	status, result, found := strings.Cut(answer, "\nResult: ")
	switch {
	case found && status == "Return Value: Success (0)":
		return strings.TrimSuffix(result, "\n"), true, nil
	case found && status == "Return Value: Failure (-1)":
		return "", false, nil
	}
	return "", false, about(file, fmt.Errorf("%w: %q", ErrUnparsable, clip(answer)))
}

// parseEval reads the n values returned by EVAL, each followed by a bar.
func parseEval(answer string, n int) ([]string, error) {
	status, result, ok := strings.Cut(answer, "\nResult: ")
	values := strings.Split(strings.TrimSuffix(result, "\n"), "|")
	if !ok || status != "Return Value: Success (0)" || len(values) != n+1 || values[n] != "" {
		return nil, fmt.Errorf("%w: %q", ErrUnparsable, clip(answer))
	}
	return values[:n], nil
}

// registration matches the key of a registered contact in Asterisk's database: the AOR and a suffix.
var registration = regexp.MustCompile(`(?m)^/registrar/contact/([A-Za-z0-9_.-]+);@([0-9a-f]+)\s*:`)

// counted matches the last line of a listing of Asterisk's database.
var counted = regexp.MustCompile(`(?:^|\n)(\d+) results found\.\s*$`)

// ForgetRegistrations removes the registrations of these AORs, and returns the AORs that had one. A phone that is still allowed to will register again
// by itself.
func (c *Control) ForgetRegistrations(ctx context.Context, aors []string) (forgotten []string, err error) {
	if len(aors) == 0 {
		return nil, nil
	}
	answer, err := c.ask(ctx, "database show registrar contact")
	if err != nil {
		return nil, err
	}
	all := registration.FindAllStringSubmatch(answer, -1)
	if count := counted.FindStringSubmatch(answer); count == nil || count[1] != strconv.Itoa(strings.Count("\n"+answer, "\n/registrar/contact/")) {
		return nil, about("which phones are registered", fmt.Errorf("%w: %q", ErrUnparsable, clip(answer)))
	}
	wanted := make(map[string]bool, len(aors))
	for _, a := range aors {
		wanted[a] = true
	}
	for _, found := range all {
		if !wanted[found[1]] {
			continue
		}
		answer, err := c.ask(ctx, `database del registrar/contact "`+found[1]+";@"+found[2]+`"`)
		if err != nil {
			return forgotten, err
		}
		if !strings.Contains(answer, "Database entry removed") {
			return forgotten, about("whether it removed a registration of  "+found[1], fmt.Errorf("%w: %q", ErrUnparsable, clip(answer)))
		}
		forgotten = append(forgotten, found[1])
	}
	return forgotten, nil
}
