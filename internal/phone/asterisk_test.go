package phone_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/phone"
)

// patience bounds a test that has stopped making progress.
const patience = 20 * time.Second

// exchange is an Asterisk with extensions, and the phones a test plugs into it.
type exchange struct {
	server  *lab.Asterisk
	control *asterisk.Control
}

// extension is what pjsip.conf says about a number.
type extension struct {
	number     string
	callerID   string
	algorithms string // supported_algorithms_uas
	options    string // more lines of the endpoint
	aor        string // more lines of the aor
}

func secretOf(number string) string { return "secret of " + number }

func newExchange(t *testing.T, extensions ...extension) exchange {
	t.Helper()
	x := exchange{server: labtest.Asterisk(t)}
	x.control = x.server.Control()

	var endpoints, routing strings.Builder
	routing.WriteString("[synergy-internal]\n")
	for _, e := range extensions {
		if e.algorithms == "" {
			e.algorithms = "MD5"
		}
		if e.callerID == "" {
			e.callerID = fmt.Sprintf("%q <%s>", "Phone "+e.number, e.number)
		}
		fmt.Fprintf(&endpoints, `[%[1]s]
type=endpoint
context=synergy-internal
disallow=all
allow=ulaw,alaw
auth=%[1]s
aors=%[1]s
callerid=%[2]s
direct_media=no
rtp_symmetric=yes
%[5]s

[%[1]s]
type=auth
auth_type=digest
username=%[1]s
password=%[3]s
supported_algorithms_uas=%[4]s

[%[1]s]
type=aor
max_contacts=1
remove_existing=yes
%[6]s

`, e.number, e.callerID, secretOf(e.number), e.algorithms, e.options, e.aor)
		fmt.Fprintf(&routing, "exten => %[1]s,1,Dial(PJSIP/%[1]s,25)\n same => n,Hangup()\n", e.number)
	}
	routing.WriteString("exten => 600,1,Answer()\n same => n,Echo()\n")
	write(t, filepath.Join(x.server.ConfigDir, "pjsip.d/synergycall/generated_endpoints.conf"), endpoints.String())
	write(t, filepath.Join(x.server.ConfigDir, "extensions.d/synergycall/generated_routing.conf"), routing.String())
	x.run(t, "module reload res_pjsip.so")
	x.run(t, "dialplan reload")
	return x
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (x exchange) run(t *testing.T, command string) string {
	t.Helper()
	reply, err := x.control.Run(within(t), command)
	if err != nil {
		t.Fatal(err)
	}
	return reply.Stdout
}

// plug returns an unregistered phone of a number.
func (x exchange) plug(t *testing.T, number, secret string) *phone.Phone {
	t.Helper()
	p, err := phone.New(phone.Config{
		Server: x.server.SIPAddr,
		Number: number,
		Secret: secret,
		Name:   "not what the exchange says",
		Log:    logTo(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("cannot close phone %s: %v", number, err)
		}
	})
	return p
}

// registered is plug and Register in one.
func (x exchange) registered(t *testing.T, number string) *phone.Phone {
	t.Helper()
	p := x.plug(t, number, secretOf(number))
	if err := p.Register(within(t), time.Minute); err != nil {
		t.Fatal(err)
	}
	return p
}

// connect lets one phone call another, which accepts.
func connect(t *testing.T, caller, callee *phone.Phone) (out, in *phone.Call) {
	t.Helper()
	out, err := caller.Dial(within(t), callee.Number())
	if err != nil {
		t.Fatal(err)
	}
	in, err = callee.Incoming(within(t))
	if err != nil {
		t.Fatal(err)
	}
	await(t, "ringing", out.Ringing())
	if err := in.Accept(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := out.Answered(within(t)); err != nil {
		t.Fatal(err)
	}
	return out, in
}

// talk plays a tone of its own in each direction at once and returns what each
// end heard meanwhile.
func talk(t *testing.T, out, in *phone.Call, d time.Duration) (heardOut, heardIn phone.PCM) {
	t.Helper()
	ctx := within(t)
	errs := make(chan error, 4)
	for call, hz := range map[*phone.Call]float64{out: 440, in: 880} {
		go func() { errs <- call.Play(ctx, phone.Tone{Hz: hz, Duration: d + 500*time.Millisecond}.PCM()) }()
	}
	record := func(c *phone.Call, into *phone.PCM) {
		// What is under way when the tones begin is silence.
		_, err := c.Record(ctx, 200*time.Millisecond)
		if err == nil {
			*into, err = c.Record(ctx, d)
		}
		errs <- err
	}
	go record(out, &heardOut)
	go record(in, &heardIn)
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	return heardOut, heardIn
}

// expectTones checks what two ends heard of talk.
func expectTones(t *testing.T, heardOut, heardIn phone.PCM) {
	t.Helper()
	for _, end := range []struct {
		name            string
		heard           phone.PCM
		expected, other float64
	}{
		{"caller", heardOut, 880, 440},
		{"callee", heardIn, 440, 880},
	} {
		if s := phone.Strength(end.heard, end.expected); s < 0.9 {
			t.Errorf("the %s heard %.0f Hz with strength %.3f, expected more than 0.9", end.name, end.expected, s)
		}
		if s := phone.Strength(end.heard, end.other); s > 0.02 {
			t.Errorf("the %s heard %.0f Hz, its own tone, with strength %.3f", end.name, end.other, s)
		}
	}
}

// hungUp hangs up one end and waits for the other.
func hungUp(t *testing.T, first, second *phone.Call) {
	t.Helper()
	if err := first.Hangup(within(t)); err != nil {
		t.Fatal(err)
	}
	await(t, "the other end to notice the end", second.Done())
	for _, c := range []*phone.Call{first, second} {
		if err := c.Err(); err != nil {
			t.Errorf("a proper end left an error: %v", err)
		}
	}
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-within(t).Done():
		t.Fatalf("waited in vain for %s", what)
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func statusOf(err error) int {
	var status *phone.StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	return 0
}

func logTo(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestTwoExtensionsTalk(t *testing.T) {
	t.Parallel()
	x := newExchange(t, extension{number: "1000"}, extension{number: "1001"})
	anna, bert := x.registered(t, "1000"), x.registered(t, "1001")

	begin := time.Now()
	out, in := connect(t, anna, bert)
	t.Logf("answered after %s", time.Since(begin))
	if want := (phone.Party{Name: "Phone 1000", Number: "1000"}); in.From() != want {
		t.Errorf("the callee sees %v, expected %v", in.From(), want)
	}
	heardOut, heardIn := talk(t, out, in, time.Second)
	expectTones(t, heardOut, heardIn)
	hungUp(t, out, in)
	t.Logf("a full call took %s", time.Since(begin))

	for _, c := range []*phone.Call{out, in} {
		if r := c.Heard(); r.Lost != 0 || r.Packets < 60 || len(r.PCM) != r.Packets*160 {
			t.Errorf("heard %d packets with %d samples, %d lost; expected 60 or more of 160 samples, none lost", r.Packets, len(r.PCM), r.Lost)
		}
	}

	// The other way round, ended by the called one.
	out, in = connect(t, bert, anna)
	hungUp(t, in, out)
}

func TestRegistrationNeedsTheSecret(t *testing.T) {
	t.Parallel()
	x := newExchange(t,
		extension{number: "1000", algorithms: "MD5"},
		extension{number: "1001", algorithms: "SHA-256"},
		extension{number: "1002", algorithms: "SHA-256,MD5"},
		extension{number: "1003", algorithms: "MD5,SHA-256"})
	for _, number := range []string{"1000", "1001", "1002", "1003"} {
		p := x.plug(t, number, secretOf(number))
		if err := p.Register(within(t), time.Minute); err != nil {
			t.Errorf("%s with its secret: %v", number, err)
		}
		if all := x.run(t, "pjsip show contacts"); !strings.Contains(all, p.Contact()) {
			t.Errorf("Asterisk does not show %s:\n%s", p.Contact(), all)
		}
		wrong := x.plug(t, number, "guessed")
		if err := wrong.Register(within(t), time.Minute); statusOf(err) != 401 {
			t.Errorf("%s with a wrong secret: %v, expected status 401", number, err)
		}
	}
	unknown := x.plug(t, "4711", "guessed")
	if err := unknown.Register(within(t), time.Minute); statusOf(err) != 401 {
		t.Errorf("an unknown number: %v, expected status 401", err)
	}
	if _, err := unknown.Call(within(t), "1000"); statusOf(err) != 401 {
		t.Errorf("a call of an unknown number: %v, expected status 401", err)
	}
}

func TestSecondPhoneReplacesTheFirst(t *testing.T) {
	t.Parallel()
	x := newExchange(t, extension{number: "1000"}, extension{number: "1001"})
	caller := x.registered(t, "1000")
	first := x.registered(t, "1001")
	second := x.registered(t, "1001")
	if first.Contact() == second.Contact() {
		t.Fatal("both phones have the same address")
	}
	contacts, err := first.Contacts(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(contacts, []string{second.Contact()}) {
		t.Errorf("registered at %q, expected only the second phone %s", contacts, second.Contact())
	}
	out, in := connect(t, caller, second)
	hungUp(t, out, in)

	if err := second.Unregister(within(t)); err != nil {
		t.Fatal(err)
	}
	if contacts, err = first.Contacts(within(t)); err != nil || len(contacts) != 0 {
		t.Errorf("registered at %q, %v, expected nowhere", contacts, err)
	}
}

func TestAFailedCallReportsTheReason(t *testing.T) {
	t.Parallel()
	x := newExchange(t, extension{number: "1000"}, extension{number: "1001"}, extension{number: "1002"})
	anna, bert := x.registered(t, "1000"), x.registered(t, "1001")

	if _, err := anna.Call(within(t), "9999"); statusOf(err) != 404 {
		t.Errorf("a number that does not exist: %v, expected status 404", err)
	}
	// Dial finds no contact, which Asterisk reports with the same cause.
	if _, err := anna.Call(within(t), "1002"); statusOf(err) != 404 {
		t.Errorf("a number without a phone: %v, expected status 404", err)
	}
	// Between the legs Asterisk keeps causes, not statuses: 603 becomes "rejected".
	for code, told := range map[int]int{486: 486, 480: 480, 603: 403} {
		out, err := anna.Dial(within(t), "1001")
		if err != nil {
			t.Fatal(err)
		}
		in, err := bert.Incoming(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Reject(code); err != nil {
			t.Fatal(err)
		}
		if err := out.Answered(within(t)); statusOf(err) != told {
			t.Errorf("rejected with %d, the caller got: %v, expected status %d", code, err, told)
		}
		if err := in.Accept(within(t)); err == nil {
			t.Error("a rejected call could be accepted")
		}
	}
}

func TestCallCancelledWhileItRings(t *testing.T) {
	t.Parallel()
	x := newExchange(t, extension{number: "1000"}, extension{number: "1001"})
	anna, bert := x.registered(t, "1000"), x.registered(t, "1001")

	for _, how := range []string{"context", "hangup"} {
		ctx, cancel := context.WithCancel(within(t))
		defer cancel()
		out, err := anna.Dial(ctx, "1001")
		if err != nil {
			t.Fatal(err)
		}
		in, err := bert.Incoming(within(t))
		if err != nil {
			t.Fatal(err)
		}
		await(t, "ringing", out.Ringing())
		want := phone.ErrCanceled
		if how == "context" {
			want = context.Canceled
			cancel()
		} else if err := out.Hangup(within(t)); err != nil {
			t.Fatal(err)
		}
		await(t, "the end at the callee", in.Done())
		await(t, "the end at the caller", out.Done())
		if !errors.Is(out.Err(), want) {
			t.Errorf("%s: the caller's end says %v, expected %v", how, out.Err(), want)
		}
		if !errors.Is(in.Err(), phone.ErrCanceled) {
			t.Errorf("%s: the callee's end says %v, expected %v", how, in.Err(), phone.ErrCanceled)
		}
		if err := in.Accept(within(t)); !errors.Is(err, phone.ErrCanceled) {
			t.Errorf("%s: accepting a call given up: %v", how, err)
		}
	}
}

func TestAsteriskMovesTheSoundBetweenThePhones(t *testing.T) {
	t.Parallel()
	options := "direct_media=yes\ndirect_media_method=invite"
	x := newExchange(t, extension{number: "1000", options: options}, extension{number: "1001", options: options})
	anna, bert := x.registered(t, "1000"), x.registered(t, "1001")
	out, in := connect(t, anna, bert)
	heardOut, heardIn := talk(t, out, in, time.Second/2)
	expectTones(t, heardOut, heardIn)

	// Proof that the sound goes past Asterisk: it still flows while Asterisk
	// stands still. How soon the re-INVITEs are through is Asterisk's business.
	direct := false
	for end := within(t); !direct && end.Err() == nil; {
		if err := x.server.Suspend(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(end, 500*time.Millisecond)
		_, err := in.Record(ctx, 200*time.Millisecond)
		if err == nil {
			_, err = out.Record(ctx, 200*time.Millisecond)
		}
		cancel()
		direct = err == nil
		if err := x.server.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	if !direct {
		t.Error("the sound never went directly from phone to phone")
	}
	hungUp(t, in, out)
}

func TestNamesSurviveTheWay(t *testing.T) {
	t.Parallel()
	for i, name := range []string{`Łukasz "Luke" O'Neill`, `back\slash`, `a, b <c>`} {
		x := newExchange(t,
			extension{number: "1000", callerID: `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" <1000>`},
			extension{number: "1001"})
		anna, bert := x.registered(t, "1000"), x.registered(t, "1001")
		out, in := connect(t, anna, bert)
		if got := in.From(); got.Name != name || got.Number != "1000" {
			t.Errorf("%d: the callee sees %+v, expected %q", i, got, name)
		}
		hungUp(t, out, in)
	}
}

func TestEchoComesBack(t *testing.T) {
	t.Parallel()
	x := newExchange(t, extension{number: "1000"}, extension{number: "1001", options: "disallow=all\nallow=alaw"})
	for _, number := range []string{"1000", "1001"} {
		p := x.registered(t, number)
		call, err := p.Call(within(t), "600")
		if err != nil {
			t.Fatal(err)
		}
		played := make(chan error, 1)
		go func() { played <- call.Play(within(t), phone.Tone{Hz: 1000, Duration: time.Second}.PCM()) }()
		if _, err := call.Record(within(t), 200*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		heard, err := call.Record(within(t), 500*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if s := phone.Strength(heard, 1000); s < 0.9 {
			t.Errorf("%s: the echo has strength %.3f", number, s)
		}
		if err := <-played; err != nil {
			t.Error(err)
		}
		// Asterisk ends the call.
		x.run(t, "channel request hangup all")
		await(t, "the end", call.Done())
		if err := call.Play(within(t), phone.Tone{Hz: 1000, Duration: time.Second}.PCM()); !errors.Is(err, phone.ErrEnded) {
			t.Errorf("playing into a call that is over: %v", err)
		}
	}
}

func TestQualifyFindsThePhone(t *testing.T) {
	t.Parallel()
	x := newExchange(t, extension{number: "1000", aor: "qualify_frequency=1"})
	p := x.registered(t, "1000")
	ctx := within(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		all := x.run(t, "pjsip show contacts")
		if strings.Contains(all, p.Contact()) && strings.Contains(all, " Avail ") {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the phone was never reachable:\n%s", all)
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	x := newExchange(t, extension{number: "1000"}, extension{number: "1001"})
	anna, bert := x.registered(t, "1000"), x.registered(t, "1001")
	out, in := connect(t, anna, bert)
	waiting := make(chan error, 1)
	go func() {
		_, err := anna.Incoming(t.Context())
		waiting <- err
	}()
	if err := anna.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "the end at the callee", in.Done())
	await(t, "the end at the caller", out.Done())
	if err := <-waiting; !errors.Is(err, phone.ErrClosed) {
		t.Errorf("waiting for a call: %v, expected %v", err, phone.ErrClosed)
	}
	for name, err := range map[string]error{
		"Register": anna.Register(within(t), time.Minute),
		"Call":     func() error { _, err := anna.Call(within(t), "1001"); return err }(),
		"Close":    anna.Close(),
	} {
		if name != "Close" && !errors.Is(err, phone.ErrClosed) || name == "Close" && err != nil {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}
