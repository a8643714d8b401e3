package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// events reads a stream of events, line by line.
type events struct {
	t testing.TB
	*bufio.Scanner
	resp *http.Response
}

// follow opens the stream of events of a run.
func (p *portal) follow(ctx context.Context, id string, header ...string) *events {
	p.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/apply/runs/"+id+"/events", nil)
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
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("X-Accel-Buffering") != "no" {
		p.t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	p.t.Cleanup(func() { _ = resp.Body.Close() })
	return &events{p.t, bufio.NewScanner(resp.Body), resp}
}

// until returns the names of the events up to one of this name.
func (e *events) until(name string) string {
	e.t.Helper()
	var names []string
	for e.Scan() {
		if event, ok := strings.CutPrefix(e.Text(), "event: "); ok {
			if names = append(names, event); event == name {
				return strings.Join(names, " ")
			}
		}
	}
	e.t.Fatalf("the stream ended after %q: %v", names, e.Err())
	return ""
}

// rest returns the rest of the stream.
func (e *events) rest() string {
	e.t.Helper()
	var text strings.Builder
	for e.Scan() {
		text.WriteString(e.Text() + "\n")
	}
	if err := e.Err(); err != nil {
		e.t.Fatal(err)
	}
	_ = e.resp.Body.Close()
	return text.String()
}

func TestAnApplyIsFollowedLiveResumedAndAfterItsEnd(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	release, answers := p.holdApply()
	id := p.lastRun()
	live, resumed := p.follow(t.Context(), id), p.follow(t.Context(), id, "Last-Event-ID", "1")
	if got := live.until("plan"); got != "plan" {
		t.Errorf("while the apply waits: %q", got)
	}
	release()
	if got, want := live.until("done"), "stage flip reload verify end done"; got != want {
		t.Errorf("live: %q, want %q", got, want)
	}
	if last := live.rest(); last != "data: {\"outcome\":\"success\",\"result\":\"applied\"}\n\n" {
		t.Errorf("the end: %q", last)
	}
	if got, want := resumed.until("done"), "stage flip reload verify end done"; got != want {
		t.Errorf("resumed: %q, want %q", got, want)
	}
	<-answers
	after := p.follow(t.Context(), strings.ToUpper(id)).rest()
	if strings.Count(after, "\nevent: ") != 6+1 || !strings.HasPrefix(after, "id: 1\nevent: plan\ndata: {\"after_ms\":") {
		t.Errorf("afterwards: %s", after)
	}
	if tail := p.follow(t.Context(), id, "Last-Event-ID", "5").rest(); !strings.HasPrefix(tail, "id: 6\nevent: end\n") {
		t.Errorf("resumed afterwards: %s", tail)
	}
	if end := p.follow(t.Context(), id, "Last-Event-ID", "999999999").rest(); !strings.HasPrefix(end, "event: done\n") {
		t.Errorf("resumed behind the end: %s", end)
	}
	if a := p.do("HEAD", "/apply/runs/"+id+"/events", ""); a.status != 200 || a.text != "" {
		t.Errorf("HEAD: %d %s", a.status, a.text)
	}
}

func TestAFailedApplyIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	p.asterisk.forgets = true
	p.do("POST", "/apply", `{"triggered_by":"admin"}`)
	text := p.follow(t.Context(), p.lastRun()).rest()
	if !strings.Contains(text, "event: roll_back\n") || !strings.HasSuffix(text, "event: done\ndata: {\"outcome\":\"failure\",\"result\":\"rolled_back\"}\n\n") {
		t.Errorf("%s", text)
	}
}

