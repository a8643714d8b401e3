package node_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/phone"
	"github.com/synergycall/pbxportal/internal/render"
)

// newSiteOf returns a portal that writes its files with these options, beside a real Asterisk.
func newSiteOf(t *testing.T, options render.Options) *site {
	t.Helper()
	s := newSite(t)
	s.engine = apply.New(apply.Config{Store: s.store, Target: s.node, Now: time.Now, Render: options})
	return s
}

// statusOf returns the SIP status with which a call ended, 0 for one that was answered.
func statusOf(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	status, ok := errors.AsType[*phone.StatusError](err)
	if !ok {
		t.Fatal(err)
	}
	return status.Code
}

// The phone of the caller shows a text for the status: busy, unavailable, or a number that does not exist.
func TestACallerReceivesTheResultOfTheCall(t *testing.T) {
	t.Parallel()
	s := newSiteOf(t, render.Options{RingTimeout: 1})
	older, err := txtar.ParseFile("../render/testdata/older/two_users.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range older.Files { // as the previous version wrote them
		if err := os.WriteFile(filepath.Join(s.asterisk.ConfigDir, f.Name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	caller, callee, off := s.create(t, "Caller"), s.create(t, "Callee"), s.create(t, "Switched off")
	s.mustApply(t)
	from, to := s.registered(t, caller), s.registered(t, callee)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, tc := range []struct {
		name    string
		number  pbx.Number
		answers int // the status with which the called phone refuses; 0: it rings and is not answered
		want    int
	}{
		{"busy", 1001, 486, 486},
		{"busy on all phones", 1001, 600, 486},
		{"declined", 1001, 603, 480},
		{"do not disturb", 1001, 480, 480},
		{"the phone speaks no common codec", 1001, 488, 480},
		{"the phone knows no such line", 1001, 404, 480},
		{"the phone forbids it", 1001, 403, 480},
		{"the phone has a fault", 1001, 500, 480},
		{"nobody answers", 1001, 0, 480},
	} {
		out, err := from.Dial(ctx, fmt.Sprint(tc.number))
		if err != nil {
			t.Fatal(err)
		}
		in, err := to.Incoming(ctx)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if tc.answers != 0 {
			if err := in.Reject(tc.answers); err != nil {
				t.Fatal(err)
			}
		}
		if got := statusOf(t, out.Answered(ctx)); got != tc.want {
			t.Errorf("%s: the caller gets status %d, want %d", tc.name, got, tc.want)
		}
	}
	for _, tc := range []struct {
		name, number string
		want         int
	}{
		{"a phone that is not registered", fmt.Sprint(off.Extension.Number), 480},
		{"a number that does not exist", "1500", 404},
		{"the beginning of a number", "100", 404},
		{"the first digit of a number", "1", 404},
		{"a number and one digit more", "10001", 404},
	} {
		_, err := from.Call(ctx, tc.number)
		if got := statusOf(t, err); got != tc.want {
			t.Errorf("%s: the caller gets status %d, want %d", tc.name, got, tc.want)
		}
	}
	if err := to.Close(); err != nil { // without unregistering, as when it is unplugged
		t.Fatal(err)
	}
	_, err = from.Call(ctx, "1001")
	if got := statusOf(t, err); got != 480 {
		t.Errorf("a phone that went away: the caller gets status %d, want 480", got)
	}
}

func TestACallWithAPhoneThatSendsNoSoundEndsAfterTheConfiguredTime(t *testing.T) {
	t.Parallel()
	s := newSiteOf(t, render.Options{RTPTimeout: 1})
	caller, callee := s.create(t, "Caller"), s.create(t, "Muted")
	s.mustApply(t)
	from := s.registered(t, caller)
	muted, err := phone.New(phone.Config{Server: s.asterisk.SIPAddr, Number: "1001", Secret: callee.Extension.Secret.Reveal(), Muted: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = muted.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := muted.Register(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	out, err := from.Dial(ctx, "1001")
	if err != nil {
		t.Fatal(err)
	}
	in, err := muted.Incoming(ctx)
	if err == nil {
		err = in.Accept(ctx)
	}
	if err == nil {
		err = out.Answered(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-out.Done():
	case <-ctx.Done():
		t.Error("the call goes on without sound")
	}
}

// Older phones answer only the first challenge, and support only MD5.
func TestThePhoneIsChallengedInTheConfiguredOrder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.create(t, "Anna")
	for algorithms, want := range map[string]string{"": "MD5 SHA-256", "SHA-256,MD5": "SHA-256 MD5", "MD5": "MD5", "SHA-256": "SHA-256"} {
		s.engine = apply.New(apply.Config{Store: s.store, Target: s.node, Now: time.Now, Render: render.Options{DigestRealm: "asterisk", DigestAlgorithms: algorithms}})
		s.mustApply(t)
		var got []string
		for _, found := range regexp.MustCompile(`(?m)^WWW-Authenticate:.*?algorithm=([A-Za-z0-9-]+)`).FindAllStringSubmatch(challengeOf(t, s.asterisk.SIPAddr), -1) {
			got = append(got, found[1])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("DIGEST_ALGORITHMS %q: challenged with %v, want %s", algorithms, got, want)
		}
	}
}

// challengeOf returns the answer to a REGISTER without credentials, as it is on the wire.
func challengeOf(t *testing.T, server string) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "udp4", server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	lines := []string{
		"REGISTER sip:" + server + " SIP/2.0", "Via: SIP/2.0/UDP " + conn.LocalAddr().String() + ";rport;branch=z9hG4bK" + t.Name(),
		"From: <sip:1000@" + server + ">;tag=1", "To: <sip:1000@" + server + ">", "Call-ID: " + conn.LocalAddr().String(), "CSeq: 1 REGISTER",
		"Contact: <sip:1000@" + conn.LocalAddr().String() + ">", "Max-Forwards: 70", "Content-Length: 0", "", "",
	}
	answer := make([]byte, 4096)
	err = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if err == nil {
		_, err = conn.Write([]byte(strings.Join(lines, "\r\n")))
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer[:n])
}

func TestTheCalledPhoneShowsTheNameAsItIsWritten(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	callee := s.create(t, "Callee")
	names := map[string]string{
		"Seán O’Neill": "Seán O’Neill", "Müller–Lüdenscheid": "Müller–Lüdenscheid", "Gal·la": "Gal·la", "20°": "20°", "Каб. № 5": "Каб. № 5",
		"\u200eפתח\u200f": "פתח", "Sea\u0301n  O'Neill": "Seán O'Neill", "R & D … ½ «Bar» €3": "R & D … ½ «Bar» €3",
		`Bob "Bobby" Smith; x`: "Bob Bobby Smith x", strings.Repeat("é", 40): strings.Repeat("é", 36),
	}
	callers := map[string]pbx.User{}
	for name := range names {
		callers[name] = s.create(t, name)
	}
	s.mustApply(t)
	to := s.registered(t, callee)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, want := range names {
		out, err := s.registered(t, callers[name]).Dial(ctx, "1000")
		if err != nil {
			t.Fatal(err)
		}
		in, err := to.Incoming(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := in.From().Name; got != want || got != pbx.CallerName(callers[name].Name) {
			t.Errorf("%+q calls as %q, want %q", name, got, want)
		}
		if err := in.Reject(486); err != nil {
			t.Fatal(err)
		}
		if got := statusOf(t, out.Answered(ctx)); got != 486 {
			t.Errorf("%q: status %d", name, got)
		}
	}
}
