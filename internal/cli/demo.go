package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synergycall/pbxportal/internal/config"
	"github.com/synergycall/pbxportal/internal/demo"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type demoCommand struct {
	Keep bool `help:"Leave portal and Asterisk running after the demonstration, until Ctrl-C."`
}

// showTime is the time limit of the demonstration; downloading Asterisk is not part of it.
const showTime = 2 * time.Minute

// Run starts an Asterisk and a portal of their own, in a temporary folder and on loopback, and runs the demonstration.
func (c *demoCommand) Run(ctx context.Context, a *app) error {
	fmt.Fprintln(a.stdout, "PBX Control Portal: from nothing to a phone call")
	start := time.Now()
	fmt.Fprintln(a.stdout, "\nDownloading a real Asterisk 22 into its own folder (once; later runs start at once)")
	tree, err := lab.FetchAsterisk(ctx, lab.FetchOptions{Progress: func(line string) { fmt.Fprintln(a.stdout, "    "+line) }})
	if err != nil {
		return fmt.Errorf("cannot get an Asterisk for the demo: %w\nIf you have an Asterisk, use it instead: "+
			"set ASTERISK_CONFIG_DIR and ASTERISK_CONTROL, and run pbxportal doctor", err)
	}
	dir, err := os.MkdirTemp("", "pbxdemo-")
	if err != nil {
		return fmt.Errorf("cannot create a folder for the demo: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // leftovers are in the system's temporary folder
	ast, err := lab.StartAsterisk(ctx, tree, lab.AsteriskOptions{})
	if err != nil {
		return fmt.Errorf("cannot start the Asterisk of the demo: %w", err)
	}
	defer func() { _ = ast.Stop() }() // its folder is temporary

	logFile, err := os.OpenFile(filepath.Join(dir, "portal.log"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // in a new folder of ours
	if err != nil {
		return fmt.Errorf("cannot create the log of the demo: %w", err)
	}
	defer func() { _ = logFile.Close() }() // the log is removed right after
	inner := &app{stdout: a.stdout, stderr: logFile, getenv: a.getenv, creates: true, from: &origins{}, config: config.Config{
		StateDir: filepath.Join(dir, "state"), AsteriskConfigDir: ast.ConfigDir, AsteriskControl: ast.ControlSocket,
		AMIAddr: ast.AMI.Addr, AMIUser: ast.AMI.User, AMISecret: ast.AMI.Secret,
	}}
	p, err := inner.ready(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot listen on loopback: %w", err)
	}
	url := "http://" + listener.Addr().String()
	account, token, err := p.admit(ctx)
	if err != nil {
		return errors.Join(err, listener.Close())
	}

	serving, stop := context.WithCancel(ctx)
	defer stop()
	g, serving := errgroup.WithContext(serving)
	g.Go(func() error { return p.serve(serving, listener) })
	g.Go(func() error {
		defer stop()
		fmt.Fprintf(a.stdout, "\nAsterisk takes calls on %s, the portal answers on %s\n\n", ast.SIPAddr, url)
		show, cancel := context.WithTimeout(serving, showTime)
		defer cancel()
		if err := (&demo.Show{URL: url, Token: token.Reveal(), SIP: ast.SIPAddr, Out: a.stdout, Now: time.Now}).Run(show); err != nil {
			return errors.Join(err, fmt.Errorf("Asterisk's log:\n%s", ast.Log()))
		}
		fmt.Fprintf(a.stdout, "\nAll checks passed in %s.\n", time.Since(start).Round(time.Second/10))
		if c.Keep {
			fmt.Fprintf(a.stdout, "\nStill running, until Ctrl-C:\n  pages     %[1]s/app/\n  API       %[1]s/docs\n  sign in   %s, password %s\n  token     %s\n  phones    register at %s, with a user's number and secret\n"+
				"  files     %s\n  log       %s\n\nTo try the commands in another terminal, such as pbxportal plan or status:\n"+
				"  export STATE_DIR=%s ASTERISK_CONFIG_DIR=%s ASTERISK_CONTROL=%s\n"+
				"  export AMI_ADDR=%s AMI_USER=%s AMI_SECRET=%s\n",
				url, account.Email, account.Password.Reveal(), token.Reveal(), ast.SIPAddr, ast.ConfigDir, logFile.Name(), inner.config.StateDir, ast.ConfigDir, ast.ControlSocket,
				ast.AMI.Addr, ast.AMI.User, ast.AMI.Secret)
			<-serving.Done()
		}
		return nil
	})
	return g.Wait()
}

// guest is the account for what the demonstration leaves running.
type guest struct {
	Email    string
	Password pbx.Secret
}

// admit creates an account for the viewer, and a token for the demonstration.
func (p *portal) admit(ctx context.Context) (guest, pbx.Secret, error) {
	g := guest{Email: "demo@example.com", Password: pbx.NewSecret()}
	if _, err := p.auth.Create(ctx, pbx.NewAccount{Name: "Demo", Email: g.Email, Role: pbx.Owner}, g.Password); err != nil {
		return g, pbx.Secret{}, err
	}
	_, token, err := p.auth.CreateToken(ctx, pbx.NewToken{Name: "demo", Role: pbx.Admin})
	return g, token, err
}
