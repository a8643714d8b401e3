// Package node is one Asterisk host: where its files lie, how it is asked to take them, and how one finds out what it runs. It knows
// what our objects are; how a file is replaced safely (filetx) and how Asterisk is spoken to (asterisk) it leaves to others.
//
// Local is the host the portal itself runs on. It serves the apply engine as its Target, without knowing the engine.
package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/filetx"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// stateTimeout bounds State, which a health check asks often and must not wait for.
const stateTimeout = time.Second

// Local is the Asterisk of this host. It is safe for concurrent use, but only one apply at a time may write and reload.
type Local struct {
	dir     string // Asterisk's configuration directory
	control *asterisk.Control
}

// New makes a Local for the Asterisk whose configuration lies in dir and that control speaks to.
func New(dir string, control *asterisk.Control) *Local { return &Local{dir, control} }

// Write puts all files in their places below the configuration directory, or none, and returns their absolute paths.
func (l *Local) Write(ctx context.Context, files []pbx.File) (written []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all := make([]filetx.File, 0, len(files))
	for _, f := range files {
		path := filepath.Join(l.dir, filepath.FromSlash(f.Path))
		all = append(all, filetx.File{Path: path, Content: f.Content})
		written = append(written, path)
	}
	if err := filetx.Replace(all); err != nil {
		return nil, fmt.Errorf("%w: give the portal's user the right to write in the folders of the generated files, and see that the disk is not full", err)
	}
	return written, nil
}

// Reload asks Asterisk to take the files, first the PJSIP objects and then the dialplan: between the two a new number is not found and
// a removed one not reachable, and both are safe. The dialplan is not reloaded when PJSIP was not. understood is false when an answer
// was neither a yes nor a no.
func (l *Local) Reload(ctx context.Context) (results pbx.ReloadResults, understood bool, err error) {
	reply, state := l.control.ReloadPJSIP(ctx)
	results.PJSIP = result(reply)
	if state != asterisk.Reloaded && state != asterisk.ReloadUnclear {
		return results, true, errors.New("PJSIP: " + state.Sentence())
	}
	understood = state == asterisk.Reloaded
	reply, state = l.control.ReloadDialplan(ctx)
	results.Dialplan = result(reply)
	if state != asterisk.Reloaded && state != asterisk.ReloadUnclear {
		return results, true, errors.New("dialplan: " + state.Sentence())
	}
	return results, understood && state == asterisk.Reloaded, nil
}

func result(r asterisk.Reply) *pbx.CommandResult {
	return &pbx.CommandResult{ExitCode: r.ExitCode, Stdout: r.Stdout, Stderr: r.Stderr}
}

// Live asks Asterisk for the objects and the dialplan steps it has loaded, all questions at once.
func (l *Local) Live(ctx context.Context) (live pbx.Live, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { live.Endpoints, err = l.control.Endpoints(ctx); return err })
	g.Go(func() (err error) { live.Auths, err = l.control.Auths(ctx); return err })
	g.Go(func() (err error) { live.AORs, err = l.control.AORs(ctx); return err })
	g.Go(func() error {
		steps, err := l.control.Extensions(ctx, pbx.Context)
		for _, s := range steps {
			live.Steps = append(live.Steps, pbx.Step{Exten: s.Exten, Priority: s.Priority, App: s.App, Args: s.AppData})
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return pbx.Live{}, err
	}
	return live, nil
}

// State tells how Asterisk is: its version, "" when it gave none, and "ok" or a sentence that says what is wrong. It answers within a second.
func (l *Local) State(ctx context.Context) (version, state string) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	version, err := l.control.Version(ctx)
	if err != nil {
		return "", err.Error()
	}
	return version, "ok"
}
