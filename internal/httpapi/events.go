package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

const (
	heartbeat    = 10 * time.Second       // interval of comments in a stream
	lookAgain    = 250 * time.Millisecond // poll interval for a run of another process
	longestApply = 100 * time.Second      // a run that is open for longer has no process any more
)

// followRun streams the events of a run, from its first to its end.
func (a *api) followRun(w http.ResponseWriter, r *http.Request) {
	id := pbx.RunID(r.PathValue("id"))
	if _, err := a.engine.RunDetails(r.Context(), id); err != nil { // the last chance to send a status
		a.fail(w, r, err)
		return
	}
	seen, _ := strconv.Atoi(r.Header.Get("Last-Event-ID")) // 0 if there is none; the checker has validated its form
	a.stream(w, r, heartbeat, "the apply is in progress", func(ctx context.Context, s *stream) { a.emitRun(ctx, r, s, id, seen) })
}

// stream responds with a stream of the events that emit writes, and periodic comments.
func (a *api) stream(w http.ResponseWriter, r *http.Request, every time.Duration, comment string, emit func(context.Context, *stream)) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // otherwise nginx buffers the response
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	ctx, stop := context.WithCancel(r.Context())
	s := &stream{w: w, control: http.NewResponseController(w), stop: stop}
	var beating sync.WaitGroup
	beating.Go(func() { s.beat(ctx, every, comment) })
	defer beating.Wait()
	defer stop()
	s.write("")
	emit(ctx, s)
}

// emitRun writes the events of a run that follow those the client has seen.
func (a *api) emitRun(ctx context.Context, r *http.Request, s *stream, id pbx.RunID, seen int) {
	number := 0
	run, err := a.follow(ctx, id, func(e pbx.Event) {
		if number++; number > seen {
			s.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", number, e.Stage, oneLine(toEvent(e))))
		}
	})
	switch {
	case ctx.Err() != nil: // the client has disconnected
	case err != nil:
		a.log.ErrorContext(ctx, "cannot follow a run to its end", slog.String("request_id", exchangeOf(r).id), slog.Any("err", err))
	default:
		s.write(fmt.Sprintf("event: done\ndata: %s\n\n", oneLine(openapi.RunEnd{Result: openapi.Result(run.Result), Outcome: openapi.Outcome(run.Log.Outcome)})))
	}
}

// follow emits every event of a run as it happens, and returns the run when it has ended. The engine reports events of this process at once; runs
// of another process are polled.
func (a *api) follow(ctx context.Context, id pbx.RunID, emit func(pbx.Event)) (pbx.Run, error) {
	emitted := 0
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		number := 0
		fresh := func(e pbx.Event) error {
			if number++; number > emitted {
				emitted = number
				emit(e)
			}
			return ctx.Err()
		}
		if err := a.engine.Follow(ctx, id, fresh); err != nil {
			return pbx.Run{}, err
		}
		run, err := a.engine.RunDetails(ctx, id)
		if err != nil {
			return run, err
		}
		if run.Result != pbx.Interrupted || a.now().Sub(run.Log.TriggeredAt) > longestApply {
			for ; emitted < len(run.Events); emitted++ {
				emit(run.Events[emitted])
			}
			return run, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return run, ctx.Err()
		}
	}
}

// stream is a response that is written piece by piece over time.
type stream struct {
	mu      sync.Mutex // guards w
	w       http.ResponseWriter
	control *http.ResponseController
	stop    context.CancelFunc // called when the client accepts no more
}

// write sends a piece at once.
func (s *stream) write(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.w.Write([]byte(text))
	if err == nil {
		err = s.control.Flush()
	}
	if err != nil {
		s.stop()
	}
}

// beat sends comments until ctx ends, so that no proxy takes the stream for dead.
func (s *stream) beat(ctx context.Context, every time.Duration, comment string) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.write(": " + comment + "\n\n")
		case <-ctx.Done():
			return
		}
	}
}

// oneLine returns a value of the contract as JSON without line breaks.
func oneLine(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil { // strings and numbers only
		panic(err)
	}
	return text
}

func toEvent(e pbx.Event) openapi.Event {
	return openapi.Event{
		Stage: e.Stage, AfterMs: e.After.Milliseconds(), Message: e.Message, Revision: unlessZero(e.Revision), Users: unlessZero(e.Users),
		Code: unlessZero(openapi.EventCode(e.Code)), Detail: unlessZero(e.Detail),
	}
}

func toEvents(events []pbx.Event) openapi.Events {
	out := make(openapi.Events, len(events))
	for i, e := range events {
		out[i] = toEvent(e)
	}
	return out
}

// duration returns how long an apply took: until its last event. An event added when the record was completed later has no time.
func duration(run pbx.Run) (took time.Duration) {
	for _, e := range run.Events {
		took = max(took, e.After)
	}
	return took
}
