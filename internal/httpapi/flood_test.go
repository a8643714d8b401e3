//go:build !race

// It measures how long the innocent wait, of which the race detector makes many times as much.

package httpapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/proc"
)

// Many clients that send or read as slowly as possible delay neither other clients nor the shutdown: from 64 networks of IPv6 and
// behind a proxy that names 64 addresses, by HTTP/1.1 and HTTP/2, with the head of a request, its body, or the answer.
func TestSlowClientsFromManyNetworksBlockNoOtherClientAtLength(t *testing.T) {
	t.Parallel()
	networks := labtest.Soak(64, 512)
	for name, from := range map[string]func(*testing.T) street{"64-bit networks": namespace, "behind a proxy": loopback} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			way := from(t)
			p, addr, stop := flooded(t, way)
			var strangers []*sluggard
			for i := range networks {
				for _, manner := range []string{"head", "body", "answer"} {
					for _, version := range []string{"http/1.1", "h2"} {
						strangers = append(strangers, &sluggard{t: t, way: way, network: i, manner: manner, version: version, addr: addr})
					}
				}
			}
			defer func() {
				for _, s := range strangers {
					s.close()
				}
			}()
			over := time.Now().Add(labtest.Soak(1500*time.Millisecond, 30*time.Second))
			var coming sync.WaitGroup
			queue := make(chan *sluggard)
			for range 4 {
				coming.Go(func() {
					for s := range queue {
						s.come()
					}
				})
			}
			coming.Go(func() {
				for _, s := range strangers {
					queue <- s
				}
				close(queue)
			})
			worst, rounds := map[string]time.Duration{}, 0
			done := make(chan struct{})
			go func() { coming.Wait(); close(done) }()
			for arrived := false; !t.Failed() && (!arrived || time.Now().Before(over)); rounds++ {
				for _, c := range []struct{ who, path, token string }{
					{"anyone", "/setup", ""},
					{"health", "/health", ""},
					{"who is signed in", "/users", p.token},
					{"who is signed in and brings a body", "POST /users", p.token},
					{"who signs in", "POST /session", ""},
				} {
					least := time.Hour
					for try := 0; try < 3 && least > time.Second; try++ { // others work on this machine too; a portal that is jammed is so each time
						began := time.Now()
						if status, err := way.ask(addr, innocent+rounds, c.path, c.token); err != nil || !slices.Contains([]int{200, 201, 400, 409}, status) {
							t.Errorf("round %d: %s is answered with %d, %v", rounds, c.who, status, err)
						}
						least = min(least, time.Since(began))
					}
					worst[c.who] = max(worst[c.who], least)
				}
				select {
				case <-done:
					arrived = true
				default:
				}
			}
			<-done
			for who, took := range worst {
				if took > time.Second {
					t.Errorf("%s waited for %s", who, took)
				}
			}
			var hanging int
			for _, s := range strangers {
				if s.conn != nil {
					hanging++
				}
			}
			t.Logf("%d strangers, %d rounds: longest %v", hanging, rounds, worst)
			if hanging < len(strangers)*9/10 {
				t.Errorf("only %d of %d strangers came", hanging, len(strangers))
			}
			began := time.Now()
			if err := stop(); err != nil || time.Since(began) > 5*time.Second {
				t.Errorf("the portal stopped after %s: %v", time.Since(began), err)
			}
		})
	}
}

// flooded serves a portal with few slots, and returns its address and a function that stops it.
func flooded(t *testing.T, way street) (p *portal, addr string, stop func() error) {
	t.Helper()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certify(t, "localhost", cert, key)
	c, err := httpapi.TLSFromFiles(cert, key, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	p = newUnserved(t, func(c *httpapi.Config) {
		c.Edge.Limits.InFlight = 64
		c.Edge.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		c.Log = slog.New(slog.DiscardHandler)
	})
	listener, err := way.listen()
	if err != nil {
		t.Fatal(err)
	}
	server := p.handler.Server("")
	server.TLSConfig, server.ErrorLog = c, slog.NewLogLogger(slog.DiscardHandler, 0)
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	return p, listener.Addr().String(), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := p.handler.Shutdown(ctx, server); err != nil {
			return err
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}

// street is a way to the portal, from many networks.
type street struct {
	listen func() (net.Listener, error)
	dial   func(addr string, network int) (net.Conn, error)
	header func(network int) (name, value string) // that a proxy adds
}

// innocent is the first network of those who only want an answer. Each round comes from another, since attempts to sign in are limited by network.
const innocent = 5000

// loopback is the way through a proxy that is trusted.
func loopback(*testing.T) street {
	return street{
		listen: func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
		dial:   func(addr string, _ int) (net.Conn, error) { return net.DialTimeout("tcp", addr, 10*time.Second) },
		header: func(network int) (string, string) {
			return "x-forwarded-for", fmt.Sprintf("198.18.%d.%d", network/250, 1+network%250)
		},
	}
}

// namespace is a way inside a network namespace of the test's own, in which every address of IPv6's documentation prefix is there. Sockets
// belong to the namespace of the thread that makes them, so one thread makes them all.
func namespace(t *testing.T) street {
	t.Helper()
	jobs := make(chan func())
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never back: the thread ends with this goroutine, and the namespace with its sockets
		err := unix.Unshare(unix.CLONE_NEWNET)
		for _, args := range [][]string{{"link", "set", "lo", "up"}, {"-6", "route", "add", "local", "2001:db8::/32", "dev", "lo"}} {
			if err != nil {
				break
			}
			var result proc.Result
			if result, err = proc.Run(t.Context(), proc.Command{Argv: append([]string{"ip"}, args...)}); err == nil && result.ExitCode != 0 {
				err = fmt.Errorf("ip %v: %s", args, result.Stderr)
			}
		}
		ready <- err
		for job := range jobs {
			job()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("cannot make a network namespace: %v: this test needs root, or the capability CAP_NET_ADMIN in a user namespace, and iproute2", err)
	}
	t.Cleanup(func() { close(jobs) })
	inside := func(work func()) {
		done := make(chan struct{})
		jobs <- func() { work(); close(done) }
		<-done
	}
	return street{
		listen: func() (l net.Listener, err error) {
			inside(func() {
				l, err = (&net.ListenConfig{Control: anyAddress}).Listen(t.Context(), "tcp6", "[2001:db8::1]:0")
			})
			return l, err
		},
		dial: func(addr string, network int) (c net.Conn, err error) {
			from := net.TCPAddr{IP: net.ParseIP(fmt.Sprintf("2001:db8:1:%x::7", network))}
			inside(func() {
				c, err = (&net.Dialer{LocalAddr: &from, Timeout: 10 * time.Second, Control: anyAddress}).Dial("tcp6", addr)
			})
			return c, err
		},
		header: func(int) (string, string) { return "", "" },
	}
}

// anyAddress lets a socket have an address that no interface has.
func anyAddress(_, _ string, c syscall.RawConn) (err error) {
	return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1) }), err)
}

