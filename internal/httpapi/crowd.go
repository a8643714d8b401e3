package httpapi

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// crowd bounds how many connections, or requests, wait for their clients at the same time. Slow and malicious clients look alike, so
// newcomers are always admitted: when the crowd is full, the network with the most members loses its oldest one. A few networks that take
// everything lose to all others; among many networks the longest waiting lose.
type crowd struct {
	most int

	mu      sync.Mutex // guards the fields below
	members map[netip.Addr][]*member
	total   int
	closed  bool
}

// member is a connection or a request that waits for its client.
type member struct {
	from netip.Addr
	end  func()      // ends the wait; does not block
	conn *connection // a connection, which does not wait for its client while it has work in progress; nil for a request
}

// busy reports whether the connection has work in progress, or an admitted caller follows a stream.
func (m *member) busy() bool {
	return m.conn != nil && m.conn.working.Load()+m.conn.streaming.Load() > 0
}

// quiet reports whether a stopping portal, without work in progress for this client, has waited for it long enough.
func (m *member) quiet(begun, worked, now time.Time) bool {
	if m.conn.working.Load() > 0 {
		return false
	}
	last := max(begun.UnixNano(), m.conn.idle.Load())
	if m.conn.streaming.Load() > 0 {
		last = max(last, worked.UnixNano())
	}
	return now.UnixNano()-last >= farewell.Nanoseconds()
}

func newCrowd(most int) *crowd {
	return &crowd{most: most, members: map[netip.Addr][]*member{}}
}

// enter adds a member. The caller calls leave when the wait is over; end is never called after that. If no room can be made, and after close, the
// new member itself is ended at once.
func (c *crowd) enter(from netip.Addr, end func(), conn *connection) (leave func()) {
	m := &member{network(from), end, conn}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.total >= c.most && !c.evict() {
		end()
		return func() {}
	}
	c.members[m.from] = append(c.members[m.from], m)
	c.total++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.remove(m)
	}
}

// evict ends the oldest member of the network with the most members, not counting busy ones. It returns false if all are busy.
func (c *crowd) evict() bool {
	var victim *member
	most := 0
	for _, members := range c.members {
		var oldest *member
		n := 0
		for _, m := range members {
			if m.busy() {
				continue
			}
			if n++; oldest == nil {
				oldest = m
			}
		}
		if n > most {
			most, victim = n, oldest
		}
	}
	if victim == nil {
		return false
	}
	c.remove(victim)
	victim.end()
	return true
}

// remove removes a member, once.
func (c *crowd) remove(m *member) {
	i := slices.Index(c.members[m.from], m)
	if i < 0 {
		return
	}
	c.total--
	if c.members[m.from] = slices.Delete(c.members[m.from], i, i+1); len(c.members[m.from]) == 0 {
		delete(c.members, m.from)
	}
}

// endAll ends the members that satisfy the condition; nil: all.
func (c *crowd) endAll(condition func(*member) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, members := range c.members {
		for _, m := range slices.Clone(members) {
			if condition == nil || condition(m) {
				c.remove(m)
				m.end()
			}
		}
	}
}

// close ends all members, present and future.
func (c *crowd) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.endAll(nil)
}

// connection is the state of an open connection.
type connection struct {
	working   atomic.Int32 // requests in progress
	streaming atomic.Int32 // responses that are streams
	idle      atomic.Int64 // end of the last work, as UnixNano
	leave     func()
}

type connectionKey struct{}

// connectionOf returns the connection of a request, a new one if there is none, as in some tests.
func connectionOf(ctx context.Context) *connection {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c
	}
	return &connection{}
}

// HTTP/2 limits: the resources that a single connection can claim.
const (
	mostStreams   = 100      // concurrently; RFC 9113 recommends no less
	receiveWindow = 64 << 10 // bytes of bodies sent and not read yet
)

// Server returns a server for the API with time-outs and limits against slow or greedy clients. An apply may take a minute and a half, so the
// response may begin after two minutes; from then on the client has writePatience for each part of it.
func (a *API) Server(addr string) *http.Server {
	var open sync.Map // net.Conn → *connection
	return &http.Server{
		Addr:              addr,
		Handler:           a,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: mostStreams, MaxReceiveBufferPerConnection: receiveWindow, MaxReceiveBufferPerStream: receiveWindow,
			SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second, WriteByteTimeout: writePatience,
		},
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			c := &connection{}
			c.idle.Store(a.api.now().UnixNano())
			from, _ := address(conn.RemoteAddr().String())
			open.Store(conn, c)
			c.leave = a.api.edge.connections.enter(from, func() { hangUp(conn) }, c)
			return context.WithValue(ctx, connectionKey{}, c)
		},
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state != http.StateClosed && state != http.StateHijacked {
				return
			}
			if c, ok := open.LoadAndDelete(conn); ok {
				c.(*connection).leave() //nolint:errcheck,forcetypeassert // no other type is stored
			}
		},
	}
}

// hangUp resets a connection; an orderly close would wait for a client that reads nothing.
func hangUp(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close()
}
