package phone_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/phone"
)

// farEnd is a SIP server made of a socket and the test that holds it, for what
// a well-behaved Asterisk never does.
type farEnd struct {
	t    *testing.T
	conn *net.UDPConn
	peer net.Addr // who spoke last
}

func newFarEnd(t *testing.T) *farEnd {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &farEnd{t: t, conn: conn}
}

// phone is the phone 1000 whose server is the far end.
func (f *farEnd) phone() *phone.Phone {
	f.t.Helper()
	p, err := phone.New(phone.Config{Server: f.conn.LocalAddr().String(), Number: "1000", Secret: "s", Log: logTo(f.t)})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = p.Close() })
	f.peer = net.UDPAddrFromAddrPort(p.Addr())
	return p
}

// send writes a message; its lines may end as Go writes them.
func (f *farEnd) send(message string) {
	f.t.Helper()
	if _, err := f.conn.WriteTo([]byte(strings.ReplaceAll(message, "\n", "\r\n")), f.peer); err != nil {
		f.t.Fatal(err)
	}
}

// receive returns the next message that begins with one of the prefixes and
// drops what comes before.
func (f *farEnd) receive(prefixes ...string) string {
	f.t.Helper()
	if err := f.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		f.t.Fatal(err)
	}
	buf := make([]byte, 65536)
	for {
		n, _, err := f.conn.ReadFrom(buf)
		if err != nil {
			f.t.Fatalf("waited in vain for %q: %v", prefixes, err)
		}
		for _, prefix := range prefixes {
			if strings.HasPrefix(string(buf[:n]), prefix) {
				return string(buf[:n])
			}
		}
	}
}

