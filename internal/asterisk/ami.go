package asterisk

import (
	"context"
	"crypto/md5" //nolint:gosec // the only digest AMI knows; it keeps the secret off the wire, no more
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Limits of an AMI connection.
const (
	maxAMIItems   = 20_000   // items of one answer; further ones are only counted
	mostAMIPassed = 200_000  // counted items; more of them end the connection
	maxAMIAnswer  = 32 << 20 // bytes of one answer; further items are only counted
	maxAMIQueue   = 20_000   // unread events; further ones are dropped, which is reported
)

// ErrAMIRefused means that Asterisk refused the login or an action: the name or the secret is wrong, or permissions are missing.
var ErrAMIRefused = errors.New("the Asterisk Manager Interface refuses")

// AMITarget is the address of AMI and the user to sign in as. Its printed form contains no secret.
type AMITarget struct {
	Addr    string // host:port
	User    string
	Secret  string
	Timeout time.Duration // of one action; 0 means DefaultTimeout
}

// Format hides the secret from every verb of package fmt.
func (t AMITarget) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.User+"@"+t.Addr) }

// LogValue hides the secret from log/slog.
func (t AMITarget) LogValue() slog.Value { return slog.StringValue(t.User + "@" + t.Addr) }

// AMI is a connection to Asterisk's Manager Interface. It only queries, with the permissions read=system,call,user and write=reporting. It is safe for
// concurrent use.
type AMI struct {
	conn    net.Conn
	timeout time.Duration
	prefix  string // of action ids; unpredictable for others
	reading sync.WaitGroup

	mu      sync.Mutex // guards the fields below, and keeps actions contiguous on the wire
	asked   int
	waiting map[string]*question
	events  []Event
	lost    bool          // some were dropped
	fault   error         // why the connection has ended; nil while it is up
	ended   chan struct{} // closed when fault is set
	more    chan struct{} // holds a token when there are events
}

// question is an action that waits for its answer.
type question struct {
	action string
	answer answer
	list   bool // the first packet announced a list
	bytes  int
	done   chan struct{}
}

// answer is the response to an action: the first packet, and the items of a list.
type answer struct {
	response packet
	items    []packet
	more     int // number of dropped items
}

