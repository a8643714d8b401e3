package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
)

// mostTyped is how much of standard input can be a password.
const mostTyped = 4096

// password asks for a new password, twice and without showing it; or takes standard input as it is, but for the end of its line.
func (a *app) password(fromInput bool) (pbx.Secret, error) {
	if fromInput {
		text, err := regular.All(a.stdin, mostTyped)
		if err != nil {
			return pbx.Secret{}, fmt.Errorf("cannot read the password from standard input: %w", err)
		}
		return pbx.SecretFrom(strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")), nil
	}
	terminal, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return pbx.Secret{}, usage(errors.New("there is no terminal to ask for the password on: give it on standard input, with --password-stdin"))
	}
	first, err := a.ask(terminal, "Password (at least 12 characters): ")
	if err != nil {
		return first, err
	}
	again, err := a.ask(terminal, "The same once more: ")
	if err == nil && first != again {
		err = usage(errors.New("these were two different passwords: nothing was changed"))
	}
	return first, err
}

func (a *app) ask(terminal *os.File, prompt string) (pbx.Secret, error) {
	fmt.Fprint(a.stderr, prompt)
	text, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(a.stderr)
	if err != nil {
		return pbx.Secret{}, fmt.Errorf("cannot read the password: %w", err)
	}
	return pbx.SecretFrom(string(text)), nil
}