// field is the value of a header of a message.
func field(t *testing.T, message, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?im)^` + name + `: *(.*?)\r?$`).FindStringSubmatch(message)
	if m == nil {
		t.Fatalf("no %s in\n%s", name, message)
	}
	return m[1]
}

// reply answers a request; more are further header lines and the body.
func (f *farEnd) reply(request, status, tag, more string) {
	f.t.Helper()
	to := field(f.t, request, "To")
	if tag != "" && !strings.Contains(to, "tag=") {
		to += ";tag=" + tag
	}
	if more == "" {
		more = "Content-Length: 0\n\n"
	}
	f.send(fmt.Sprintf("SIP/2.0 %s\nVia: %s\nFrom: %s\nTo: %s\nCall-ID: %s\nCSeq: %s\n%s", status,
		field(f.t, request, "Via"), field(f.t, request, "From"), to, field(f.t, request, "Call-ID"), field(f.t, request, "CSeq"), more))
}

// described is the end of a message with a session description in it.
func (f *farEnd) described(port int) string {
	body := fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 8 101\r\n", port)
	return fmt.Sprintf("Contact: <sip:x@%s>\nContent-Type: application/sdp\nContent-Length: %d\n\n%s", f.conn.LocalAddr(), len(body), strings.ReplaceAll(body, "\r\n", "\n"))
}

// request builds a request to the phone.
func (f *farEnd) request(method string, seq int, to, more string) string {
	if more == "" {
		more = "Content-Length: 0\n\n"
	}
	return fmt.Sprintf("%s sip:1000@%s SIP/2.0\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bK-%s-%d\nMax-Forwards: 70\nFrom: <sip:1001@127.0.0.1>;tag=theirs\nTo: %s\nCall-ID: odd@127.0.0.1\nCSeq: %d %s\n%s",
		method, f.peer, f.conn.LocalAddr(), method, seq, to, seq, method, more)
}

const nobody = "<sip:1000@127.0.0.1>"

func TestOddMessagesDoNoHarm(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	f.phone()
	for _, message := range []string{
		"", "\n\n", "\x00\x01\x02", "INVITE", "SIP/2.0 200 OK\n\n", "SIP/2.0 999999999999 OK\n\n",
		"INVITE sip:1000@127.0.0.1 SIP/2.0\n\n",
		"INVITE sip:1000@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\nCSeq: 1 INVITE\n\n",
		f.request("INVITE", 1, nobody, ""),                    // no Contact
		f.request("INVITE", 2, nobody, "Contact: *\n\n"),      // a Contact that leads nowhere
		f.request("INVITE", 3, nobody, "Require: 100rel\n\n"), // an extension we lack
		f.request("INVITE", 4, nobody, "Contact: <sip:x@1.2.3.4>\nContent-Type: text/plain\nContent-Length: 2\n\nhi"),
		f.request("INVITE", 5, nobody, "Contact: <sip:x@1.2.3.4>\nContent-Type: application/sdp\nContent-Length: 2\n\nhi"),
		f.request("INVITE", 6, nobody+";tag=none", f.described(4000)), // in a call that does not exist
		f.request("ACK", 7, nobody, ""), f.request("ACK", 8, nobody+";tag=none", ""),
		f.request("BYE", 9, nobody, ""), f.request("BYE", 10, nobody+";tag=none", ""),
		f.request("CANCEL", 11, nobody, ""), f.request("UPDATE", 12, nobody, ""), f.request("INFO", 13, nobody, ""),
		f.request("REFER", 14, nobody, ""), f.request("NOTIFY", 15, nobody, ""), f.request("FOO", 16, nobody, ""),
		f.request("OPTIONS", 17, nobody+";tag=none", ""),
		strings.Replace(f.request("OPTIONS", 18, nobody, ""), "From: <sip:1001@127.0.0.1>;tag=theirs\n", "", 1),
		strings.Replace(f.request("INVITE", 19, nobody, f.described(4000)), "To: "+nobody+"\n", "", 1),
		strings.Replace(f.request("INVITE", 20, nobody, f.described(4000)), "Call-ID: odd@127.0.0.1\n", "", 1),
		strings.Replace(f.request("BYE", 21, nobody, ""), "CSeq: 21 BYE\n", "", 1),
		strings.Replace(f.request("BYE", 22, nobody, ""), "CSeq: 22 BYE", "CSeq: x BYE", 1),
	} {
		f.send(message)
	}
	f.send(f.request("OPTIONS", 99, nobody, ""))
	for {
		res := f.receive("SIP/2.0 ")
		if !strings.Contains(res, "CSeq: ") {
			continue // what had none
		}
		if field(t, res, "CSeq") != "99 OPTIONS" {
			if strings.HasPrefix(res, "SIP/2.0 2") && !strings.HasSuffix(field(t, res, "CSeq"), "NOTIFY") && !strings.HasSuffix(field(t, res, "CSeq"), "18 OPTIONS") {
				t.Errorf("an odd message was taken:\n%s", res)
			}
			continue
		}
		if !strings.HasPrefix(res, "SIP/2.0 200 ") || !strings.Contains(field(t, res, "Allow"), "INVITE") {
			t.Errorf("OPTIONS was answered with\n%s", res)
		}
		return
	}
}

func TestSessionIsRefreshedAndChanged(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	p := f.phone()
	f.send(f.request("INVITE", 1, nobody, "Supported: timer\nSession-Expires: 1800\n"+f.described(40000)))
	in, err := p.Incoming(within(t))
	if err != nil {
		t.Fatal(err)
	}
	f.receive("SIP/2.0 180 ")
	accepted := make(chan error, 1)
	go func() { accepted <- in.Accept(within(t)) }()
	ok := f.receive("SIP/2.0 200 ")
	if got := field(t, ok, "Session-Expires"); got != "1800;refresher=uac" {
		t.Errorf("session timer %q", got)
	}
	if got := field(t, ok, "Require"); got != "timer" {
		t.Errorf("Require: %q", got)
	}
	if !strings.Contains(ok, "RTP/AVP 8\r\n") {
		t.Errorf("the answer is not A-law alone:\n%s", ok)
	}
	// The answer is repeated until it is acknowledged.
	if again := f.receive("SIP/2.0 200 "); again != ok {
		t.Errorf("repeated answer differs:\n%s", again)
	}
	to := field(t, ok, "To")
	f.send(f.request("ACK", 1, to, ""))
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}

	f.send(f.request("UPDATE", 2, to, "Supported: timer\nSession-Expires: 90;refresher=uac\n\n"))
	if got := field(t, f.receive("SIP/2.0 200 "), "Session-Expires"); got != "90;refresher=uac" {
		t.Errorf("refreshed session timer %q", got)
	}

	// A re-INVITE without an offer gets ours, and the ACK carries the answer.
	f.send(f.request("INVITE", 3, to, "Contact: <sip:x@"+f.conn.LocalAddr().String()+">\nContent-Length: 0\n\n"))
	if ok = f.receive("SIP/2.0 200 "); !strings.Contains(ok, "RTP/AVP 0 8\r\n") {
		t.Errorf("expected an offer:\n%s", ok)
	}
	rtp := newFarEnd(t)
	f.send(f.request("ACK", 3, to, f.described(rtp.conn.LocalAddr().(*net.UDPAddr).Port)))
	rtp.receive("\x80")

	// An old number is refused, and what cannot be heard changes nothing.
	f.send(f.request("UPDATE", 1, to, ""))
	f.receive("SIP/2.0 500 ")
	f.send(f.request("INVITE", 4, to, strings.Replace(f.described(4000), "RTP/AVP 8", "RTP/SAVP ", 1)))
	refused := f.receive("SIP/2.0 488 ")
	f.send(f.request("ACK", 4, field(t, refused, "To"), ""))
	rtp.receive("\x80")

	f.send(f.request("BYE", 5, to, ""))
	f.receive("SIP/2.0 200 ")
	await(t, "the end", in.Done())
}

func TestRepeatedAnswerIsAcknowledgedAgainAtTheContact(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	p := f.phone()
	out, err := p.Dial(within(t), "1001")
	if err != nil {
		t.Fatal(err)
	}
	invite := f.receive("INVITE ")
	// The answer names another address, where everything else has to go.
	elsewhere := newFarEnd(t)
	answer := elsewhere.described(40000)
	f.reply(invite, "180 Ringing", "theirs", "")
	await(t, "ringing", out.Ringing())
	f.reply(invite, "200 OK", "theirs", answer)
	first := elsewhere.receive("ACK ")
	f.reply(invite, "200 OK", "theirs", answer)
	if second := elsewhere.receive("ACK "); second != first {
		t.Errorf("the second ACK differs:\n%s\n%s", first, second)
	}
	if err := out.Answered(within(t)); err != nil {
		t.Fatal(err)
	}
	hungup := make(chan error, 1)
	go func() { hungup <- out.Hangup(within(t)) }()
	bye := elsewhere.receive("BYE ")
	elsewhere.peer = f.peer
	elsewhere.reply(bye, "481 Gone", "", "")
	if err := <-hungup; err != nil {
		t.Error(err)
	}
	await(t, "the end", out.Done())
}

func TestASilentServerBlocksNoCaller(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	p := f.phone()
	for name, do := range map[string]func(context.Context) error{
		"register": func(ctx context.Context) error { return p.Register(ctx, time.Minute) },
		"call":     func(ctx context.Context) error { _, err := p.Call(ctx, "1001"); return err },
		"incoming": func(ctx context.Context) error { _, err := p.Incoming(ctx); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		begin := time.Now()
		if err := do(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, expected %v", name, err, context.DeadlineExceeded)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("%s took %s", name, took)
		}
		cancel()
	}
	begin := time.Now()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("Close took %s", took)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]phone.Config{
		"no server":         {Number: "1000"},
		"a name":            {Server: "localhost:5060", Number: "1000"},
		"no port":           {Server: "127.0.0.1:0", Number: "1000"},
		"another machine":   {Server: "192.0.2.1:5060", Number: "1000"},
		"no number":         {Server: "127.0.0.1:5060"},
		"a number with @":   {Server: "127.0.0.1:5060", Number: "a@b"},
		"a name with lines": {Server: "127.0.0.1:5060", Number: "1000", Name: "a\r\nX: y"},
	} {
		if p, err := phone.New(cfg); err == nil {
			t.Errorf("%s was taken", name)
			_ = p.Close()
		}
	}
}
