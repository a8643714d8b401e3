package phone

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
)

var (
	// ErrNotAnswered is returned by operations that need an answered call.
	ErrNotAnswered = errors.New("call is not answered")

	// ErrEnded is returned by operations that were in progress when a call ended.
	ErrEnded = errors.New("call has ended")

	// ErrCanceled is the reason of a call that was cancelled by the caller while it rang.
	ErrCanceled = errors.New("call was cancelled before it was answered")

	// ErrAnsweredElsewhere is the reason of a call that was cancelled because another phone answered it: not a missed call (RFC 3326, cause 200).
	ErrAnsweredElsewhere = fmt.Errorf("%w: another phone answered it", ErrCanceled)
)

// Party is one end of a call, as presented by the network.
type Party struct {
	// Name is the display name, empty if there is none.
	Name string
	// Number is the user part of the SIP address.
	Number string
}

// String returns a party in the form used by phones.
func (p Party) String() string {
	if p.Name == "" {
		return p.Number
	}
	return fmt.Sprintf("%q <%s>", p.Name, p.Number)
}

// phase is the progress of a call.
type phase uint8

const (
	ringing   phase = iota
	answering       // our 200 is sent and its ACK not yet received
	connected
	ended
)

// Call is one call of a phone, from the first ring to the end.
type Call struct {
	phone *Phone
	key   dialogKey
	from  Party
	media *media

	// For an incoming call.
	request *sip.Request // carries our tag, so that all responses do
	tx      sip.ServerTransaction
	decided chan struct{} // closed when the final response is sent
	acks    chan *sip.Request

	// For an outgoing call.
	giveUp  func()       // cancels the attempt; may be called repeatedly
	ackMu   sync.Mutex   // guards lastACK and is held while it is sent
	lastACK *sip.Request // repeated for every repeated 2xx

	rings    func()        // closes ringing; may be called repeatedly
	ringing  chan struct{} // the far end has reported that it rings
	answered chan struct{}
	done     chan struct{}

	renegotiating atomic.Bool // a re-INVITE waits for its ACK

	mu      sync.Mutex // guards everything below
	phase   phase
	dialog  dialog
	dialing sip.ClientTransaction // our INVITE after its 2xx, kept to receive repetitions
	err     error
}

// newCall returns a call with its sound, which must be entered or closed.
func (p *Phone) newCall(d dialog, from Party) (*Call, error) {
	m, err := openMedia()
	if err != nil {
		return nil, err
	}
	m.muted = p.muted
	c := &Call{
		phone:    p,
		key:      dialogKey{d.callID, tagOf(&d.local)},
		from:     from,
		media:    m,
		decided:  make(chan struct{}),
		acks:     make(chan *sip.Request, 1),
		ringing:  make(chan struct{}),
		answered: make(chan struct{}),
		done:     make(chan struct{}),
		dialog:   d,
	}
	c.rings = sync.OnceFunc(func() { close(c.ringing) })
	return c, nil
}

// enter makes a call known to requests and to Close, unless it is too late.
func (p *Phone) enter(c *Call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.media.close()
		return ErrClosed
	}
	p.calls[c.key] = c
	return nil
}

// From returns the caller, as in the From header; for an outgoing call, ourselves.
func (c *Call) From() Party { return c.from }

// Ringing is closed when the far end of an outgoing call has reported that it rings.
func (c *Call) Ringing() <-chan struct{} { return c.ringing }

// Done is closed when the call has ended, at either end.
func (c *Call) Done() <-chan struct{} { return c.done }

