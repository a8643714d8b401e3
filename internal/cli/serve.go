package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synergycall/pbxportal/internal/config"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/live"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/webui"
)

// drainTime is how long a stopping server waits for work in progress; it is longer than the longest apply.
const drainTime = 100 * time.Second

type serveCommand struct {
	InsecureNoAuth bool `name:"insecure-no-auth" help:"Disable authentication: any client that reaches the portal can do everything. Only for a closed test network, and on loopback."`
}

// Run serves until ctx ends, and then completes work in progress, above all an apply.
func (c *serveCommand) Run(ctx context.Context, a *app, p *portal) error {
	if p.insecure = c.InsecureNoAuth; p.insecure {
		p.log = p.log.With("insecure", "requests are not authenticated")
	}
	did, err := p.sealAll(ctx)
	if err != nil {
		return err
	}
	if did.Rows > 0 {
		p.log.Info("encrypted plaintext secrets", "rows", did.Rows, "key", p.keys.Current())
	}
	if left := leftOpen(did); left != "" {
		p.log.Warn("not everything is encrypted", "what", left)
	}
	if _, err := p.store.CoverUsers(ctx, nil); err != nil { // lists and applies are refused, the rest of the portal works
		p.log.Error("cannot add the hashes of users", "error", err)
	}
	ctx = pbx.WithActor(ctx, pbx.Actor{Kind: pbx.ActorPortal, Name: "portal"}) // the user who started it is irrelevant
	p.watch.Look(ctx, p.trail, p.reportTrail)
	if did, err := p.engine.Recover(ctx); err != nil { // before an apply can be requested
		p.logApply("cannot recover from an interrupted apply", err)
	} else {
		for _, what := range did {
			p.logApply(what, nil)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.config.ListenAddr)
	if err != nil {
		return cannotListen(p.config.ListenAddr, err)
	}
	if err := p.mayListen(listener.Addr()); err != nil {
		return errors.Join(err, listener.Close())
	}
	return p.serve(ctx, listener)
}

// cannotListen returns why it is impossible to listen at an address, and what to do.
func cannotListen(addr string, err error) error {
	err = fmt.Errorf("cannot listen on %s: %w", addr, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program uses the address: stop it, or set LISTEN_ADDR to another address", err)
	case errors.Is(err, fs.ErrPermission):
		return usage(fmt.Errorf("%w: a low port needs a capability (CAP_NET_BIND_SERVICE): grant it, or set LISTEN_ADDR to a port from 1024 on", err))
	}
	return usage(fmt.Errorf("%w: set LISTEN_ADDR to an address of this machine and a port from 0 to 65535, such as %s", err, config.DefaultListenAddr))
}

// mayListen returns an error for an address that other machines can reach, if the traffic would not be encrypted.
func (p *portal) mayListen(addr net.Addr) error {
	switch {
	case p.insecure && (!loopback(addr) || p.config.TrustedProxies != ""):
		return usage(errors.New("--insecure-no-auth disables authentication, and is refused if other machines can reach the portal: " +
			"leave it out, or set LISTEN_ADDR=127.0.0.1:8000 and no TRUSTED_PROXIES"))
	case loopback(addr), p.config.TLS(), p.config.TrustedProxies != "":
		return nil
	}
	return usage(fmt.Errorf(`LISTEN_ADDR %s can be reached from other machines, and passwords would cross the network in plaintext. Choose one:
  TLS         set TLS_CERT and TLS_KEY to the files of a certificate, or ACME_HOSTS to get one
  a proxy     that provides TLS: set TRUSTED_PROXIES to its address
  loopback    set LISTEN_ADDR=127.0.0.1:8000`, addr))
}

// tls returns the configuration for HTTPS, nil to serve HTTP.
func (p *portal) tls() (*tls.Config, error) {
	switch c := p.config; {
	case c.TLSCert != "":
		return httpapi.TLSFromFiles(c.TLSCert, c.TLSKey, p.log, time.Now)
	case c.ACMEHosts != "":
		return httpapi.TLSFromACME(httpapi.ACME{
			Hosts: c.ACME(), Email: c.ACMEEmail, Directory: c.ACMEDirectory, Folder: filepath.Join(c.StateDir, "acme"),
		})
	}
	return nil, nil //nolint:nilnil // HTTP
}

// oidc returns the OpenID provider for signing in.
func (p *portal) oidc() (httpapi.OIDC, error) {
	c := p.config
	secret, err := c.ClientSecret()
	if err != nil {
		return httpapi.OIDC{}, usage(err)
	}
	role := pbx.Role(c.OIDCDefaultRole)
	if roles := pbx.Roles()[1:]; role != "" && !slices.Contains(roles, role) { // owners are appointed by an owner
		return httpapi.OIDC{}, usage(fmt.Errorf("OIDC_DEFAULT_ROLE %q is none of %v: set one of them, or none", role, roles))
	}
	return httpapi.OIDC{Issuer: c.OIDCIssuer, ClientID: c.OIDCClientID, ClientSecret: pbx.SecretFrom(secret), DefaultRole: role, ACR: c.OIDCClasses()}, nil
}

// edge returns the rules for who may reach the portal, by its settings.
func (p *portal) edge() httpapi.Edge {
	proxies, _ := p.config.Proxies() // checked by Complete
	return httpapi.Edge{Hosts: p.config.Hosts(), Origin: p.config.PublicURL, Proxies: proxies}
}

// numbers returns the numbers of the users.
func (p *portal) numbers(ctx context.Context) ([]pbx.Number, error) {
	page, err := p.directory.List(ctx, pbx.DefaultTenant, directory.Query{})
	numbers := make([]pbx.Number, len(page.Users))
	for i, u := range page.Users {
		numbers[i] = u.Extension.Number
	}
	return numbers, err
}

// switched records that the phone of a user changed a switch with a feature code.
func (p *portal) switched(ctx context.Context, number pbx.Number, from, to pbx.Switches) {
	users, err := p.store.Users(ctx, pbx.DefaultTenant)
	if i := slices.IndexFunc(users, func(u pbx.User) bool { return u.Extension.Number == number }); i >= 0 {
		err = p.engine.Switched(ctx, users[i], from, to)
	}
	if err != nil {
		p.log.Warn("cannot record that a phone changed a switch", "extension", number, "error", err)
	}
}

// serve answers HTTP on the listener until ctx ends.
func (p *portal) serve(ctx context.Context, listener net.Listener) error {
	provider, err := p.oidc()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	target, err := ami(p.config)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	watcher := live.New(live.Config{AMI: target, Now: time.Now, Log: p.log, Numbers: p.numbers, Switched: p.switched})
	p.looks = p.newHealthLooks()
	pages, err := webui.New()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	handler, err := httpapi.New(httpapi.Config{
		Live: watcher, Directory: p.directory, Apply: p.engine, Audit: p.trail, Keys: p.requests, Routing: p.routing, Asterisk: p.node.Transports, Health: p.health, Ready: p.ready, Log: p.log, Now: time.Now, Version: version(), Edge: p.edge(),
		Web: pages, Auth: p.auth, Insecure: p.insecure, OIDC: provider,
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	freeMemory() // reading the contract leaves more garbage than serving ever needs
	server := handler.Server(listener.Addr().String())
	server.ErrorLog = slog.NewLogLogger(p.log.Handler(), slog.LevelWarn)
	url, serve := "http://"+listener.Addr().String(), server.Serve
	if server.TLSConfig, err = p.tls(); err != nil {
		return errors.Join(usage(err), listener.Close())
	} else if server.TLSConfig != nil {
		url, serve = "https://"+listener.Addr().String(), func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	if !p.insecure {
		if err := p.inviteFirst(ctx, url); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	p.log.Info("serving", "url", url, "docs", url+"/docs", "database", p.store.Describe(), "version", version(), "settings", p.config)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("cannot serve: %w", err)
		}
		return nil
	})
	g.Go(func() error { return p.engine.Run(ctx, p.logApply) })
	g.Go(func() error { p.watch.Run(ctx, p.trail, p.reportTrail); return nil })
	g.Go(func() error { p.auth.Run(ctx, p.logRefused); return nil })
	g.Go(func() error { return watcher.Run(ctx) })
	g.Go(func() error { return freeMemoryPeriodically(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		p.log.Info("stopping: completing work in progress")
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if err := handler.Shutdown(drain, server); err != nil {
			return fmt.Errorf("cannot complete work in progress: %w", err)
		}
		handler.Wait() // applies whose callers did not wait; each has a timeout of its own
		if err := p.auth.RecordRefused(drain); err != nil {
			p.logRefused(err)
		}
		p.watch.Look(drain, p.trail, p.reportTrail)
		return nil
	})
	return g.Wait()
}

// logApply logs what the engine does without a request.
func (p *portal) logApply(message string, err error) {
	if err != nil {
		p.log.Warn("watching Asterisk", "what", message, "err", err)
		return
	}
	p.log.Info("watching Asterisk", "what", message)
}

// logRefused logs that refused requests could not be recorded.
func (p *portal) logRefused(err error) {
	p.log.Warn("cannot record refused requests in the audit trail", "err", err)
}

// loopback reports whether the address is reachable only from this machine.
func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
