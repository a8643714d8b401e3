package node

import (
	"context"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// busyPatience is how long Reload waits for an Asterisk that is reloading already or still starting.
const busyPatience = 15 * time.Second

// Reload asks these modules of Asterisk to reload, and waits while it is busy. PJSIP and the dialplan are independent of each other: both are reloaded
// concurrently. Until both are done a new number is not reachable and a removed one not found; both are safe.
func (l *Local) Reload(ctx context.Context, modules []pbx.Module) (r pbx.Reload, err error) {
	parts := []struct {
		module pbx.Module
		name   string
		reload func(context.Context) (asterisk.Reply, asterisk.ReloadState)
		result **pbx.CommandResult
		state  asterisk.ReloadState
	}{
		{pbx.PJSIP, "PJSIP", l.control.ReloadPJSIP, &r.Results.PJSIP, asterisk.Reloaded},
		{pbx.Dialplan, "dialplan", l.control.ReloadDialplan, &r.Results.Dialplan, asterisk.Reloaded},
	}
	var all sync.WaitGroup
	for i := range parts {
		if p := &parts[i]; slices.Contains(modules, p.module) {
			all.Go(func() { *p.result, p.state = patiently(ctx, p.reload) })
		}
	}
	all.Wait()
	r.Understood = true
	for _, p := range parts {
		switch p.state {
		case asterisk.Reloaded:
		case asterisk.ReloadUnclear:
			r.Understood = false
		default:
			if err == nil { // if both failed it is for one reason
				err = errors.New(p.name + ": " + p.state.Sentence())
			}
		}
	}
	return r, err
}

// patiently repeats a reload, with backoff, while Asterisk is busy or still starting.
func patiently(ctx context.Context, reload func(context.Context) (asterisk.Reply, asterisk.ReloadState)) (*pbx.CommandResult, asterisk.ReloadState) {
	limit, cancel := context.WithTimeout(ctx, busyPatience)
	defer cancel()
	pause := 10 * time.Millisecond
	for {
		reply, state := reload(ctx)
		result := &pbx.CommandResult{ExitCode: reply.ExitCode, Stdout: brief(reply.Stdout), Stderr: brief(reply.Stderr)}
		if state != asterisk.ReloadInProgress && state != asterisk.ReloadQueued {
			return result, state
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-limit.Done():
			timer.Stop()
			return result, state
		}
		pause = min(2*pause, 100*time.Millisecond) // with a longer pause, clients that reload continuously would starve this one
	}
}

// brief returns the part of an answer that is recorded: Asterisk answers a reload in one line.
func brief(answer string) string {
	const most = 16 << 10
	if len(answer) <= most {
		return answer
	}
	return strings.ToValidUTF8(answer[:most], "?") + "…"
}

// steps returns the steps of our dialplan context that our file defines, and whether the context exists, or those of one extension in it. theirs are the
// extension numbers that something else defined an extension for.
func steps(ctx context.Context, control *asterisk.Control, exten string) (steps []pbx.Step, theirs []pbx.HostObject, exists bool, err error) {
	var all []asterisk.Extension
	if exten == "" {
		all, exists, err = control.Extensions(ctx, pbx.Context)
	} else {
		all, err = control.Extension(ctx, pbx.Context, exten)
	}
	for _, s := range all {
		number, numbered := pbx.ParseNumber(s.Exten)
		switch {
		case s.File == path.Base(pbx.DialplanPath):
			steps = append(steps, pbx.Step{Exten: s.Exten, Priority: s.Priority, App: s.App, Args: s.AppData})
		case exten == "" && numbered && s.Priority > 0 && (len(theirs) == 0 || theirs[len(theirs)-1].Number != number): // a hint dials no phone
			theirs = append(theirs, pbx.HostObject{Kind: pbx.KindExtension, Number: number, Context: pbx.Context, File: s.File})
		}
	}
	return steps, theirs, exists, err
}

// Live asks Asterisk what it has loaded, using all consoles concurrently.
func (l *Local) Live(ctx context.Context, q pbx.LiveQuery) (live pbx.Live, err error) {
	control := l.control
	if q.Patient {
		control = l.looks
	}
	live.Hashes = map[string]string{}
	g, asking := errgroup.WithContext(ctx)
	g.Go(func() (err error) { live.Endpoints, err = control.Endpoints(asking); return err })
	if q.All {
		g.Go(func() (err error) { live.Auths, err = control.Auths(asking); return err })
		g.Go(func() (err error) { live.AORs, err = control.AORs(asking); return err })
	}
	g.Go(func() (err error) {
		live.Steps, live.Host, live.Context, err = steps(asking, control, q.Exten)
		return err
	})
	ids := map[asterisk.Kind][]string{}
	for _, h := range q.Contents {
		kind, id, _ := strings.Cut(h, "/")
		ids[asterisk.Kind(kind)] = append(ids[asterisk.Kind(kind)], id)
	}
	var mu sync.Mutex // guards live.Hashes
	for kind, all := range ids {
		g.Go(func() error {
			values, err := control.Attributes(asking, kind, all, pbx.HashAttribute)
			mu.Lock()
			defer mu.Unlock()
			for id, hash := range values {
				live.Hashes[string(kind)+"/"+id] = hash
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return pbx.Live{}, err
	}
	if q.Ours == nil {
		return live, nil
	}
	for kind, ids := range map[asterisk.Kind]*[]string{asterisk.KindEndpoint: &live.Endpoints, asterisk.KindAuth: &live.Auths, asterisk.KindAOR: &live.AORs} {
		theirs, err := unmarked(ctx, control, kind, *ids, q.Ours)
		if err != nil {
			return pbx.Live{}, err
		}
		*ids = slices.DeleteFunc(*ids, func(id string) bool { _, is := theirs[id]; return is })
		for _, number := range theirs {
			live.Host = append(live.Host, pbx.HostObject{Kind: string(kind), Number: number})
		}
	}
	return live, nil
}

// unmarked returns the ids that are extension numbers, are not among ours, and whose objects do not have the portal's mark.
func unmarked(ctx context.Context, control *asterisk.Control, kind asterisk.Kind, ids []string, ours map[pbx.Number]bool) (theirs map[string]pbx.Number, err error) {
	var asked []string
	for _, id := range ids {
		if number, ok := pbx.ParseNumber(id); ok && !ours[number] {
			asked = append(asked, id)
		}
	}
	if len(asked) == 0 {
		return nil, nil
	}
	marks, err := control.Attributes(ctx, kind, asked, pbx.HashAttribute)
	theirs = map[string]pbx.Number{}
	for _, id := range asked {
		if marks[id] == "" {
			theirs[id], _ = pbx.ParseNumber(id) // as above
		}
	}
	return theirs, err
}

// Forget removes the registrations at these numbers, and returns the numbers that had one.
func (l *Local) Forget(ctx context.Context, numbers []pbx.Number) (forgotten []pbx.Number, err error) {
	ids := make([]string, len(numbers))
	for i, n := range numbers {
		ids[i] = strconv.Itoa(int(n))
	}
	gone, err := l.control.ForgetRegistrations(ctx, ids)
	for _, id := range gone {
		n, _ := strconv.Atoi(id) // it is one of those passed
		forgotten = append(forgotten, pbx.Number(n))
	}
	return forgotten, err
}
