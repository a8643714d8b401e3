// Package phone is a small SIP softphone with sound. It registers with digest authentication, makes and takes calls, and plays and records G.711 audio
// in real time, so that the demo and the tests can connect two extensions of a real Asterisk.
//
// It uses UDP on the loopback interface only, and supports no DTMF, transfers or encryption: it is not a phone for people.
package phone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

const (
	defaultUserAgent = "pbxportal-phone"

	// allowed lists the methods a phone understands, as an Allow header says it.
	allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, NOTIFY"

	// waitingCalls is how many calls may ring before Incoming is called.
	waitingCalls = 16

	// closeGrace bounds how long Close waits for the far ends to respond.
	closeGrace = time.Second
)

// ErrClosed is returned by every method of a phone that has been closed.
var ErrClosed = errors.New("phone is closed")

// StatusError is a final SIP answer other than success.
type StatusError struct {
	// Code is the SIP status, such as 401, 404 or 486.
	Code int
	// Reason is the phrase that came with the status.
	Reason string
}

// Error returns the status as received.
func (e *StatusError) Error() string {
	return fmt.Sprintf("refused with SIP status %d %s", e.Code, e.Reason)
}

// Config is the extension and server of a phone.
type Config struct {
	// Server is the SIP address of the server, "127.0.0.1:5060".
	Server string
	// Number is the extension, which is also the name it authenticates with.
	Number string
	// Secret is the plaintext password of the extension.
	Secret string
	// Algorithm, "MD5" or "SHA-256", restricts the phone to that digest; empty means both.
	Algorithm string
	// Name is the display name sent with calls; it may be empty.
	Name string
	// Muted makes the phone send no sound at all, as some do while muted.
	Muted bool
	// UserAgent is the phone's User-Agent; empty means a neutral default.
	UserAgent string
	// Log receives the log; nil means no logging.
	Log *slog.Logger
}

// Phone is one registered or unregistered telephone with its own SIP socket.
type Phone struct {
	number string
	secret string
	// only is the one digest algorithm it supports; empty for all.
	only   string
	muted  bool
	name   string
	agent  string
	server netip.AddrPort
	local  netip.AddrPort
	log    *slog.Logger

	logGate  *logGate
	socket   *socket
	ua       *sipgo.UserAgent
	client   *sipgo.Client
	incoming chan *Call
	binding  binding

	quit chan struct{}  // closed by Close when no more answers are awaited
	work sync.WaitGroup // the socket reader, the request handlers and the calls being set up

	mu     sync.Mutex // guards closed and calls, and work.Add against work.Wait
	closed bool
	calls  map[dialogKey]*Call
}

// New opens a phone on a free UDP port of 127.0.0.1; it sends nothing yet.
func New(cfg Config) (*Phone, error) {
	server, err := netip.ParseAddrPort(cfg.Server)
	if err != nil {
		return nil, fmt.Errorf("cannot use server address: %w", err)
	}
	if !server.Addr().Is4() || !server.Addr().IsLoopback() || server.Port() == 0 {
		return nil, fmt.Errorf("cannot use server address %s: it is not an IPv4 loopback address with a port", server)
	}
	if !dialable(cfg.Number) {
		return nil, fmt.Errorf("cannot use number %q: only digits, letters and *#+._- are possible", cfg.Number)
	}
	if !printable(cfg.Name) || !printable(cfg.UserAgent) || !printable(cfg.Secret) {
		return nil, errors.New("cannot use a name, user agent or secret with control characters")
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = defaultUserAgent
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}

	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback(), 0)))
	if err != nil {
		return nil, fmt.Errorf("cannot open SIP socket: %w", err)
	}
	log, gate := cfg.Log.With("extension", cfg.Number).Handler(), &logGate{}
	p := &Phone{
		number:   cfg.Number,
		secret:   cfg.Secret,
		only:     cfg.Algorithm,
		muted:    cfg.Muted,
		name:     cfg.Name,
		agent:    cfg.UserAgent,
		server:   server,
		local:    boundTo(conn),
		log:      slog.New(logHandler{Handler: log, gate: gate}),
		logGate:  gate,
		socket:   &socket{UDPConn: conn, seen: map[string]bool{}},
		incoming: make(chan *Call, waitingCalls),
		binding:  newBinding(),
		quit:     make(chan struct{}),
		calls:    map[dialogKey]*Call{},
	}
	if err := p.serve(slog.New(logHandler{Handler: log, gate: gate, quiet: true})); err != nil {
		_ = conn.Close() // the first error is returned
		return nil, fmt.Errorf("cannot start SIP stack: %w", err)
	}
	return p, nil
}

// serve starts the SIP stack on the phone's socket.
func (p *Phone) serve(stackLog *slog.Logger) error {
	ua, err := sipgo.NewUA(
		sipgo.WithUserAgent(p.agent),
		sipgo.WithUserAgentHostname(p.local.Addr().String()),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerLogger(stackLog),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {}),
		),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(stackLog)),
	)
	if err != nil {
		return err
	}
	client, err := sipgo.NewClient(ua,
		sipgo.WithClientAddr(p.local.String()),
		sipgo.WithClientNAT(), // asks for rport
		sipgo.WithClientLogger(stackLog),
	)
	if err != nil {
		return err
	}
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(stackLog))
	if err != nil {
		return err
	}
	server.OnInvite(p.handle(p.onInvite))
	server.OnAck(p.handle(p.onAck))
	server.OnBye(p.handle(p.onBye))
	server.OnCancel(p.handle(p.onCancel))
	server.OnUpdate(p.handle(p.onUpdate))
	server.OnOptions(p.handle(p.onOptions))
	server.OnInfo(p.handle(p.onInfo))
	server.OnNotify(p.handle(p.onNotify))
	server.OnNoRoute(p.handle(p.onOther))

	p.ua, p.client = ua, client
	p.socket.enter(ua.TransportLayer().Pool("udp"))
	p.work.Go(func() {
		if err := server.ServeUDP(p.socket); err != nil {
			p.log.Warn("SIP socket failed", "err", err)
		}
	})
	return nil
}

