package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// drainTime is how long a stopping server waits for what runs; it is longer than the longest apply.
const drainTime = 100 * time.Second

type serveCommand struct{}

// Run serves until ctx ends, and then finishes what runs, an apply above all.
func (*serveCommand) Run(ctx context.Context, a *app, p *portal) error {
	if did, err := p.engine.Recover(ctx); err != nil { // before anybody can ask for an apply
		p.logApply("cannot settle what an earlier apply left", err)
	} else {
		for _, what := range did {
			p.logApply(what, nil)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.config.ListenAddr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w: is another program there? LISTEN_ADDR chooses another address", p.config.ListenAddr, err)
	}
	return p.serve(ctx, listener)
}

// heapGrowth lets the heap grow to three times what is alive before the garbage is collected: a list of a thousand users is a burst of
// short-lived bytes, and the live heap is a few megabytes. The variable GOGC wins over it.
const heapGrowth = 200

// serve answers HTTP on the listener until ctx ends.
func (p *portal) serve(ctx context.Context, listener net.Listener) error {
	if v, _ := p.getenv("GOGC"); v == "" {
		debug.SetGCPercent(heapGrowth)
	}
	handler, err := httpapi.New(httpapi.Config{
		Directory: p.directory, Apply: p.engine, Health: p.health, Log: p.log, Now: time.Now, Version: version(),
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := httpapi.Server(listener.Addr().String(), handler)
	server.ErrorLog = slog.NewLogLogger(p.log.Handler(), slog.LevelWarn)
	p.log.Info("serving", "url", "http://"+listener.Addr().String(), "docs", "http://"+listener.Addr().String()+"/docs",
		"database", p.store.Describe(), "version", version(), "settings", p.config)
	if !loopback(listener.Addr()) {
		p.log.Warn("listening beyond this machine, and there is no sign-in: whoever reaches this address manages the users; " +
			"set LISTEN_ADDR=127.0.0.1:8000 unless a proxy in front asks for a password")
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("cannot serve: %w", err)
		}
		return nil
	})
	g.Go(func() error { return p.engine.Run(ctx, p.logApply) })
	g.Go(func() error {
		<-ctx.Done()
		p.log.Info("stopping: finishing what runs")
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if err := server.Shutdown(drain); err != nil {
			return fmt.Errorf("cannot finish what runs: %w", err)
		}
		handler.Wait() // applies whose callers did not wait; each has a bound of its own
		return nil
	})
	return g.Wait()
}

// logApply logs what the engine does by itself.
func (p *portal) logApply(message string, err error) {
	if err != nil {
		p.log.Warn("watching Asterisk", "what", message, "err", err)
		return
	}
	p.log.Info("watching Asterisk", "what", message)
}

// health asks the database and Asterisk for a sign of life, both at once.
func (p *portal) health(ctx context.Context) (h pbx.Health) {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { h.Database = p.store.Ping(ctx); return nil })
	g.Go(func() error { h.Version, h.Asterisk = p.node.State(ctx); return nil })
	_ = g.Wait() // neither returns an error: what they found is in h
	return h
}

// loopback reports whether only this machine can reach the address.
func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
