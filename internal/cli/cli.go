// Package cli is the command line, and assembles the program. Every command works in process, on the database and Asterisk directly, so that it also
// works while no server runs. The commands contain no rules: they call the services and print the results.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"reflect"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"github.com/synergycall/pbxportal/internal/config"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// The exit codes of the program, for scripts. The help text lists them.
const (
	exitOK          = 0
	exitFailed      = 1 // the command failed, or doctor found something broken
	exitUsage       = 2 // the command line, a setting or the input is wrong
	exitNotFound    = 3 // what was named does not exist
	exitConflict    = 4 // address taken, no free number, another apply is running
	exitUnavailable = 5 // the database does not answer
	exitApply       = 6 // an apply failed; its audit record has the details
	exitUnconfirmed = 7 // an apply put the files in place, but it could not be verified that Asterisk runs them
	exitPending     = 8 // plan --exit-code: an apply would do something, or would be refused
)

const description = `Control plane for Asterisk: create users with SIP extensions and ring groups, apply them to the live Asterisk, and verify that it runs them.

Settings come from flags, the environment, the file .env in the current folder, and /etc/pbxportal/pbxportal.env; the first that has a value wins. pbxportal help settings lists them, pbxportal config show shows the effective values and their sources.

Exit codes: 0 success; 1 failed, or doctor found a fault; 2 invalid command line, setting or input; 3 not found; 4 conflict (name, number or address taken, no free number, still in use, another apply is running); 5 database unavailable; 6 apply failed; 7 applied but not confirmed: the files are in place and no command failed, but Asterisk could not be verified to run them; 8 plan --exit-code: there are changes to apply.`

// commands is the command line: a field for each command, in the order of the help text.
type commands struct {
	Config   config.Config `embed:""`
	Version  bool          `name:"version" help:"Print the version."`
	FromFile string        `name:"config" placeholder:"FILE" help:"Read the settings from this file instead of .env and /etc/pbxportal/pbxportal.env."`
	JSON     bool          `name:"json" help:"Print JSON instead of text."`

	Serve    serveCommand          `cmd:"" creates:"" help:"Run the portal: pages for a browser, HTTP API, API page, metrics."`
	User     userCommands          `cmd:"" help:"Add, list, show, change and delete users; restore those of a revision."`
	Device   deviceCommands        `cmd:"" help:"Add, list, show, rename and remove phones of users."`
	Ring     ringGroupCommands     `cmd:"" name:"ring-group" help:"Add, list, show, change and delete ring groups: numbers that ring several users."`
	Org      organisationCommands  `cmd:"" name:"organisation" help:"Show and change the organisation: country, time zone, how phones reach Asterisk, default call settings."`
	Pool     poolCommands          `cmd:"" help:"Add, list, show, change and delete pools of numbers."`
	Plan     planCommand           `cmd:"" help:"Show what an apply would do: users and ring groups added, removed or changed, calls that end up elsewhere, number clashes, configuration drift."`
	Apply    applyCommand          `cmd:"" creates:"named" help:"Apply the configuration to Asterisk, and verify it."`
	Rollback rollbackCommand       `cmd:"" help:"Restore an earlier revision of the files; the database is not changed."`
	Revision revisionCommands      `cmd:"" help:"List and compare the revisions of the generated files."`
	Simulate simulateCommand       `cmd:"" help:"Say what happens to a call: who rings, for how long, where it goes on to, and which settings decide it. No phone rings."`
	Recover  recoverCommand        `cmd:"" help:"Recover from an interrupted apply (serve and apply do so too)."`
	Audit    auditCommands         `cmd:"" help:"List and show the records of applies; list, export and verify the audit trail."`
	Admin    adminCommands         `cmd:"" help:"Manage the accounts of people who can sign in."`
	Token    tokenCommands         `cmd:"" help:"Create, list and revoke the API tokens of programs."`
	Status   statusCommand         `cmd:"" help:"Show the live state of Asterisk: registered phones and current calls."`
	Install  installCommand        `cmd:"" creates:"" help:"Create the generated files, empty, so that Asterisk's own files can include them."`
	Doctor   doctorCommand         `cmd:"" creates:"named" help:"Check database, folders, includes, socket and Asterisk; print a fix for every fault."`
	Migrate  migrateCommand        `cmd:"" creates:"" help:"Migrate the database schema (serve does so too)."`
	Rotate   rotateKeyCommand      `cmd:"" name:"rotate-key" help:"Rotate the key that encrypts secrets in the database; servers may keep running."`
	Lost     replaceLostKeyCommand `cmd:"" name:"replace-lost-key" help:"Reissue what is encrypted with a lost key; without --give-up only report the consequences."`
	Settings configCommands        `cmd:"" name:"config" help:"Show the effective settings and their sources."`
	Demo     demoCommand           `cmd:"" help:"Run a demonstration on its own Asterisk: two phones, a call, a refusal."`
	Printed  versionCommand        `cmd:"" name:"version" help:"Print the version."`
}

// Run runs the command line args and returns the exit code. Results go to stdout, everything else to stderr.
func Run(ctx context.Context, args []string, getenv func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	return run(ctx, args, getenv, machine{config.SystemFiles(), config.DefaultStateDir}, stdin, stdout, stderr)
}

// machine describes the machine the program runs on.
type machine struct {
	settings []string // files with the settings of the service
	stateDir string   // the default
}

