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

// The bounds of what an AMI connection keeps.
const (
	maxAMIItems   = 20_000   // items of one answer; further ones are counted
	mostAMIPassed = 200_000  // items that are only counted; more of them end the connection
	maxAMIAnswer  = 32 << 20 // bytes of one answer; further items are counted
	maxAMIQueue   = 20_000   // events that nobody has taken yet; further ones are lost, and it is told that they are
)

// ErrAMIRefused says that Asterisk did not let us in, or not do what was asked: the name or the secret is wrong, or rights are missing.
var ErrAMIRefused = errors.New("the Asterisk Manager Interface refuses")

// AMITarget says where AMI listens, and as whom to sign in there. Printed, it shows no secret.
type AMITarget struct {
	Addr    string // host:port
	User    string
	Secret  string
	Timeout time.Duration // of one question; 0 means DefaultTimeout
}

// Format hides the secret from every verb of package fmt.
func (t AMITarget) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.User+"@"+t.Addr) }

// LogValue hides the secret from log/slog.
func (t AMITarget) LogValue() slog.Value { return slog.StringValue(t.User + "@" + t.Addr) }

// AMI is one connection to Asterisk's Manager Interface. It asks what a user with read=system,call and write=reporting may ask, and
// changes nothing. It is safe for concurrent use.
type AMI struct {
	conn    net.Conn
	timeout time.Duration
	prefix  string // of action ids; nobody else knows it
	reading sync.WaitGroup

	mu      sync.Mutex // guards what follows, and keeps actions whole on the wire
	asked   int
	waiting map[string]*question
	events  []Event
	lost    bool          // there were more of them
	fault   error         // why the connection has ended; nil while it has not
	ended   chan struct{} // closed when fault is set
	more    chan struct{} // holds a token when there are events
}

// question waits for its answer.
type question struct {
	action string
	answer answer
	list   bool // the first packet announced a list
	bytes  int
	done   chan struct{}
}

// answer is what came back: the first packet, and the items of a list.
type answer struct {
	response packet
	items    []packet
	more     int // items there was no room for
}

// DialAMI connects and signs in. From then on events are kept until they are taken.
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
		return fmt.Errorf("nobody listens at %s: Asterisk is not running, or its Manager Interface is not enabled (manager.conf): %w", addr, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s does not answer in time: %w", addr, err)
	}
	return fmt.Errorf("cannot reach the Asterisk Manager Interface: %w", err)
}

// login proves that we know the secret without sending it, and subscribes to the events of registrations and calls.
func (a *AMI) login(ctx context.Context, target AMITarget) error {
	got, err := a.ask(ctx, []field{{"Action", "Challenge"}, {"AuthType", "MD5"}})
	if err != nil {
		return err
	}
	sum := md5.Sum([]byte(got[0].response.get("Challenge") + target.Secret)) //nolint:gosec // as above
	_, err = a.ask(ctx, []field{
		{"Action", "Login"}, {"AuthType", "MD5"}, {"Username", target.User}, {"Key", hex.EncodeToString(sum[:])}, {"Events", "system,call"},
	})
	return err
}

// Close ends the connection and returns when nothing of it is left.
func (a *AMI) Close() {
	a.fail(errors.New("the connection was closed"))
	a.reading.Wait()
}

// Events gives what Asterisk told since it was asked last, in its order, and waits where that is nothing. After the last event of a
// connection that has ended comes the error.
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

// read takes packets until the connection ends. It never waits for anybody: Asterisk drops who does not read.
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

// take puts a packet where it belongs.
func (a *AMI) take(p packet) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id := p.get("ActionID"); id != "" {
		q := a.waiting[id]
		if q == nil { // of a question that was given up
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
	if len(a.events) >= maxAMIQueue { // ending the connection would only have all of it told once more
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

// take adds a packet to the answer, and reports whether that was the last.
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

// ask sends all actions at once and gives their answers in the same order. A refusal is an ErrAMIRefused. Asterisk answers in order, so an
// answer that does not come in time ends the connection.
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
			case <-q.done: // the answer came just before the end, as that to a refused login does
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

// send puts actions on the wire and gives the questions that wait for their answers.
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
	// One Write is never torn by another (net.Conn), and must not hold up the reader, which takes the lock.
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