// socket is the phone's SIP socket. It makes sure that the stack never opens
// another one, which it does for every message it finds no open socket for.
type socket struct {
	*net.UDPConn

	pool *sip.ConnectionPool
	own  *sip.UDPConnection
	seen map[string]bool // the senders so far; used by the reader only
}

// enter makes the socket known to the stack, which would do so itself only once
// its reader runs; a request could be sooner.
func (s *socket) enter(pool *sip.ConnectionPool) {
	local := s.LocalAddr().String()
	s.pool = pool
	s.own = &sip.UDPConnection{PacketConn: s.UDPConn, PacketAddr: local, Listener: true}
	pool.Add(local, s.own)
}

// ReadFrom returns the next message to the stack's reader. When the socket is closed the reader removes what it has entered into the pool; messages that
// are still being answered then find our entries, and fail.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := s.UDPConn.ReadFrom(b)
	if err == nil {
		s.seen[from.String()] = true
		return n, from, nil
	}
	s.pool.Add(s.own.PacketAddr, s.own)
	for addr := range s.seen {
		s.pool.Add(addr, s.own)
	}
	return n, from, err
}

// Close hangs up active calls, closes the socket and waits for everything the phone has started. It leaves the registration to expire.
func (p *Phone) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	calls := make([]*Call, 0, len(p.calls))
	for _, c := range p.calls {
		calls = append(calls, c)
	}
	p.mu.Unlock()

	//nolint:forbidigo // Close ends what no caller's context covers any more, and bounds it itself
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	var hangups sync.WaitGroup
	for _, c := range calls {
		hangups.Go(func() {
			if err := c.Hangup(ctx); err != nil {
				p.log.Debug("call did not end properly", "err", err)
			}
			c.finish(ErrClosed)
		})
	}
	hangups.Wait()

	close(p.quit)
	err := p.socket.Close()
	p.work.Wait()
	// Not the whole user agent: that would forget the closed socket, and pending answers would open another.
	p.ua.TransactionLayer().Close()
	p.logGate.close()
	return err
}

// Addr returns the address of the phone's own SIP socket.
func (p *Phone) Addr() netip.AddrPort { return p.local }

// Number returns the extension of the phone.
func (p *Phone) Number() string { return p.number }

// Incoming waits for the next call to this phone that still rings; the caller hears it ring from the moment it arrived.
func (p *Phone) Incoming(ctx context.Context) (*Call, error) {
	for {
		select {
		case c := <-p.incoming:
			select {
			case <-c.done:
				continue
			default:
				return c, nil
			}
		case <-p.quit:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("no call came in: %w", context.Cause(ctx))
		}
	}
}

// start counts one more goroutine that Close waits for, unless it is too late.
func (p *Phone) start() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.work.Add(1)
	return true
}

// handle returns a handler for the SIP stack, which runs it in a goroutine of its own and ends the transaction when it returns.
func (p *Phone) handle(f sipgo.RequestHandler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		if !p.start() {
			// A BYE that crosses ours while closing still deserves an answer.
			if req.Method == sip.BYE {
				p.respond(req, tx, sip.StatusOK)
			}
			return
		}
		defer p.work.Done()
		f(req, tx)
	}
}

func (p *Phone) onOptions(req *sip.Request, tx sip.ServerTransaction) {
	if tagOf(req.To()) != "" && p.callFor(req) == nil {
		p.respond(req, tx, sip.StatusCallTransactionDoesNotExists)
		return
	}
	p.respond(req, tx, sip.StatusOK, sip.NewHeader("Accept", sdpType))
}

func (p *Phone) onInfo(req *sip.Request, tx sip.ServerTransaction) {
	if p.callFor(req) == nil {
		p.respond(req, tx, sip.StatusCallTransactionDoesNotExists)
		return
	}
	p.respond(req, tx, sip.StatusOK)
}

// onNotify handles notifications without a subscription, such as the message waiting indication Asterisk sends after a registration.
func (p *Phone) onNotify(req *sip.Request, tx sip.ServerTransaction) {
	p.respond(req, tx, sip.StatusOK)
}

func (p *Phone) onOther(req *sip.Request, tx sip.ServerTransaction) {
	p.respond(req, tx, sip.StatusMethodNotAllowed)
}

// logHandler passes on log messages until the phone is closed. The stack has goroutines that cannot be waited for, and the log may be gone by then.
type logHandler struct {
	slog.Handler

	gate *logGate
	// quiet logs the messages of the stack, which logs a stray packet as an error, at a lower level.
	quiet bool
}

type logGate struct {
	mu     sync.RWMutex // held for reading while a message is passed on
	closed bool
}

func (g *logGate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

func (h logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	if h.quiet {
		level = slog.LevelDebug
	}
	return h.Handler.Enabled(ctx, level)
}

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	h.gate.mu.RLock()
	defer h.gate.mu.RUnlock()
	if h.gate.closed {
		return nil
	}
	if h.quiet {
		r.Level = slog.LevelDebug
	}
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

func (h logHandler) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}

func loopback() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

// dialable reports whether s can be the user part of a SIP address once # is
// escaped.
func dialable(s string) bool {
	if s == "" || len(s) > 79 {
		return false
	}
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
		case strings.ContainsRune("*#+._-", r):
		default:
			return false
		}
	}
	return true
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
