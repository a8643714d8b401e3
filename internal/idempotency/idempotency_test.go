package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/idempotency"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

const secret = "the secret of the response"

// service is a service over a database, with a clock of its own.
type service struct {
	*idempotency.Keys
	t     *testing.T
	url   string
	store *store.Store
	ahead *atomic.Int64 // of the clock
	ran   *atomic.Int64 // how often requests were carried out
}

func each(t *testing.T, test func(s service)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, url string) {
		s := service{t: t, url: url, store: storetest.Open(t, url), ahead: &atomic.Int64{}, ran: &atomic.Int64{}}
		s.Keys = idempotency.New(s.store, func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) })
		test(s)
	})
}

// other is the service of another process on the same database.
func (s service) other() service {
	s.store = storetest.Open(s.t, s.url)
	s.Keys = idempotency.New(s.store, time.Now)
	return s
}

// change makes a change as a request does: with an audit event, in one transaction.
func (s service) change(ctx context.Context) error {
	e := pbx.NewAuditEvent(ctx, time.Now(), pbx.ActionUserCreate, pbx.AuditObject{Type: "user", ID: "7c1d0b5e-52c5-4f0c-9d55-0b6b1d2c7a90", Name: "Anna"})
	return s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error { return tx.AppendEvent(ctx, e) })
}

// do carries out a request that changes something and responds with a status.
func (s service) do(r idempotency.Request, status int) (idempotency.Answer, *idempotency.Repeated, error) {
	s.t.Helper()
	return s.Do(s.t.Context(), r, func(ctx context.Context) idempotency.Answer {
		n := s.ran.Add(1)
		if err := s.change(ctx); err != nil {
			return idempotency.Answer{Status: 503, Body: []byte(err.Error())}
		}
		return idempotency.Answer{Status: status, Header: map[string][]string{"Etag": {`"1"`}}, Body: fmt.Appendf(nil, "%s, number %d", secret, n)}
	}, func(_ context.Context, err error) { s.t.Errorf("the response was not stored: %v", err) })
}

var request = idempotency.Request{Caller: "token a", Key: "1", Hash: "of the body"}

func TestARepeatedRequestGetsItsResponseUntilTheKeyExpires(t *testing.T) {
	t.Parallel()
	each(t, func(s service) {
		first, repeated, err := s.do(request, http.StatusCreated)
		if err != nil || repeated != nil || first.Status != http.StatusCreated {
			t.Fatalf("%+v %v %v", first, repeated, err)
		}
		s.ahead.Store(int64(store.ClaimLife - time.Minute))
		for _, of := range []service{s, s.other()} {
			_, repeated, err = of.do(request, http.StatusCreated)
			if err != nil || repeated == nil || repeated.Answer == nil || repeated.Object.ID == "" || s.ran.Load() != 1 {
				t.Fatalf("repeated: %+v %v, carried out %d times", repeated, err, s.ran.Load())
			}
			if diff := cmp.Diff(first, *repeated.Answer); diff != "" {
				t.Errorf("the response (-first +repeated):\n%s", diff)
			}
		}
		s.ahead.Store(int64(store.ClaimLife + time.Minute))
		again, repeated, err := s.do(idempotency.Request{Caller: request.Caller, Key: request.Key, Hash: "of another body"}, http.StatusCreated)
		if err != nil || repeated != nil || again.Status != http.StatusCreated || s.ran.Load() != 2 {
			t.Errorf("after the key has expired: %+v %v %v", again, repeated, err)
		}
		if rows := storetest.Ask(t, s.url, `SELECT CAST(count(*) AS varchar(20)) FROM idempotency_keys`); rows != "1" {
			t.Errorf("%s rows: the expired one is still there", rows)
		}
	})
}

func TestAKeyIsRefusedForAnotherRequestButNotForAnotherCaller(t *testing.T) {
	t.Parallel()
	each(t, func(s service) {
		if _, _, err := s.do(request, http.StatusCreated); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.do(idempotency.Request{Caller: request.Caller, Key: request.Key, Hash: "of another body"}, http.StatusCreated)
		if pbx.KindOf(err) != pbx.KindConflict || pbx.CodeOf(err) != pbx.CodeKeyReused || s.ran.Load() != 1 {
			t.Errorf("another body: %v, carried out %d times", err, s.ran.Load())
		}
		for _, other := range []idempotency.Request{{"token b", "1", "of the body"}, {"token a", "2", "of the body"}, {"token", "a 1", "of the body"}} {
			if _, repeated, err := s.do(other, http.StatusCreated); err != nil || repeated != nil {
				t.Errorf("%+v: %v %v", other, repeated, err)
			}
		}
	})
}