// Err returns why the call has ended: nil while it has not, and after either end has hung up; a *StatusError if it was refused.
func (c *Call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Answered waits until the call is answered; a refusal is a *StatusError.
func (c *Call) Answered(ctx context.Context) error {
	select {
	case <-c.answered:
		return nil
	default:
	}
	select {
	case <-c.answered:
		return nil
	case <-c.done:
		if err := c.Err(); err != nil {
			return err
		}
		return ErrEnded
	case <-ctx.Done():
		return fmt.Errorf("call was not answered: %w", context.Cause(ctx))
	}
}

// Accept answers an incoming call and returns when the caller has acknowledged it.
func (c *Call) Accept(ctx context.Context) error {
	if err := c.leaveRinging(); err != nil {
		return fmt.Errorf("cannot accept the call: %w", err)
	}
	defer close(c.decided)
	if err := c.accept(ctx); err != nil {
		return fmt.Errorf("cannot accept the call: %w", err)
	}
	return nil
}

func (c *Call) accept(ctx context.Context) error {
	body := c.request.Body()
	early := len(body) > 0 // the usual case: the offer came with the INVITE
	var ours []byte
	if early {
		var err error
		if ours, err = c.media.accept(body); err != nil {
			c.refuse(sip.StatusNotAcceptableHere)
			c.finish(err)
			return err
		}
	} else {
		ours = c.media.offer()
	}
	ack, err := c.confirm(ctx, c.request, c.tx, ours)
	if err == nil && !early {
		err = c.media.agree(ack.Body())
	}
	if err != nil {
		c.abandon(ctx, err)
		if c.Err() != nil {
			err = c.Err() // what came first, such as cancellation by the caller
		}
		return err
	}
	if !c.connect() {
		return ErrEnded
	}
	return nil
}

// Reject refuses an incoming call with a status such as 486 for busy.
func (c *Call) Reject(code int) error {
	if code < 300 || code > 699 {
		return fmt.Errorf("cannot reject a call with status %d", code)
	}
	if err := c.leaveRinging(); err != nil {
		return fmt.Errorf("cannot reject the call: %w", err)
	}
	defer close(c.decided)
	c.refuse(code)
	c.finish(&StatusError{Code: code, Reason: reason(code)})
	return nil
}

// refuse sends the final response of an incoming call; the stack repeats it until it is acknowledged.
func (c *Call) refuse(code int) {
	c.phone.respond(c.request, c.tx, code)
}

// leaveRinging claims the decision about an incoming call, which can be made only once.
func (c *Call) leaveRinging() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.tx == nil:
		return errors.New("it is ours")
	case c.phase == ended && c.err != nil:
		return c.err
	case c.phase == ended:
		return ErrEnded
	case c.phase != ringing:
		return errors.New("it is already answered")
	}
	c.phase = answering
	return nil
}

// connect starts the sound, unless the call has ended already.
func (c *Call) connect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == ended {
		return false
	}
	c.phase = connected
	c.media.start()
	close(c.answered)
	c.phone.log.Debug("call answered", "call_id", c.key.callID)
	return true
}

// Hangup ends the call in the way its state requires: CANCEL, refusal or BYE. It returns no error for a call that has ended.
func (c *Call) Hangup(ctx context.Context) error {
	c.mu.Lock()
	now := c.phase
	c.mu.Unlock()
	switch {
	case now == ended:
		return nil
	case now == ringing && c.tx != nil:
		if err := c.Reject(sip.StatusTemporarilyUnavailable); err == nil {
			return nil
		}
	case now == ringing:
		c.giveUp()
	}
	// Before the ACK a callee must not send BYE (RFC 3261, 15); a caller waits for the far end to process the CANCEL.
	select {
	case <-c.answered:
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot hang up: %w", context.Cause(ctx))
	}
	if err := c.bye(ctx, nil); err != nil {
		return fmt.Errorf("cannot hang up: %w", err)
	}
	return nil
}

// bye ends an answered call; it has ended for us whatever the far end answers.
func (c *Call) bye(ctx context.Context, why error) error {
	defer c.finish(why)
	res, err := c.phone.ask(ctx, c.newRequest(sip.BYE), c.nextSeq)
	if err != nil {
		return err
	}
	// These mean that the far end does not know the call any more.
	if res.IsSuccess() || res.StatusCode == sip.StatusCallTransactionDoesNotExists || res.StatusCode == sip.StatusRequestTimeout {
		return nil
	}
	return refusal(res)
}

