package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	control "github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/live"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/phone"
	"github.com/synergycall/pbxportal/internal/render"
)

// livePortal is a portal that follows a real Asterisk with two extensions.
type livePortal struct {
	*portal
	pbx   *lab.Asterisk
	users []pbx.User
	stop  func() // ends the watcher, as a portal that stops does
}

func newLivePortal(t *testing.T) *livePortal {
	t.Helper()
	l := &livePortal{pbx: labtest.Asterisk(t)}
	for i, name := range []string{"Anna", "Ben"} {
		l.users = append(l.users, pbx.User{Name: name, Extension: pbx.Extension{Number: pbx.FirstNumber + pbx.Number(i), Secret: pbx.NewSecret()}})
	}
	files, _, err := render.Config(l.users)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(l.pbx.ConfigDir, f.Path), f.Content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, one := l.pbx.Control().ReloadPJSIP(t.Context())
	_, two := l.pbx.Control().ReloadDialplan(t.Context())
	if one != control.Reloaded || two != control.Reloaded {
		t.Fatal(one, two)
	}
	w := live.New(live.Config{AMI: l.pbx.AMI, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	l.stop = func() { cancel(); running.Wait() }
	t.Cleanup(l.stop)
	l.portal = newPortal(t, func(c *httpapi.Config) { c.Live = w })
	return l
}

// phone returns a registered phone of an extension.
func (l *livePortal) phone(i int) *phone.Phone {
	l.t.Helper()
	u := l.users[i]
	p, err := phone.New(phone.Config{Server: l.pbx.SIPAddr, Number: fmt.Sprint(u.Extension.Number), Secret: u.Extension.Secret.Reveal(), UserAgent: "<b>Desk</b>"})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = p.Close() })
	if err := p.Register(l.t.Context(), time.Minute); err != nil {
		l.t.Fatal(err)
	}
	return p
}

// listen opens the stream of live events.
func (p *portal) listen(ctx context.Context, header ...string) *events {
	p.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/live/events", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		p.t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	p.t.Cleanup(func() { _ = resp.Body.Close() })
	return &events{p.t, bufio.NewScanner(resp.Body), resp}
}

// find returns the first line that matches, and the id of its event.
func (e *events) find(pattern string) (line string, id string) {
	e.t.Helper()
	for e.Scan() {
		if text, ok := strings.CutPrefix(e.Text(), "id: "); ok {
			id = text
		}
		if regexp.MustCompile(pattern).MatchString(e.Text()) {
			return e.Text(), id
		}
	}
	e.t.Fatalf("the stream ended before %q: %v", pattern, e.Err())
	return "", ""
}

func TestPhonesAndCallsAreShownAndFollowed(t *testing.T) {
	t.Parallel()
	l := newLivePortal(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream := l.listen(ctx)
	stream.find(`^event: snapshot$`)
	anna, ben := l.phone(0), l.phone(1)
	stream.find(`^data: .*"number":1000.*"state":"reachable","user_agent":"\\u003cb\\u003eDesk`)
	_, seen := stream.find(`^data: .*"number":1001.*"state":"reachable","user_agent":"\\u003cb`)

	idle := l.do("GET", "/extensions/1000/status", "")
	if idle.at("state") != "idle" || idle.at("registrations.0.address") != anna.Addr().String() || idle.length("calls") != 0 {
		t.Errorf("idle: %s", idle.text)
	}
	out, err := anna.Dial(ctx, "1001")
	if err != nil {
		t.Fatal(err)
	}
	in, err := ben.Incoming(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stream.find(`^data: .*"number":"1000".*"state":"ringing".*"name":"Ben","number":"1001"`)
	if a := l.do("GET", "/extensions/1001/status", ""); a.at("state") != "ringing" || a.length("calls") != 1 {
		t.Errorf("ringing: %s", a.text)
	}
	if err := in.Accept(ctx); err != nil {
		t.Fatal(err)
	}
	stream.find(`^data: .*"state":"up"`)
	all := l.do("GET", "/live", "")
	if all.at("asterisk.state") != "connected" || all.length("registrations") != 2 || all.length("calls") != 1 || all.at("calls.0.to.name") != "Ben" || all.length("history") == 0 {
		t.Errorf("all: %s", all.text)
	}
	if a := l.do("GET", "/extensions/1000/status", ""); a.at("state") != "busy" {
		t.Errorf("busy: %s", a.text)
	}
	if err := out.Hangup(ctx); err != nil {
		t.Fatal(err)
	}
	stream.find(`^data: .*"state":"ended"`)

	resumed := l.listen(ctx, "Last-Event-ID", seen)
	if first, _ := resumed.find(`^event: `); first != "event: call" {
		t.Errorf("resumed with %q", first)
	}
	resumed.find(`^data: .*"state":"ended"`)
	for _, id := range []string{"1", "9999999999999999999", "0"} {
		if first, _ := l.listen(ctx, "Last-Event-ID", id).find(`^event: `); first != "event: snapshot" {
			t.Errorf("resumed behind %s with %q", id, first)
		}
	}
	metrics := l.do("GET", "/metrics", "").text
	for _, want := range []string{"\npbxportal_registrations 2\n", "\npbxportal_calls 0\n", "\npbxportal_ami_connected 1\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %q", want)
		}
	}
	l.stop()
	if rest, err := io.ReadAll(stream.resp.Body); err != nil {
		t.Errorf("the portal stops, and the stream ends with %v after %q", err, rest)
	}
}