func TestRequestsWithOneKeyAtTheSameTimeAreCarriedOutOnce(t *testing.T) {
	t.Parallel()
	each(t, func(s service) {
		processes := []service{s, s.other()}
		var all sync.WaitGroup
		bodies := make([]string, 16)
		for i := range bodies {
			all.Go(func() {
				a, repeated, err := processes[i%2].do(request, http.StatusCreated)
				switch {
				case err != nil:
					bodies[i] = err.Error()
				case repeated == nil:
					bodies[i] = string(a.Body)
				case repeated.Answer == nil: // of another process, which has not stored it yet
					bodies[i] = repeated.Object.ID
				default:
					bodies[i] = string(repeated.Answer.Body)
				}
			})
		}
		all.Wait()
		slices.Sort(bodies)
		events := storetest.Ask(t, s.url, `SELECT CAST(count(*) AS varchar(20)) FROM audit_events WHERE action = 'user.create'`)
		answers := slices.Compact(slices.DeleteFunc(bodies, func(b string) bool { return b == "7c1d0b5e-52c5-4f0c-9d55-0b6b1d2c7a90" }))
		if events != "1" || len(answers) != 1 || !strings.HasPrefix(answers[0], secret) {
			t.Errorf("%s changes, answered with %q", events, answers)
		}
	})
}

func TestAFailedRequestCanBeRepeatedUnlessItsChangeWasMade(t *testing.T) {
	t.Parallel()
	each(t, func(s service) {
		for status, want := range map[int]int64{http.StatusConflict: 2, http.StatusInternalServerError: 1} {
			s.ran.Store(0)
			r := idempotency.Request{Caller: "token a", Key: fmt.Sprint(status), Hash: "of the body"}
			for range 2 {
				_, repeated, err := s.do(r, status)
				if err != nil || repeated != nil && (repeated.Answer != nil || repeated.Object.Type != "user") {
					t.Errorf("%d: %+v %v", status, repeated, err)
				}
			}
			if s.ran.Load() != want {
				t.Errorf("a request that failed with %d was carried out %d times, want %d", status, s.ran.Load(), want)
			}
		}
		s.ran.Store(0)
		failed := idempotency.Answer{Status: http.StatusServiceUnavailable}
		for range 2 { // which changed nothing
			_, repeated, err := s.Do(t.Context(), idempotency.Request{Caller: "token a", Key: "3", Hash: "h"}, func(context.Context) idempotency.Answer {
				s.ran.Add(1)
				return failed
			}, nil)
			if repeated != nil || err != nil {
				t.Error(repeated, err)
			}
		}
		if s.ran.Load() != 2 {
			t.Errorf("a request that changed nothing was carried out %d times", s.ran.Load())
		}
	})
}

func TestResponsesAreSealedInTheDatabase(t *testing.T) {
	t.Parallel()
	each(t, func(s service) {
		if _, _, err := s.do(request, http.StatusCreated); err != nil {
			t.Fatal(err)
		}
		if text := storetest.Everything(t, s.url); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
			t.Error("the response is stored in plain text")
		}
		storetest.Execute(t, s.url, `UPDATE idempotency_keys SET request_key = '2'`) // a response is sealed for its key
		_, repeated, err := s.do(idempotency.Request{Caller: "token a", Key: "2", Hash: "of the body"}, http.StatusCreated)
		if err != nil || repeated == nil || repeated.Answer != nil || s.ran.Load() != 1 {
			t.Errorf("the response to another key: %+v %v", repeated, err)
		}
	})
}

func TestACallerThatLeavesStopsWaitingForItsKey(t *testing.T) {
	t.Parallel()
	each(t, func(s service) {
		running, end := make(chan struct{}), make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			_, _, _ = s.Do(t.Context(), request, func(context.Context) idempotency.Answer {
				close(running)
				<-end
				return idempotency.Answer{Status: http.StatusNoContent}
			}, nil)
		})
		<-running
		ctx, leave := context.WithCancel(t.Context())
		leave()
		_, _, err := s.Do(ctx, request, func(context.Context) idempotency.Answer {
			t.Error("carried out beside the first")
			return idempotency.Answer{}
		}, nil)
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(end)
		all.Wait()
	})
}
