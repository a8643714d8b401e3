package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/live"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// lookTime is how long status waits for Asterisk.
const lookTime = 5 * time.Second

type statusCommand struct{}

// Run reads the live state once, through a connection of its own, and prints it.
func (*statusCommand) Run(ctx context.Context, a *app) error {
	c, err := a.config.CompleteWith(a.stateDir)
	if err != nil {
		return usage(err)
	}
	target, err := ami(c)
	if err != nil {
		return err
	}
	watcher := live.New(live.Config{AMI: target, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	s := watcher.Snapshot()
	if s.Link.State == live.Off {
		return usage(errors.New(s.Link.Message))
	}
	watching, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = watcher.Run(watching) }) // errors are in the snapshot
	defer running.Wait()
	defer stop()
	if s = look(ctx, watcher); s.Link.State != live.Connected {
		return fmt.Errorf("cannot read the live state of Asterisk: %s", s.Link.Message)
	}
	if a.json {
		return a.printJSON(httpapi.LiveJSON(s))
	}
	a.printLive(s)
	return nil
}

// look waits until Asterisk is connected, or refuses.
func look(ctx context.Context, w *live.Watcher) live.Snapshot {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	for after := uint64(0); ; {
		if s := w.Snapshot(); s.Link.State == live.Connected || s.Link.State == live.Refused {
			return s
		}
		update, err := w.Next(ctx, after)
		if err != nil {
			return w.Snapshot()
		}
		after = update.ID
	}
}

func (a *app) printLive(s live.Snapshot) {
	fmt.Fprintf(a.stdout, "Asterisk %s: phones registered: %d, calls: %d\n", s.Link.Version, len(s.Registrations), len(s.Calls))
	w := newTable(a.stdout)
	if len(s.Registrations) > 0 {
		fmt.Fprintln(w, "\nNUMBER\tSTATE\tADDRESS\tRESPONSE TIME\tEXPIRES\tPHONE")
	}
	for _, r := range s.Registrations {
		rtt, expires := "", ""
		if r.RTT > 0 {
			rtt = fmt.Sprintf("%.1f ms", float64(r.RTT.Microseconds())/1000)
		}
		if !r.Expires.IsZero() {
			expires = r.Expires.Format(time.TimeOnly)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", pbx.DeviceName(r.Number, r.Suffix), r.State, r.Address, rtt, expires, shorten(r.UserAgent, 40))
	}
	_ = w.Flush()
	if len(s.Calls) > 0 {
		fmt.Fprintln(w, "\nFROM\tTO\tSTATE\tSTARTED")
	}
	for _, c := range s.Calls {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", partyText(c.From), partyText(c.To), c.State, c.Since.Format(time.TimeOnly))
	}
	_ = w.Flush()
	if s.LeftOut != "" {
		fmt.Fprintln(a.stdout, "\n"+s.LeftOut+": too many to show")
	}
}

func partyText(p live.Party) string {
	if p.Name == "" {
		return p.Number
	}
	return p.Number + " " + shorten(p.Name, 40)
}
