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
	heartbeat    = 10 * time.Second       // between two signs of life in a stream
	lookAgain    = 250 * time.Millisecond // between two looks at a run of another process
	longestApply = 100 * time.Second      // a run that is open for longer has no process any more
)

// followRun streams the events of a run, from its first to its end.
func (a *api) followRun(w http.ResponseWriter, r *http.Request) {
	id := pbx.RunID(r.PathValue("id"))
	if _, err := a.engine.Story(r.Context(), id); err != nil { // the last chance for a status
		a.fail(w, r, err)
		return
	}
	seen, _ := strconv.Atoi(r.Header.Get("Last-Event-ID")) // 0 where there is none; the checker has seen to its form
	a.stream(w, r, heartbeat, "the apply goes on", func(ctx context.Context, s *stream) { a.tellRun(ctx, r, s, id, seen) })
}

// stream answers with a stream of events that tell writes, with a comment in between from time to time.
func (a *api) stream(w http.ResponseWriter, r *http.Request, every time.Duration, comment string, tell func(context.Context, *stream)) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx keeps back what an upstream sends until some KB have come together
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
	tell(ctx, s)
}

// tellRun tells the events of a run behind those the client has seen.
func (a *api) tellRun(ctx context.Context, r *http.Request, s *stream, id pbx.RunID, seen int) {
	number := 0
	run, err := a.follow(ctx, id, func(e pbx.Event) {
		if number++; number > seen {
			s.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", number, e.Stage, oneLine(toEvent(e))))
		}
	})
	switch {
	case ctx.Err() != nil: // the client has gone
	case err != nil:
		a.log.ErrorContext(ctx, "cannot follow a run to its end", slog.String("request_id", exchangeOf(r).id), slog.Any("err", err))
	default:
		s.write(fmt.Sprintf("event: done\ndata: %s\n\n", oneLine(openapi.RunEnd{Result: openapi.Result(run.Result), Outcome: openapi.Outcome(run.Log.Outcome)})))
	}
}

// follow tells every event of a run, as it happens, and gives the run when it has ended. Of an apply of this process the engine tells
// at once; that of another process is looked at again and again.
func (a *api) follow(ctx context.Context, id pbx.RunID, tell func(pbx.Event)) (pbx.Run, error) {
	told := 0
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		number := 0
		fresh := func(e pbx.Event) error {
			if number++; number > told {
				told = number
				tell(e)
			}
			return ctx.Err()
		}
		if err := a.engine.Follow(ctx, id, fresh); err != nil {
			return pbx.Run{}, err
		}
		run, err := a.engine.Story(ctx, id)
		if err != nil {
			return run, err
		}
		if run.Result != pbx.Interrupted || a.now().Sub(run.Log.TriggeredAt) > longestApply {
			for ; told < len(run.Events); told++ {
				tell(run.Events[told])
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

// stream is an answer that is written piece by piece, for as long as it takes.
type stream struct {
	mu      sync.Mutex // guards w
	w       http.ResponseWriter
	control *http.ResponseController
	stop    context.CancelFunc // called when the client takes no more
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

// beat sends comments until ctx ends, so that nobody between us and the client takes the stream for dead.
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

// oneLine is a value of the contract as JSON, in which no line break stands.
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

// duration is how long an apply took: its last event ends it. One that was added when the record was completed later has no time.
func duration(run pbx.Run) (took time.Duration) {
	for _, e := range run.Events {
		took = max(took, e.After)
	}
	return took
}