// secure dials by TLS.
func (way street) secure(addr string, network int, version string) (*tls.Conn, error) {
	conn, err := way.dial(addr, network)
	if err != nil {
		return nil, err
	}
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{version}})
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := c.Handshake(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return c, nil
}

// ask asks once, by a connection of its own. The body, if there is one, is that of a new user: for a sign-in it lacks a password.
func (way street) ask(addr string, network int, path, token string) (status int, err error) {
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if m, p, ok := strings.Cut(path, " "); ok {
		method, path, body = m, p, strings.NewReader(`{"name":"Anna","email":"anna@example.com"}`)
	}
	r, err := http.NewRequest(method, "https://localhost"+path, body)
	if err != nil {
		return 0, err
	}
	if r.Header.Set("Content-Type", "application/json"); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if name, value := way.header(network); name != "" {
		r.Header.Set(name, value)
	}
	transport := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		return way.secure(addr, network, "http/1.1")
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}

// sluggard does one thing as slowly as it can.
type sluggard struct {
	t               *testing.T
	way             street
	network         int
	manner, version string
	addr            string
	conn            *tls.Conn
}

func (s *sluggard) close() {
	if s.conn != nil {
		_ = s.conn.NetConn().Close()
	}
}

// come begins, and leaves the rest to the portal.
func (s *sluggard) come() {
	var err error
	if s.conn, err = s.way.secure(s.addr, s.network, s.version); err != nil {
		s.conn = nil // there were too many, which is what is looked at
		return
	}
	_ = s.conn.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10) // so that little is read for it
	if s.version == "h2" {
		_, err = s.conn.Write(s.frames())
	} else {
		_, err = io.WriteString(s.conn, s.text())
	}
	if err != nil && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) && !errors.Is(err, os.ErrClosed) {
		s.t.Logf("%s %s: %v", s.version, s.manner, err)
	}
}

// large is a path whose answer fills what two ends keep for a connection.
const large = "/docs/swagger-ui-bundle.js"

// text is what it sends by HTTP/1.1.
func (s *sluggard) text() string {
	head := "POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
	if name, value := s.way.header(s.network); name != "" {
		head += name + ": " + value + "\r\n"
	}
	switch s.manner {
	case "body":
		return head + "\r\n{"
	case "answer":
		return strings.Repeat(strings.Replace(strings.Replace(head, "POST /session", "GET "+large, 1), "Content-Length: 1000\r\n", "", 1)+"\r\n", 8)
	}
	return head
}

// frames is what it sends by HTTP/2: as many requests as a connection may have at once, a quarter of them.
func (s *sluggard) frames() []byte {
	var out, fields bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f, enc := http2.NewFramer(&out, nil), hpack.NewEncoder(&fields)
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	streams := uint32(25)
	if s.manner == "head" {
		streams = 1
	}
	for i := range streams {
		fields.Reset()
		list := []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "localhost"}, {Name: ":path", Value: "/session"}, {Name: "content-type", Value: "application/json"}}
		if s.manner == "answer" {
			list[0].Value, list[3].Value = "GET", large
		}
		if name, value := s.way.header(s.network); name != "" {
			list = append(list, hpack.HeaderField{Name: name, Value: value})
		}
		for _, field := range list {
			_ = enc.WriteField(field)
		}
		id := 1 + 2*i
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: fields.Bytes(), EndHeaders: s.manner != "head", EndStream: s.manner == "answer"})
		if s.manner == "body" {
			_ = f.WriteData(id, false, []byte("{"))
		}
	}
	return out.Bytes()
}
