package node

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// busyPatience is how long Reload waits for an Asterisk that is reloading already or still starting.
const busyPatience = 15 * time.Second

// Reload asks Asterisk to take the files, first the PJSIP objects and then the dialplan: between the two a new number is not found and
// a removed one not reachable, and both are safe. The dialplan is not reloaded when PJSIP was not. It waits while Asterisk is busy.
// understood is false when an answer was neither a yes nor a no.
func (l *Local) Reload(ctx context.Context) (results pbx.ReloadResults, understood bool, err error) {
	understood = true
	for _, step := range []struct {
		name   string
		reload func(context.Context) (asterisk.Reply, asterisk.ReloadState)
		result **pbx.CommandResult
	}{{"PJSIP", l.control.ReloadPJSIP, &results.PJSIP}, {"dialplan", l.control.ReloadDialplan, &results.Dialplan}} {
		reply, state := patiently(ctx, step.reload)
		*step.result = &pbx.CommandResult{ExitCode: reply.ExitCode, Stdout: reply.Stdout, Stderr: reply.Stderr}
		switch state {
		case asterisk.Reloaded:
		case asterisk.ReloadUnclear:
			understood = false
		default:
			return results, true, errors.New(step.name + ": " + state.Sentence())
		}
	}
	return results, understood, nil
}

// patiently repeats a reload while Asterisk says that it is busy or still starting, at growing distances.
func patiently(ctx context.Context, reload func(context.Context) (asterisk.Reply, asterisk.ReloadState)) (asterisk.Reply, asterisk.ReloadState) {
	limit, cancel := context.WithTimeout(ctx, busyPatience)
	defer cancel()
	pause := 10 * time.Millisecond
	for {
		reply, state := reload(ctx)
		if state != asterisk.ReloadInProgress && state != asterisk.ReloadQueued {
			return reply, state
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-limit.Done():
			timer.Stop()
			return reply, state
		}
		pause = min(2*pause, 100*time.Millisecond) // others want their turn too: who asks rarely never gets one
	}
}

// Live asks Asterisk for the objects and the dialplan steps it has loaded, and for the hashes of the named objects, all at once.
func (l *Local) Live(ctx context.Context, hashes []string) (live pbx.Live, err error) {
	live.Hashes = map[string]string{}
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
	ids := map[asterisk.Kind][]string{}
	for _, h := range hashes {
		kind, id, _ := strings.Cut(h, "/")
		ids[asterisk.Kind(kind)] = append(ids[asterisk.Kind(kind)], id)
	}
	g.Go(func() error {
		for kind, all := range ids {
			values, err := l.control.Attributes(ctx, kind, all, pbx.HashAttribute)
			if err != nil {
				return err
			}
			for id, hash := range values {
				live.Hashes[string(kind)+"/"+id] = hash
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return pbx.Live{}, err
	}
	return live, nil
}

// Forget makes Asterisk forget the phones registered at these numbers, and gives the numbers of which it forgot one.
func (l *Local) Forget(ctx context.Context, numbers []pbx.Number) (forgotten []pbx.Number, err error) {
	ids := make([]string, len(numbers))
	for i, n := range numbers {
		ids[i] = strconv.Itoa(int(n))
	}
	gone, err := l.control.ForgetRegistrations(ctx, ids)
	for _, id := range gone {
		n, _ := strconv.Atoi(id) // it is one of those we gave
		forgotten = append(forgotten, pbx.Number(n))
	}
	return forgotten, err
}
