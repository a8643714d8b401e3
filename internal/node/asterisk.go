package node

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
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
		return strings.ToValidUTF8(answer, "?")
	}
	return strings.ToValidUTF8(answer[:most], "?") + "…"
}

// listsOf returns how the ids of each type of PJSIP object are listed.
func listsOf(c *asterisk.Control) map[string]func(context.Context) ([]string, error) {
	return map[string]func(context.Context) ([]string, error){
		string(asterisk.KindEndpoint):     c.Endpoints,
		string(asterisk.KindAuth):         c.Auths,
		string(asterisk.KindAOR):          c.AORs,
		string(asterisk.KindIdentify):     c.Identifies,
		string(asterisk.KindRegistration): c.Registrations,
	}
}

// isOurFile reports whether the dialplan file of this name, which Asterisk gives without its folder, is the portal's.
func isOurFile(name string) bool {
	return slices.ContainsFunc(pbx.GeneratedFiles(), func(f pbx.GeneratedFile) bool { return f.Module == pbx.Dialplan && path.Base(f.Path) == name })
}

// dialplan is what Asterisk answers for one context, or for one extension of it.
type dialplan struct {
	steps    []pbx.Step       // that our files define
	includes []string         // of the context, also those of others: Asterisk does not say which file defines them
	theirs   []pbx.HostObject // extension numbers that something else defined an extension for
	exists   bool
}

// dialplanOf asks for a context, or, if exten is not "", for one extension of it.
func dialplanOf(ctx context.Context, control *asterisk.Control, inContext, exten string) (d dialplan, err error) {
	var all []asterisk.Extension
	if exten == "" {
		all, d.exists, err = control.Extensions(ctx, inContext)
	} else {
		all, err = control.Extension(ctx, inContext, exten)
	}
	for _, s := range all {
		number, numbered := pbx.ParseNumber(s.Exten)
		switch {
		case s.Included:
		case s.Priority == asterisk.IncludePriority:
			d.includes = append(d.includes, s.AppData)
		case isOurFile(s.File):
			d.steps = append(d.steps, pbx.Step{Context: inContext, Exten: s.Exten, Priority: s.Priority, App: s.App, Args: s.AppData})
		case exten == "" && numbered && s.Priority > 0 && (len(d.theirs) == 0 || d.theirs[len(d.theirs)-1].Number != number): // a hint dials no phone
			d.theirs = append(d.theirs, pbx.HostObject{Kind: pbx.KindExtension, Number: number, Context: inContext, File: s.File})
		}
	}
	return d, err
}

// listTimePerUser is how long Asterisk may take to list what one user has: with 10,000 users on a busy machine a list takes longer than DefaultTimeout.
const listTimePerUser = 3 * time.Millisecond

// Live asks Asterisk what it has loaded, using all consoles concurrently. A type that cannot be listed is an error.
func (l *Local) Live(ctx context.Context, q pbx.LiveQuery) (live pbx.Live, err error) {
	control := l.control
	if q.Patient {
		control = l.looks
	}
	if long := time.Duration(len(q.Ours)) * listTimePerUser; long > asterisk.DefaultTimeout {
		control = control.WithTimeout(long)
	}
	live.IDs, live.Contexts, live.Hashes = map[string][]string{}, map[string][]string{}, map[string]string{}
	var mu sync.Mutex // guards live
	g, asking := errgroup.WithContext(ctx)
	lists := listsOf(control)
	for _, kind := range q.Types {
		list := lists[kind]
		if list == nil {
			return pbx.Live{}, fmt.Errorf("cannot ask Asterisk for objects of the type %q", kind)
		}
		g.Go(func() error {
			ids, err := list(asking)
			if errors.Is(err, asterisk.ErrNoSuchCommand) && !slices.Contains(pbx.UserTypes(), kind) {
				err = nil // the module of the type is not loaded, and so no object of it is
			}
			mu.Lock()
			defer mu.Unlock()
			if len(ids) > 0 {
				live.IDs[kind] = ids
			}
			return err
		})
	}
	for _, place := range slices.Concat(q.Contexts, q.Extens) {
		exten, inContext, one := strings.Cut(place, "@")
		if !one {
			exten, inContext = "", place
		}
		g.Go(func() error {
			d, err := dialplanOf(asking, control, inContext, exten)
			mu.Lock()
			defer mu.Unlock()
			live.Steps, live.Host = append(live.Steps, d.steps...), append(live.Host, d.theirs...)
			if d.exists {
				live.Contexts[inContext] = d.includes
			}
			return err
		})
	}
	ids := map[asterisk.Kind][]string{}
	for _, h := range q.Contents {
		kind, id, _ := strings.Cut(h, "/")
		ids[asterisk.Kind(kind)] = append(ids[asterisk.Kind(kind)], id)
	}
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
	written := sync.OnceValue(func() map[string]bool { return l.written(ctx) })
	for kind, all := range live.IDs {
		theirs, err := unmarked(ctx, control, asterisk.Kind(kind), all, q.Ours, written)
		if err != nil {
			return pbx.Live{}, err
		}
		if len(theirs) == 0 {
			continue
		}
		if live.IDs[kind] = slices.DeleteFunc(all, func(id string) bool { return theirs[id] }); len(live.IDs[kind]) == 0 {
			delete(live.IDs, kind)
		}
		for id := range theirs {
			if o, ok := pbx.HostObjectOf(kind, id); ok {
				live.Host = append(live.Host, o)
			}
		}
	}
	return live, nil
}

// unmarked returns the ids that are not among ours, and whose objects do not have the portal's mark, or have it only because they inherit from one of
// the portal's: written returns the sections that the administrator's files define. The portal gives its objects plain names.
func unmarked(ctx context.Context, control *asterisk.Control, kind asterisk.Kind, ids []string, ours map[string]bool, written func() map[string]bool) (
	theirs map[string]bool, err error,
) {
	var unknown []string
	for _, id := range ids {
		switch {
		case ours[id]:
			continue
		case asterisk.IsPlain(id):
			unknown = append(unknown, id)
		}
		if theirs == nil {
			theirs = map[string]bool{}
		}
		theirs[id] = true
	}
	if len(unknown) == 0 {
		return theirs, nil
	}
	marks, err := control.Attributes(ctx, kind, unknown, pbx.HashAttribute)
	for id := range marks {
		if !written()[id] {
			delete(theirs, id)
		}
	}
	return theirs, err
}

// Do carries out effects in order, and returns those that changed something: a phone may not have been registered.
func (l *Local) Do(ctx context.Context, effects []pbx.Effect) (done []pbx.Effect, err error) {
	registrations := map[string]pbx.Effect{}
	var ids []string
	for _, e := range effects {
		if e.Verb == pbx.ForgetRegistration {
			ids = append(ids, pbx.DeviceName(e.Number, e.Suffix))
			registrations[ids[len(ids)-1]] = e
		}
	}
	gone, err := l.control.ForgetRegistrations(ctx, ids)
	for _, id := range gone {
		done = append(done, registrations[id])
	}
	return done, err
}