// run runs the command line on a machine. A command whose output cannot be written fails, whatever else it did: its caller would take half of a result,
// or none, for all of it.
func run(ctx context.Context, args []string, getenv func(string) (string, bool), on machine, stdin io.Reader, stdout, stderr io.Writer) int {
	out := &output{Writer: stdout}
	code := execute(ctx, args, getenv, on, stdin, out, stderr)
	if code == exitOK && out.err != nil {
		return report(stderr, fmt.Errorf("the output is incomplete: %w: what the command has changed stays changed; free space there or print elsewhere, and check the result before repeating it", out.err))
	}
	return code
}

// output keeps the first error of writing to it.
type output struct {
	io.Writer

	err error
}

func (o *output) Write(text []byte) (int, error) {
	n, err := o.Writer.Write(text)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

func execute(ctx context.Context, args []string, getenv func(string) (string, bool), on machine, stdin io.Reader, stdout, stderr io.Writer) int {
	exit := -1 // set when kong itself ends the program, for help, for instance
	var c commands
	from := &origins{getenv: getenv, system: on.settings, helping: func() bool { return exit >= 0 }, from: map[string]string{}}
	var settings []*kong.Flag
	parser, err := kong.New(&c,
		kong.Name("pbxportal"), kong.Description(description), kong.UsageOnError(), kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exit = code }), kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}), kong.Help(helpOf(func() []*kong.Flag { return settings })),
		kong.Resolvers(from), kong.KindMapper(reflect.String, kong.MapperFunc(text)),
	)
	if err != nil {
		return report(stderr, err)
	}
	settings = settingsOf(parser.Model.Node)
	if args = helped(args); len(args) == 1 && args[0] == helpSettings {
		printSettings(stdout, settings)
		return exitOK
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 {
		return exit
	}
	if err != nil {
		return report(stderr, usage(withUsage(err)))
	}
	if err := from.settle(parsed); err != nil {
		return report(stderr, usage(err))
	}
	_, serves := parsed.Selected().Target.Interface().(serveCommand)
	if serves {
		survivesHangup(ctx)
	}
	a := &app{stateDir: on.stateDir, config: c.Config, json: c.JSON, waits: serves, creates: from.creates(parsed.Selected().Tag), from: from, stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv}
	ctx = pbx.WithActor(ctx, localActor(getenv))
	parsed.BindTo(ctx, (*context.Context)(nil))
	var p *portal
	err = parsed.BindSingletonProvider(func() (_ *portal, err error) { // called only by a command that takes one
		p, err = a.ready(ctx)
		return p, err
	})
	if err == nil {
		err = parsed.Run(a)
	}
	if p != nil {
		p.close()
	}
	if errors.Is(err, errStopped) {
		err = nil
	}
	return report(stderr, err)
}

// withUsage returns an error of the command line with the usage of the command, or, if it names none, a pointer to the list of commands.
func withUsage(err error) error {
	of, ok := errors.AsType[*kong.ParseError](err)
	if !ok || of.Context.Selected() == nil {
		return fmt.Errorf("%w: pbxportal --help lists the commands and flags", err)
	}
	command := of.Context.Selected()
	return fmt.Errorf("%w\n  usage: pbxportal %s\n  pbxportal %s --help describes the arguments and flags", err, command.Summary(), command.Path())
}

// localActor returns the actor at the command line, for the audit trail: the user of the operating system, and the user before sudo.
func localActor(getenv func(string) (string, bool)) pbx.Actor {
	name := userName()
	if before, _ := getenv("SUDO_USER"); before != "" {
		name += " (sudo by " + before + ")"
	}
	return pbx.Actor{Kind: pbx.ActorLocal, Name: name}
}

// userName returns the name of the user of the operating system, or the number if there is no name.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return fmt.Sprintf("user %d", os.Getuid())
	}
	return u.Username
}

// text reads an argument, or the value of a flag. Invalid UTF-8 is an error: kong would replace characters.
func text(from *kong.DecodeContext, into reflect.Value) error {
	token, err := from.Scan.PopValue("string")
	if err != nil {
		return err
	}
	given := token.String()
	if !utf8.ValidString(given) {
		return errors.New("must be valid UTF-8")
	}
	into.SetString(given)
	return nil
}

// quiet is the error of a command that has printed everything, and ends with an exit code.
type quiet int

func (q quiet) Error() string { return fmt.Sprintf("exit code %d", int(q)) }

// usageError marks an error of the command line, a setting or the input.
type usageError struct{ error }

func usage(err error) error { return usageError{err} }

// report prints the error, if any, and returns its exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if code, ok := errors.AsType[quiet](err); ok {
		return int(code)
	}
	said := err.Error()
	e, ok := errors.AsType[*pbx.Error](err)
	if ok {
		said = e.Msg
		for _, f := range e.Fields {
			said += fmt.Sprintf("\n  %s %s", f.Field, f.Message)
		}
		if e.Kind == pbx.KindUnavailable && e.Err != nil {
			said += "\n  cause: " + oneLine(e.Err.Error())
		}
	}
	fmt.Fprintln(stderr, "pbxportal: "+said)
	if _, isUsage := errors.AsType[usageError](err); isUsage {
		return exitUsage
	}
	if !ok {
		return exitFailed
	}
	switch e.Kind {
	case pbx.KindInvalid:
		return exitUsage
	case pbx.KindNotFound:
		return exitNotFound
	case pbx.KindConflict:
		return exitConflict
	case pbx.KindUnavailable:
		return exitUnavailable
	case pbx.KindApply:
		if e.Code == pbx.CodeNotConfirmed {
			return exitUnconfirmed
		}
		return exitApply
	case pbx.KindInternal, pbx.KindNotSignedIn, pbx.KindForbidden, pbx.KindTooMany:
	}
	return exitFailed
}
