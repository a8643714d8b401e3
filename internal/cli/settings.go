package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/synergycall/pbxportal/internal/config"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
)

// origins resolves flags from the environment or from settings files, and keeps the source of each value.
type origins struct {
	getenv  func(string) (string, bool)
	system  []string    // files with the settings of the service
	helping func() bool // the help was shown: no settings are needed

	read  bool
	files config.Files
	err   error
	from  map[string]string // variable → source of its value
}

// Validate has nothing to check: the flags define the settings.
func (o *origins) Validate(*kong.Application) error { return nil }

// Resolve returns the value of a flag. No file is read for a command that needs no settings. An empty variable counts as unset.
func (o *origins) Resolve(parsing *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if len(flag.Envs) == 0 || o.helping() {
		return nil, nil //nolint:nilnil // kong's way to say "no value"
	}
	if selected := parsing.Selected(); selected == nil || selected.Target.Type() == reflect.TypeFor[versionCommand]() {
		return nil, nil //nolint:nilnil // kong's way to say "no value"
	}
	if !o.read {
		o.read = true
		o.files, o.err = config.ReadFiles(chosenFile(parsing), o.system, o.getenv)
	}
	name := flag.Envs[0]
	if v, _ := o.getenv(name); v != "" {
		o.from[name] = "environment"
		return v, nil
	}
	if v, path := o.files.Value(name); v != "" {
		o.from[name] = path
		return v, nil
	}
	return nil, nil //nolint:nilnil // kong's way to say "no value"
}

// chosenFile returns the value of --config.
func chosenFile(parsing *kong.Context) string {
	for _, flag := range parsing.Model.Flags {
		if flag.Name == "config" {
			file, _ := parsing.FlagValue(flag).(string)
			return file
		}
	}
	return ""
}

// settle records which settings were given by flags, and returns an error if the files cannot be used.
func (o *origins) settle(parsed *kong.Context) error {
	if !o.read {
		return nil
	}
	if o.err != nil {
		return o.err
	}
	for _, p := range parsed.Path {
		if p.Flag != nil && !p.Resolved && len(p.Flag.Envs) > 0 {
			o.from[p.Flag.Envs[0]] = "flag --" + p.Flag.Name
		}
	}
	if o.files.Closed != nil && o.from["DATABASE_URL"] == "" && o.from["STATE_DIR"] == "" {
		return o.files.Closed
	}
	return o.files.Conflict(o.explicit)
}

// explicit reports whether a setting is given by a flag or the environment.
func (o *origins) explicit(name string) bool {
	from := o.from[name]
	return from == "environment" || strings.HasPrefix(from, "flag ")
}

// creates reports whether a command creates a missing database: one with the tag creates does, and one with creates:"named" if the settings name the
// place. These are apply and doctor; doctor creates none and judges as apply would.
func (o *origins) creates(tag *kong.Tag) bool {
	return tag.Has("creates") && (tag.Get("creates") != "named" || o.from["DATABASE_URL"] != "" || o.from["STATE_DIR"] != "")
}

// mayCreate returns an error if the command would create a database that was hardly intended: one beside another that the settings name, one beside the
// state of an installation with its database elsewhere, or one by a command that only reads. Only migrate creates it all the same.
func (a *app) mayCreate(ctx context.Context, p *portal) error {
	missing := p.store.Missing(ctx)
	if missing == "" {
		return nil
	}
	const or = "; to create a database there anyway run pbxportal migrate"
	if file := a.from.files.Other(p.config.DatabaseURL); file != "" {
		return usage(fmt.Errorf("%s, and %s names another database: correct DATABASE_URL or STATE_DIR%s", missing, file, or))
	}
	for _, name := range []string{"secret.key", "audit.key", "audit-heads.jsonl", "audit-newest.json"} {
		if _, err := os.Stat(filepath.Join(p.config.StateDir, name)); err == nil {
			return usage(fmt.Errorf("%s, and the state folder %s is that of an installation (it has %s), whose database is another one or was lost: "+
				"set DATABASE_URL to it, run the command where its settings are found (pbxportal config show lists them), or restore the backup%s", missing, p.config.StateDir, name, or))
		}
	}
	if !a.creates {
		return usage(fmt.Errorf("%s: run the command where the settings of the installation are found (pbxportal config show lists the effective ones), "+
			"or create a database with pbxportal migrate", missing))
	}
	return nil
}

type configCommands struct {
	Show configShowCommand `cmd:"" help:"List the effective settings and their sources; secrets are hidden."`
}

type configShowCommand struct{}

// Run lists the settings.
func (*configShowCommand) Run(a *app) error {
	c, wrong := a.config.CompleteWith(a.stateDir)
	var settings []openapi.Setting
	for _, v := range c.Values() {
		source := a.from.from[v.Name]
		if source == "" {
			source = "default"
		}
		settings = append(settings, openapi.Setting{Name: v.Name, Value: v.Text, Source: source})
	}
	if a.json {
		if err := a.printJSON(openapi.SettingsReport{Settings: settings}); err != nil {
			return err
		}
	} else {
		w := newTable(a.stdout)
		fmt.Fprintln(w, "SETTING\tVALUE\tSOURCE")
		for _, s := range settings {
			fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, s.Value, s.Source)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if closed := a.from.files.Closed; closed != nil {
		wrong = errors.Join(wrong, closed)
	}
	if wrong != nil {
		return usage(wrong)
	}
	return nil
}