// DialAMI connects and signs in. From then on events are queued until they are read.
func DialAMI(ctx context.Context, target AMITarget) (*AMI, error) {
	if target.Timeout == 0 {
		target.Timeout = DefaultTimeout
	}
	limited, cancel := context.WithTimeout(ctx, target.Timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(limited, "tcp", target.Addr)
	if err != nil {
		return nil, notReached(target.Addr, err)
	}
	a := &AMI{
		conn: conn, timeout: target.Timeout, prefix: rand.Text()[:10] + "-",
		waiting: map[string]*question{}, ended: make(chan struct{}), more: make(chan struct{}, 1),
	}
	in := newWire(conn)
	stop := context.AfterFunc(limited, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	err = in.greeting()
	if !stop() && err == nil {
		err = limited.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("cannot speak to the Asterisk Manager Interface at %s: %w", target.Addr, err)
	}
	a.reading.Go(func() { a.read(in) })
	if err := a.login(ctx, target); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// notReached explains why there is no connection.
func notReached(addr string, err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no process listens at %s: Asterisk is not running, or its Manager Interface is not enabled (manager.conf): %w", addr, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s does not answer in time: %w", addr, err)
	}
	return fmt.Errorf("cannot reach the Asterisk Manager Interface: %w", err)
}

// login signs in by challenge and response, without sending the secret, and subscribes to the events of registrations, calls
// and feature codes.
func (a *AMI) login(ctx context.Context, target AMITarget) error {
	got, err := a.ask(ctx, []field{{"Action", "Challenge"}, {"AuthType", "MD5"}})
	if err != nil {
		return err
	}
	sum := md5.Sum([]byte(got[0].response.get("Challenge") + target.Secret)) //nolint:gosec // as above
	_, err = a.ask(ctx, []field{
		{"Action", "Login"}, {"AuthType", "MD5"}, {"Username", target.User}, {"Key", hex.EncodeToString(sum[:])}, {"Events", "system,call,user"},
	})
	return err
}

// Close ends the connection and returns when its goroutines have ended.
func (a *AMI) Close() {
	a.fail(errors.New("the connection was closed"))
	a.reading.Wait()
}

// Events returns the queued events in order, and waits if there are none. After the last event of a connection that has ended it returns the error.
func (a *AMI) Events(ctx context.Context) ([]Event, error) {
	for {
		a.mu.Lock()
		events, fault := a.events, a.fault
		if a.lost {
			events = append(events, Event{Kind: EventLost})
		}
		a.events, a.lost = nil, false
		a.mu.Unlock()
		switch {
		case len(events) > 0:
			return events, nil
		case fault != nil:
			return nil, fault
		}
		select {
		case <-a.more:
		case <-a.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// read reads packets until the connection ends. It never blocks on a consumer: Asterisk disconnects clients that do not read.
func (a *AMI) read(in *wire) {
	for {
		p, err := in.packet()
		if err == nil {
			err = a.take(p)
		}
		if err != nil {
			a.fail(fmt.Errorf("the connection to the Asterisk Manager Interface has ended: %w", err))
			return
		}
	}
}

// take adds a packet to the answer or the event queue it belongs to.
func (a *AMI) take(p packet) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id := p.get("ActionID"); id != "" {
		q := a.waiting[id]
		if q == nil { // of an abandoned action
			return nil
		}
		over, err := q.take(p)
		if over {
			delete(a.waiting, id)
			close(q.done)
		}
		return err
	}
	e, ok := toEvent(p)
	if !ok {
		return nil
	}
	if len(a.events) >= maxAMIQueue { // ending the connection would only repeat all of them
		a.lost = true
		return nil
	}
	a.events = append(a.events, e)
	select {
	case a.more <- struct{}{}:
	default:
	}
	return nil
}

// take adds a packet to the answer, and reports whether it was the last.
func (q *question) take(p packet) (over bool, err error) {
	switch {
	case q.answer.response == nil:
		q.answer.response = p
		q.list = p.get("EventList") == "start"
		return !q.list, nil
	case p.get("EventList") == "Complete":
		if n, err := strconv.Atoi(p.get("ListItems")); err != nil || n != len(q.answer.items)+q.answer.more {
			return false, fmt.Errorf("%w: %d items came, %q were announced", ErrUnparsable, len(q.answer.items)+q.answer.more, p.get("ListItems"))
		}
		return true, nil
	}
	p = p.only(itemFields())
	if q.bytes+p.size() > maxAMIAnswer || len(q.answer.items) >= maxAMIItems {
		if q.answer.more++; q.answer.more > mostAMIPassed {
			return false, fmt.Errorf("%w: a list of more than %d items", errTooLong, mostAMIPassed)
		}
		return false, nil
	}
	q.bytes += p.size()
	q.answer.items = append(q.answer.items, p)
	return false, nil
}

// ask sends all actions at once and returns their answers in the same order. A refusal is an ErrAMIRefused. Asterisk answers in order, so a timeout ends
// the connection.
func (a *AMI) ask(ctx context.Context, actions ...[]field) ([]answer, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		a.fail(fmt.Errorf("the Asterisk Manager Interface did not answer within %v: %w", a.timeout, ctx.Err()))
	})
	defer stop()
	questions, err := a.send(actions)
	if err != nil {
		return nil, err
	}
	answers := make([]answer, len(questions))
	for i, q := range questions {
		select {
		case <-q.done:
		case <-a.ended:
			select {
			case <-q.done: // the answer came just before the end, as for a refused login
			default:
				return nil, a.why()
			}
		}
		answers[i] = q.answer
		if answers[i].response.get("Response") != "Success" {
			return nil, fmt.Errorf("%w %s: %s", ErrAMIRefused, q.action, clip(answers[i].response.get("Message")))
		}
	}
	return answers, nil
}

// send writes actions and returns the questions that wait for their answers.
func (a *AMI) send(actions [][]field) ([]*question, error) {
	a.mu.Lock()
	if a.fault != nil {
		defer a.mu.Unlock()
		return nil, a.fault
	}
	var text []byte
	questions := make([]*question, len(actions))
	for i, fields := range actions {
		a.asked++
		id := a.prefix + strconv.Itoa(a.asked)
		var err error
		if text, err = writeAction(text, append(fields[:len(fields):len(fields)], field{"ActionID", id})); err != nil {
			defer a.mu.Unlock()
			return nil, err
		}
		questions[i] = &question{action: fields[0].value, done: make(chan struct{})}
		a.waiting[id] = questions[i]
	}
	a.mu.Unlock()
	// Concurrent writes do not interleave (net.Conn), and must not hold up the reader, which takes the lock.
	if _, err := a.conn.Write(text); err != nil {
		a.fail(fmt.Errorf("cannot write to the Asterisk Manager Interface: %w", err))
		return nil, a.why()
	}
	return questions, nil
}

func (a *AMI) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fault != nil {
		return
	}
	a.fault = err
	a.waiting = nil
	close(a.ended)
	_ = a.conn.Close()
}

func (a *AMI) why() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fault
}
