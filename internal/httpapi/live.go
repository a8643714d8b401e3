package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/live"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// liveHeartbeat is the interval of comments in a stream of live events.
const liveHeartbeat = 15 * time.Second

// GetLive returns the live state of Asterisk.
func (a *api) GetLive(context.Context, openapi.GetLiveRequestObject) (openapi.GetLiveResponseObject, error) {
	return openapi.GetLive200JSONResponse(toLive(a.live.Snapshot())), nil
}

// GetExtensionStatus returns the live state of one extension.
func (a *api) GetExtensionStatus(_ context.Context, r openapi.GetExtensionStatusRequestObject) (openapi.GetExtensionStatusResponseObject, error) {
	number, ok := pbx.ParseNumber(r.Number)
	if !ok {
		return nil, &pbx.Error{
			Kind: pbx.KindNotFound, Code: pbx.CodeNoExtension,
			Msg: fmt.Sprintf("there is no extension %s: extension numbers are whole numbers from %d to %d", short(r.Number), pbx.MinNumber, pbx.MaxNumber),
		}
	}
	return openapi.GetExtensionStatus200JSONResponse(toStatus(number, a.live.Snapshot())), nil
}

// followLive streams live state until the client disconnects or the portal stops.
func (a *api) followLive(w http.ResponseWriter, r *http.Request) {
	seen, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64) // 0 if missing or invalid: a snapshot
	a.stream(w, r, liveHeartbeat, "nothing new", func(ctx context.Context, s *stream) {
		var changes sync.WaitGroup
		defer changes.Wait()
		defer s.stop()
		startChanges := sync.OnceFunc(func() { changes.Go(func() { a.emitChanges(ctx, s) }) })
		on := ctx
		if seen > 0 { // the first update may take long to come: only one that is there already comes before the changes
			ended, end := context.WithCancel(ctx)
			end()
			on = ended
		}
		for ; ; on = ctx {
			update, err := a.live.Next(on, seen)
			if err != nil && on != ctx {
				startChanges()
				continue
			}
			if err != nil {
				return
			}
			if update.Snapshot != nil {
				s.write(liveEvent(update.ID, "snapshot", toLive(*update.Snapshot)))
			}
			var all strings.Builder // one write for all pending events
			for _, e := range update.Events {
				switch {
				case e.Registration != nil:
					all.WriteString(liveEvent(e.ID, "registration", toRegistration(*e.Registration)))
				case e.Call != nil:
					all.WriteString(liveEvent(e.ID, "call", toCall(*e.Call)))
				case e.Switches != nil:
					all.WriteString(liveEvent(e.ID, "switches", toLiveSwitches(*e.Switches)))
				case e.Link != nil:
					all.WriteString(liveEvent(e.ID, "asterisk", toLink(*e.Link)))
				}
			}
			if all.Len() > 0 {
				s.write(all.String())
			}
			startChanges() // after the snapshot, with which a new stream begins
			seen = update.ID
		}
	})
}

func liveEvent(id uint64, name string, data any) string {
	return fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", id, name, oneLine(data))
}

func toLive(s live.Snapshot) openapi.Live {
	out := openapi.Live{
		Asterisk: toLink(s.Link), Registrations: make([]openapi.LiveRegistration, len(s.Registrations)), Calls: make([]openapi.LiveCall, len(s.Calls)),
		Switches: each(s.Switches, toLiveSwitches), History: make([]openapi.LiveMinute, len(s.History)), LeftOut: unlessZero(s.LeftOut),
	}
	for i, r := range s.Registrations {
		out.Registrations[i] = toRegistration(r)
	}
	for i, c := range s.Calls {
		out.Calls[i] = toCall(c)
	}
	for i, m := range s.History {
		out.History[i] = openapi.LiveMinute{At: m.At.UTC(), Registrations: m.Registrations, Calls: m.Calls}
	}
	return out
}

func toLink(l live.Link) openapi.LiveAsterisk {
	return openapi.LiveAsterisk{State: openapi.LiveAsteriskState(l.State), Since: l.Since.UTC(), Message: l.Message, Version: unlessZero(l.Version)}
}

func toRegistration(r live.Registration) openapi.LiveRegistration {
	out := openapi.LiveRegistration{
		Number: int(r.Number), Device: r.Suffix, State: openapi.LiveRegistrationState(r.State), Address: r.Address, UserAgent: r.UserAgent, Since: r.Since.UTC(),
		ExpiresAt: timeOrNull(r.Expires.UTC()),
	}
	if r.RTT > 0 {
		ms := float32(r.RTT.Microseconds()) / 1000
		out.RttMs = &ms
	}
	return out
}

func toCall(c live.Call) openapi.LiveCall {
	return openapi.LiveCall{
		ID: c.ID, State: openapi.LiveCallState(c.State), Since: c.Since.UTC(),
		From: openapi.LiveParty{Number: c.From.Number, Name: c.From.Name}, To: openapi.LiveParty{Number: c.To.Number, Name: c.To.Name},
	}
}

func toLiveSwitches(s live.Switches) openapi.LiveSwitches {
	return openapi.LiveSwitches{Number: int(s.Number), Switches: SwitchesJSON(s.Switches)}
}

// toStatus returns the live state of one extension, with its summary.
func toStatus(number pbx.Number, s live.Snapshot) openapi.ExtensionStatus {
	out := openapi.ExtensionStatus{
		Number: int(number), State: openapi.ExtensionStatusStateOffline, Registrations: []openapi.LiveRegistration{}, Calls: []openapi.LiveCall{},
	}
	for _, r := range s.Registrations {
		if r.Number != number {
			continue
		}
		out.Registrations = append(out.Registrations, toRegistration(r))
		if r.State != live.Unreachable {
			out.State = openapi.ExtensionStatusStateIdle
		}
	}
	up := false
	for _, c := range s.Calls {
		if digits := strconv.Itoa(int(number)); c.From.Number == digits || c.To.Number == digits {
			out.Calls = append(out.Calls, toCall(c))
			up = up || c.State == live.Up
		}
	}
	switch {
	case s.Link.State != live.Connected:
		out.State = openapi.ExtensionStatusStateUnknown
	case up:
		out.State = openapi.ExtensionStatusStateBusy
	case len(out.Calls) > 0:
		out.State = openapi.ExtensionStatusStateRinging
	}
	return out
}
