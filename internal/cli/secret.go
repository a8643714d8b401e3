package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
)

// mostTyped is the maximum length of a password from standard input.
const mostTyped = 4096

// password prompts for a new password, twice and without echo; or reads standard input as it is, without the final line end.
func (a *app) password(ctx context.Context, fromInput bool) (pbx.Secret, error) {
	if fromInput {
		text, err := until(ctx, func() ([]byte, error) { return regular.All(a.stdin, mostTyped) })
		if err != nil {
			return pbx.Secret{}, fmt.Errorf("cannot read the password from standard input: %w", err)
		}
		return pbx.SecretFrom(strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")), nil
	}
	terminal, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return pbx.Secret{}, usage(errors.New("there is no terminal to prompt for the password: pass it on standard input, with --password-stdin"))
	}
	first, err := a.ask(ctx, terminal, "Password (at least 12 characters): ")
	if err != nil {
		return first, err
	}
	again, err := a.ask(ctx, terminal, "Repeat password: ")
	if err == nil && first != again {
		err = usage(errors.New("the passwords do not match: nothing was changed"))
	}
	return first, err
}

// ask prompts for one password. If ctx ends first, the echo of the terminal is restored.
func (a *app) ask(ctx context.Context, terminal *os.File, prompt string) (pbx.Secret, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return pbx.Secret{}, fmt.Errorf("cannot read the state of the terminal: %w", err)
	}
	fmt.Fprint(a.stderr, prompt)
	text, err := until(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	fmt.Fprintln(a.stderr)
	if err != nil {
		return pbx.Secret{}, errors.Join(fmt.Errorf("cannot read the password: %w", err), term.Restore(fd, before))
	}
	return pbx.SecretFrom(string(text)), nil
}

// confirm asks on the terminal whether to do something, unless the answer was given with --yes. The error is one of usage if the answer is not yes, or there is
// no terminal.
func (a *app) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	terminal, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return usage(errors.New("there is no terminal to ask for a confirmation, and nothing was changed: add --yes"))
	}
	fmt.Fprint(a.stderr, question+" [y/N] ")
	line, err := until(ctx, func() (string, error) { return bufio.NewReader(terminal).ReadString('\n') })
	if err != nil {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	if answer := pbx.Fold(line); answer != "y" && answer != "yes" {
		return usage(errors.New("not confirmed: nothing was changed"))
	}
	return nil
}

// until returns the result of read, or the error of ctx when that ends first. read then continues until the process ends: reading from a terminal cannot
// be interrupted.
func until[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := read()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}
