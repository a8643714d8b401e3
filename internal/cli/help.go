package cli

import (
	"fmt"
	"io"

	"github.com/alecthomas/kong"
)

// helpSettings is the internal form of `help settings`.
const helpSettings = "help settings"

// helped returns the command line for one that asks for help or for the version in another way.
func helped(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "--version":
		return []string{"version"}
	case args[0] != "help":
		return args
	case len(args) == 2 && args[1] == "settings":
		return []string{helpSettings}
	}
	return append(append([]string{}, args[1:]...), "--help")
}

// helpOf returns the printer of the help of a command, with a pointer to that of the settings; the help of the whole program includes the settings.
func helpOf(settings func() []*kong.Flag) kong.HelpPrinter {
	return func(options kong.HelpOptions, about *kong.Context) error {
		whole := about.Selected() == nil
		for _, flag := range settings() {
			flag.Hidden = !whole
		}
		err := kong.DefaultHelpPrinter(options, about)
		if err == nil && !whole {
			_, err = fmt.Fprintln(about.Stdout, "\nThe flags of the settings, such as --database-url, are listed by: pbxportal help settings")
		}
		return err
	}
}

// settingsOf returns the flags of the settings.
func settingsOf(commands *kong.Node) (settings []*kong.Flag) {
	for _, flag := range commands.Flags {
		if len(flag.Envs) > 0 {
			settings = append(settings, flag)
		}
	}
	return settings
}

// printSettings prints the help of the settings.
func printSettings(w io.Writer, settings []*kong.Flag) {
	fmt.Fprintln(w, "Each setting is a variable, in the environment or in a file, and a flag. pbxportal config show lists the effective values.")
	for _, flag := range settings {
		fmt.Fprintf(w, "\n%s, --%s=%s\n    %s\n", flag.Envs[0], flag.Name, flag.PlaceHolder, flag.Help)
	}
}