// abandon ends a call that failed between the answer and the conversation, so that the far end does not keep it.
func (c *Call) abandon(ctx context.Context, why error) {
	select {
	case <-c.done:
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer cancel()
	if err := c.bye(ctx, why); err != nil {
		c.phone.log.Debug("call did not end properly", "err", err)
	}
}

// finish marks the call as ended, once, and ends its sound. It may be called while the stack holds the lock of the incoming transaction and therefore
// calls none of its methods.
func (c *Call) finish(err error) {
	c.mu.Lock()
	if c.phase == ended {
		c.mu.Unlock()
		return
	}
	c.phase = ended
	c.err = err
	dialing := c.dialing
	c.mu.Unlock()

	c.phone.mu.Lock()
	delete(c.phone.calls, c.key)
	c.phone.mu.Unlock()
	c.media.close()
	if dialing != nil {
		dialing.Terminate()
	}
	close(c.done)
	c.phone.log.Debug("call ended", "call_id", c.key.callID, "err", err)
}

// Play sends sound in real time and returns when it has been sent. A second sound waits for the first.
func (c *Call) Play(ctx context.Context, pcm PCM) error {
	if err := c.media.play(ctx, pcm); err != nil {
		return fmt.Errorf("cannot play: %w", err)
	}
	return nil
}

// Record returns the next incoming sound of the given duration.
func (c *Call) Record(ctx context.Context, d time.Duration) (PCM, error) {
	pcm, err := c.media.record(ctx, samples(d))
	if err != nil {
		return nil, fmt.Errorf("cannot record: %w", err)
	}
	return pcm, nil
}

// Heard returns everything received so far, also after the end of the call.
func (c *Call) Heard() Reception { return c.media.reception() }

// confirm answers a request that describes the session with 200, and repeats it until its ACK arrives (RFC 3261, 13.3.1.4). The stack leaves that to us.
func (c *Call) confirm(ctx context.Context, req *sip.Request, tx sip.ServerTransaction, body []byte) (*sip.Request, error) {
	res := c.success(req, body)
	pause := sip.T1
	again := time.NewTimer(pause)
	defer again.Stop()
	limit := time.NewTimer(64 * sip.T1)
	defer limit.Stop()
	for {
		if err := tx.Respond(res); err != nil {
			return nil, fmt.Errorf("cannot answer: %w", err)
		}
	waiting:
		for {
			select {
			case ack := <-c.acks:
				if ack.CSeq().SeqNo == req.CSeq().SeqNo {
					return ack, nil
				}
			case ack := <-tx.Acks(): // a far end that reuses the branch of its INVITE
				return ack, nil
			case <-again.C:
				pause = min(2*pause, sip.T2)
				again.Reset(pause)
				break waiting
			case <-limit.C:
				return nil, errors.New("the answer was never acknowledged")
			case <-c.done:
				return nil, ErrEnded
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
}

// success returns a 200 that describes our side of the session.
func (c *Call) success(req *sip.Request, body []byte) *sip.Response {
	res := c.phone.response(req, sip.StatusOK, sessionTimer(req)...)
	res.AppendHeader(c.phone.contactHeader())
	if len(body) > 0 {
		res.AppendHeader(sip.NewHeader("Content-Type", sdpType))
		res.SetBody(body)
	}
	return res
}

// sessionTimer agrees to a session timer (RFC 4028) if the far end does the refreshing; otherwise it is left out.
func sessionTimer(req *sip.Request) []sip.Header {
	h := req.GetHeader("Session-Expires")
	if h == nil {
		h = req.GetHeader("x")
	}
	if h == nil || !lists(req, "timer", "Supported", "k", "Require") {
		return nil
	}
	value, params, _ := strings.Cut(h.Value(), ";")
	value = strings.TrimSpace(value)
	if value == "" || strings.Trim(value, "0123456789") != "" || strings.Contains(strings.ToLower(params), "uas") {
		return nil
	}
	return []sip.Header{
		sip.NewHeader("Session-Expires", value+";refresher=uac"),
		sip.NewHeader("Require", "timer"),
	}
}

// lists reports whether any of the named headers contains an option tag.
func lists(req *sip.Request, tag string, names ...string) bool {
	for _, name := range names {
		for _, h := range req.GetHeaders(name) {
			for option := range strings.SplitSeq(h.Value(), ",") {
				if strings.EqualFold(strings.TrimSpace(option), tag) {
					return true
				}
			}
		}
	}
	return false
}

func isSDP(h *sip.ContentTypeHeader) bool {
	if h == nil {
		return false
	}
	kind, _, _ := strings.Cut(h.Value(), ";")
	return strings.EqualFold(strings.TrimSpace(kind), sdpType)
}