func TestAnApplyOfAnotherProcessIsFollowedByItsRecord(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	run := pbx.Run{
		Log:    pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: time.Now().UTC().Truncate(time.Microsecond), TriggeredBy: "cli", Outcome: pbx.Failure, ErrorDetails: "interrupted"},
		Result: pbx.Interrupted, Verification: pbx.NotVerified, Events: []pbx.Event{{Stage: "plan", Message: "1 users"}},
	}
	save := func() {
		if err := storetest.SaveRun(t.Context(), p.store, run); err != nil {
			t.Fatal(err)
		}
	}
	save()
	stream := p.follow(t.Context(), string(run.Log.ID))
	if got := stream.until("plan"); got != "plan" {
		t.Errorf("%q", got)
	}
	run.Events = append(run.Events, pbx.Event{Stage: "end", Message: "done"})
	run.Result, run.Log.Outcome, run.Log.ErrorDetails = pbx.Applied, pbx.Success, ""
	save()
	if got := stream.until("done"); got != "end done" {
		t.Errorf("%q", got)
	}

	run.Log.ID, run.Log.TriggeredAt, run.Result = pbx.RunID(uuid.NewString()), run.Log.TriggeredAt.Add(-time.Hour), pbx.Interrupted
	save()
	if text := p.follow(t.Context(), string(run.Log.ID)).rest(); !strings.Contains(text, `"result":"interrupted"`) {
		t.Errorf("of a process that died: %s", text)
	}
}

func TestAStreamOutlivesTheTimeOutsOfTheServer(t *testing.T) {
	t.Parallel()
	const limit = 100 * time.Millisecond
	p := newPortal(t)
	server := httptest.NewUnstartedServer(p.handler)
	server.Config = p.handler.Server("")
	server.Config.ReadTimeout, server.Config.WriteTimeout = limit, limit
	server.Start()
	t.Cleanup(server.Close)
	p.create("Anna", "anna@example.com")
	release, answers := p.holdApply()
	id := p.lastRun()
	p.url = server.URL
	stream := p.follow(t.Context(), id)
	stream.until("plan")
	<-time.After(3 * limit)
	release()
	if got := stream.until("done"); got != "stage flip reload verify end done" {
		t.Errorf("%q", got)
	}
	<-answers
}

func TestAStreamShowsSignsOfLifeWhileNothingHappens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newUnserved(t)
		p.asterisk.hold, p.asterisk.entered = make(chan struct{}), make(chan struct{})
		serve := func(method, path, body string) (*httptest.ResponseRecorder, <-chan struct{}) {
			rec, done := httptest.NewRecorder(), make(chan struct{})
			r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
			r.RemoteAddr = here
			r.Header.Set("Authorization", "Bearer "+p.token)
			r.Header.Set("Content-Type", "application/json")
			go func() { p.handler.ServeHTTP(rec, r); close(done) }()
			return rec, done
		}
		_, done := serve("POST", "/users", `{"name":"Anna","email":"anna@example.com"}`)
		<-done
		_, applied := serve("POST", "/apply", `{"triggered_by":"admin"}`)
		<-p.asterisk.entered
		logs, done := serve("GET", "/apply/logs", "")
		<-done
		_, id, _ := strings.Cut(logs.Body.String(), `],"id":"`)
		stream, followed := serve("GET", "/apply/runs/"+id[:36]+"/events", "")
		<-time.After(25 * time.Second)
		close(p.asterisk.hold)
		<-applied
		<-followed
		if got := stream.Body.String(); strings.Count(got, ": the apply is in progress\n\n") != 2 || !strings.Contains(got, "event: done\n") {
			t.Errorf("%s", got)
		}
	})
}

func TestADisconnectedClientEndsItsStreamAndNotTheApply(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	release, answers := p.holdApply()
	ctx, leave := context.WithCancel(t.Context())
	stream := p.follow(ctx, p.lastRun())
	stream.until("plan")
	leave()
	if _, err := io.ReadAll(stream.resp.Body); err == nil {
		t.Error("the stream ended as if the apply had")
	}
	release()
	if a := <-answers; a.status != 200 {
		t.Errorf("%d %s", a.status, a.text)
	}
	if bytes.Contains([]byte(p.log.String()), []byte("cannot follow")) {
		t.Error("a client who leaves is logged as a fault")
	}
}