func TestWithoutAManagerUserLiveStateIsOffAndAllElseWorks(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	a := p.do("GET", "/live", "")
	if a.status != 200 || a.at("asterisk.state") != "off" || !strings.Contains(a.at("asterisk.message").(string), "AMI_USER") || a.length("registrations") != 0 {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := p.do("GET", "/extensions/1999/status", ""); a.status != 200 || a.at("state") != "unknown" {
		t.Errorf("%d %s", a.status, a.text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p.listen(ctx).find(`^data: .*"state":"off"`)
	if a := p.do("HEAD", "/live/events", ""); a.status != 200 || a.text != "" {
		t.Errorf("HEAD: %d %s", a.status, a.text)
	}
	metrics := p.do("GET", "/metrics", "").text
	for _, want := range []string{"\npbxportal_registrations NaN\n", "\npbxportal_calls NaN\n", "\npbxportal_ami_connected 0\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %q", want)
		}
	}
	p.create("Anna", "anna@example.com")
}

func TestATextThatIsNoExtensionNumberHasNoStatus(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	for _, number := range []string{"9", "1000000", "01000", "+1000", "1e3", "abc", "%30%31%30%30%30", strconv.Itoa(math.MaxInt), "%00"} {
		if a := p.do("GET", "/extensions/"+number+"/status", ""); a.status != 404 || a.code() != "extension_not_found" {
			t.Errorf("%s: %d %s", number, a.status, a.text)
		}
	}
	if a := p.do("GET", "/live/events", "", "Last-Event-ID", "x"); a.status != 400 {
		t.Errorf("a malformed id: %d %s", a.status, a.text)
	}
}

func TestALiveStreamShowsSignsOfLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newUnserved(t)
		ctx, cancel := context.WithCancel(t.Context())
		rec, done := httptest.NewRecorder(), make(chan struct{})
		r := httptest.NewRequestWithContext(ctx, "GET", "http://localhost/live/events", nil)
		r.RemoteAddr = here
		r.Header.Set("Authorization", "Bearer "+p.token)
		go func() { p.handler.ServeHTTP(rec, r); close(done) }()
		<-time.After(50 * time.Second)
		cancel()
		<-done
		if got := rec.Body.String(); strings.Count(got, ": nothing new\n\n") != 3 {
			t.Errorf("%s", got)
		}
	})
}

func TestAStreamEndsSoonAfterItsReaderHasLostThePermission(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(context.Context, *auth.Auth, pbx.TokenID) error{
		"revoked": func(ctx context.Context, a *auth.Auth, id pbx.TokenID) error {
			_, err := a.RevokeToken(ctx, id)
			return err
		},
		"expired": func(context.Context, *auth.Auth, pbx.TokenID) error { <-time.After(time.Hour); return nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newUnserved(t)
			token, secret, err := p.auth.CreateToken(asLocal(t), pbx.NewToken{Name: "wallboard", Role: pbx.Auditor, Lives: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			rec, done := httptest.NewRecorder(), make(chan struct{})
			r := httptest.NewRequestWithContext(t.Context(), "GET", "http://localhost/live/events", nil)
			r.RemoteAddr = here
			r.Header.Set("Authorization", "Bearer "+secret.Reveal())
			go func() { p.handler.ServeHTTP(rec, r); close(done) }()
			<-time.After(10 * time.Minute)
			select {
			case <-done:
				t.Fatalf("%s: ended while the token held: %s", name, rec.Body)
			default:
			}
			if err := lose(asLocal(t), p.auth, token.ID); err != nil {
				t.Fatal(err)
			}
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				t.Errorf("%s: still open 20 s later", name)
			}
		})
	}
}
