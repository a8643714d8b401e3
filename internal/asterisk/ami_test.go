package asterisk_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

// dial signs in, and closes when the test ends.
func dial(t testing.TB, target asterisk.AMITarget) *asterisk.AMI {
	t.Helper()
	a, err := asterisk.DialAMI(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// scriptedAMI serves each connection by one function.
func scriptedAMI(t *testing.T, serve func(in *bufio.Reader, out net.Conn)) asterisk.AMITarget {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(bufio.NewReader(conn), conn)
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	return asterisk.AMITarget{Addr: listener.Addr().String(), User: "portal", Secret: "canary", Timeout: 5 * time.Second}
}

// action reads one action and returns its fields.
func action(in *bufio.Reader) map[string]string {
	fields := map[string]string{}
	for {
		line, err := in.ReadString('\n')
		name, value, found := strings.Cut(strings.TrimSpace(line), ": ")
		if err != nil || !found {
			return fields
		}
		fields[name] = value
	}
}

// letIn sends a greeting, and accepts any secret.
func letIn(in *bufio.Reader, out net.Conn) {
	fmt.Fprint(out, "Asterisk Call Manager/11.0.0\r\n")
	for _, more := range []string{"Challenge: 1\r\n", ""} {
		fmt.Fprintf(out, "Response: Success\r\nActionID: %s\r\n%s\r\n", action(in)["ActionID"], more)
	}
}

func TestAManagerThatDoesNotAnswerTimesOut(t *testing.T) {
	t.Parallel()
	hang := func(in *bufio.Reader) { _, _ = in.ReadString('\x00') }
	for name, serve := range map[string]func(*bufio.Reader, net.Conn){
		"no greeting":  func(in *bufio.Reader, _ net.Conn) { hang(in) },
		"no challenge": func(in *bufio.Reader, out net.Conn) { fmt.Fprint(out, "Asterisk Call Manager/11.0.0\r\n"); hang(in) },
	} {
		target := scriptedAMI(t, serve)
		target.Timeout = soon
		if _, err := asterisk.DialAMI(t.Context(), target); err == nil {
			t.Errorf("%s: it signed in", name)
		}
	}
	target := scriptedAMI(t, func(in *bufio.Reader, out net.Conn) { letIn(in, out); hang(in) })
	target.Timeout = 10 * soon
	a := dial(t, target)
	if _, _, err := a.Channels(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if _, err := a.Events(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("then the connection is of no use: %v", err)
	}
}

func TestNothingIsSentToAServerThatIsNotAManager(t *testing.T) {
	t.Parallel()
	for _, greeting := range []string{"SSH-2.0-OpenSSH_9\r\n", "\x00\x01\x02\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "", strings.Repeat("x", 3<<20)} {
		sent := make(chan string, 1)
		target := scriptedAMI(t, func(in *bufio.Reader, out net.Conn) {
			fmt.Fprint(out, greeting)
			_ = out.(*net.TCPConn).CloseWrite()
			text, _ := in.ReadString(0)
			sent <- text
		})
		if _, err := asterisk.DialAMI(t.Context(), target); err == nil {
			t.Errorf("%.20q: it signed in", greeting)
		}
		if text := <-sent; text != "" {
			t.Errorf("%.20q was told %q", greeting, text)
		}
	}
}

// If an overflow ended the connection, all events would be sent again after each reconnection.
func TestUnreadEventsAreKeptUpToALimitAndTheLossOfOthersIsReported(t *testing.T) {
	t.Parallel()
	a := dial(t, scriptedAMI(t, func(in *bufio.Reader, out net.Conn) {
		letIn(in, out)
		id := action(in)["ActionID"]
		fmt.Fprint(out, strings.Repeat("Event: Reload\r\n\r\n", 50_000))
		fmt.Fprintf(out, "Response: Success\r\nActionID: %s\r\nEventList: start\r\n\r\nEvent: CoreShowChannelsComplete\r\nActionID: %s\r\nEventList: Complete\r\nListItems: 0\r\n\r\n", id, id)
		_, _ = in.ReadByte() // until the other end has gone
	}))
	if _, _, err := a.Channels(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, err := a.Events(t.Context())
	if err != nil || len(events) != 20_001 || events[19_999].Kind != asterisk.EventReloaded || events[20_000].Kind != asterisk.EventLost {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func TestAnOverlongListIsReturnedInPartWithTheNumberOfTheRest(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("x", 2000)
	if testing.Short() { // the race detector needs seconds to read that much
		data = data[:100]
	}
	a := dial(t, scriptedAMI(t, func(in *bufio.Reader, out net.Conn) {
		letIn(in, out)
		id := action(in)["ActionID"]
		fmt.Fprintf(out, "Response: Success\r\nActionID: %s\r\nEventList: start\r\n\r\n", id)
		item := fmt.Sprintf("Event: CoreShowChannel\r\nActionID: %s\r\nUniqueid: 1\r\nApplicationData: %s\r\n\r\n", id, data)
		for range 23 {
			fmt.Fprint(out, strings.Repeat(item, 1000))
		}
		fmt.Fprintf(out, "Event: CoreShowChannelsComplete\r\nActionID: %s\r\nEventList: Complete\r\nListItems: 23000\r\n\r\n", id)
		_, _ = in.ReadByte() // until the other end has gone
	}))
	if channels, more, err := a.Channels(t.Context()); err != nil || len(channels) != 20_000 || more != 3000 {
		t.Errorf("%d channels and %d more, %v", len(channels), more, err)
	}
}

func TestAnEndlessListIsAnError(t *testing.T) {
	t.Parallel()
	target := scriptedAMI(t, func(in *bufio.Reader, out net.Conn) {
		letIn(in, out)
		id := action(in)["ActionID"]
		fmt.Fprintf(out, "Response: Success\r\nActionID: %s\r\nEventList: start\r\n\r\n", id)
		item := fmt.Sprintf("Event: CoreShowChannel\r\nActionID: %s\r\nUniqueid: 1\r\n\r\n", id)
		for {
			if _, err := fmt.Fprint(out, strings.Repeat(item, 1000)); err != nil {
				return
			}
		}
	})
	target.Timeout = time.Minute // the test is about the length: under the race detector so many items take long
	a := dial(t, target)
	if _, _, err := a.Channels(t.Context()); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("it ended with %v", err)
	}
}

func TestTheSecretIsNeitherSentNorPrinted(t *testing.T) {
	t.Parallel()
	sent := make(chan map[string]string, 2)
	target := scriptedAMI(t, func(in *bufio.Reader, out net.Conn) {
		fmt.Fprint(out, "Asterisk Call Manager/11.0.0\r\n")
		first := action(in)
		fmt.Fprintf(out, "Response: Success\r\nActionID: %s\r\nChallenge: 12345\r\n\r\n", first["ActionID"])
		second := action(in)
		sent <- first
		sent <- second
		fmt.Fprintf(out, "Response: Error\r\nActionID: %s\r\nMessage: Authentication failed\r\n\r\n", second["ActionID"])
	})
	_, err := asterisk.DialAMI(t.Context(), target)
	if !errors.Is(err, asterisk.ErrAMIRefused) {
		t.Errorf("refused with %v", err)
	}
	all := fmt.Sprintf("%v %v %v %+v %#v %s %q", err, <-sent, <-sent, target, target, target, []asterisk.AMITarget{target})
	if strings.Contains(all, "canary") || !strings.Contains(all, "portal@127.0.0.1:") {
		t.Errorf("%s", all)
	}
}

func TestAnActionWithAMaliciousUserNameIsNotSent(t *testing.T) {
	t.Parallel()
	target := scriptedAMI(t, letIn)
	target.User = "portal\r\nAction: Originate"
	if _, err := asterisk.DialAMI(t.Context(), target); !errors.Is(err, asterisk.ErrCommand) {
		t.Errorf("%v", err)
	}
}

// withManagers returns an Asterisk with one manager user for each set of rights, read and write.
func withManagers(t *testing.T, rights ...[2]string) (*lab.Asterisk, []asterisk.AMITarget) {
	t.Helper()
	a := labtest.Asterisk(t, lab.AsteriskOptions{Modules: []string{"res_clioriginate.so"}})
	name := filepath.Join(a.ConfigDir, "manager.conf")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var targets []asterisk.AMITarget
	for i, r := range rights {
		user := fmt.Sprintf("user%d", i)
		text = fmt.Appendf(text, "[%s]\nsecret = s%d\nread = %s\nwrite = %s\n", user, i, r[0], r[1])
		targets = append(targets, asterisk.AMITarget{Addr: a.AMI.Addr, User: user, Secret: fmt.Sprintf("s%d", i)})
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if reply, err := a.Control().Run(t.Context(), "manager reload"); err != nil || reply.Fault != "" {
		t.Fatal(reply, err)
	}
	return a, targets
}

func TestTheRightsAreTheLeastThatSuffice(t *testing.T) {
	t.Parallel()
	a, users := withManagers(t, [2]string{"system,call", "reporting"}, [2]string{"system,call", ""}, [2]string{"call", "reporting"}, [2]string{"system", "reporting"})
	fill(t, a, 1)
	booted := func(m *asterisk.AMI) bool {
		limited, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		events, err := m.Events(limited)
		return err == nil && slices.Contains(events, asterisk.Event{Kind: asterisk.EventBooted})
	}
	all := func(m *asterisk.AMI) (err error) {
		_, _, one := m.Registrations(t.Context())
		_, _, two := m.Channels(t.Context())
		_, three := m.Version(t.Context())
		_, five := m.Switches(t.Context())
		_, four := m.States(t.Context(), []asterisk.Registered{{ID: "1000;@9e276a1fa02b232060229eec71e2a728"}})
		return errors.Join(one, two, three, four, five)
	}
	enough := dial(t, users[0])
	if err := all(enough); err != nil || !booted(enough) {
		t.Errorf("read=system,call write=reporting: %v", err)
	}
	if err := all(dial(t, users[1])); !errors.Is(err, asterisk.ErrAMIRefused) {
		t.Errorf("without write=reporting: %v", err)
	}
	if booted(dial(t, users[2])) {
		t.Error("without read=system Asterisk tells of its start, and so of registrations")
	}

	// Events of a call are sent only to users with read=call.
	without := dial(t, users[3])
	if !booted(without) {
		t.Error("without read=call")
	}
	if _, err := a.Control().Run(t.Context(), "channel originate Local/1000@synergy-internal application Wait 1"); err != nil {
		t.Fatal(err)
	}
	seen := false
	for !seen {
		limited, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		events, err := enough.Events(limited)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		seen = slices.ContainsFunc(events, func(e asterisk.Event) bool { return e.Kind == asterisk.EventChannelNew })
	}
	quiet, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if events, err := without.Events(quiet); err == nil {
		t.Errorf("without read=call it hears %+v", events)
	}
}

// Harmful actions, as with a stolen secret, must be refused.
func TestTheRightsAllowNoChange(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	conn, err := net.Dial("tcp", a.AMI.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	_, _ = in.ReadString('\n')
	fmt.Fprintf(conn, "Action: Login\r\nUsername: %s\r\nSecret: %s\r\nEvents: off\r\n\r\n", a.AMI.User, a.AMI.Secret)
	if got := action(in); got["Response"] != "Success" {
		t.Fatalf("login: %v", got)
	}
	for _, harm := range []string{
		"Originate\r\nChannel: Local/s@default\r\nApplication: System\r\nData: true", "Command\r\nCommand: core show version",
		"UpdateConfig\r\nSrcFilename: a\r\nDstFilename: a", "GetConfig\r\nFilename: manager.conf", "Reload\r\nModule: res_pjsip.so",
		"ModuleLoad\r\nModule: chan_pjsip.so\r\nLoadType: unload", "DBPut\r\nFamily: registrar\r\nKey: x\r\nVal: y", "DBDel\r\nFamily: registrar\r\nKey: x",
		"DialplanExtensionAdd\r\nContext: synergy-internal\r\nExtension: 666\r\nPriority: 1\r\nApplication: System\r\nApplicationData: true",
		"PJSIPShowAuths", "PJSIPShowEndpoint\r\nEndpoint: 1000", "Hangup\r\nChannel: /.*/", "Redirect\r\nChannel: x", "Setvar\r\nVariable: x\r\nValue: y",
	} {
		fmt.Fprintf(conn, "Action: %s\r\n\r\n", harm)
		if got := action(in); got["Response"] != "Error" || got["Message"] != "Permission denied" {
			t.Errorf("%q is answered with %v", harm, got)
		}
	}
}

func TestTheRightsOfAManagerUserAreQueriedThroughTheControlSocket(t *testing.T) {
	t.Parallel()
	a, users := withManagers(t, [2]string{"call,security", "command,originate"}, [2]string{"", ""})
	for user, want := range map[string]*asterisk.Rights{
		a.AMI.User:    {Read: []string{"system", "call", "user"}, Write: []string{"reporting"}},
		users[0].User: {Read: []string{"call", "security"}, Write: []string{"command", "originate"}},
		users[1].User: {Read: []string{"none"}, Write: []string{"none"}},
		"nobody":      nil,
	} {
		got, err := a.Control().ManagerRights(t.Context(), user)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", user, err, diff)
		}
	}
	if _, err := a.Control().ManagerRights(t.Context(), "a b"); !errors.Is(err, asterisk.ErrCommand) {
		t.Errorf("a name with a blank: %v", err)
	}
}

func TestAManagerConnectionServesConcurrentCallers(t *testing.T) {
	t.Parallel()
	a := dial(t, labtest.Asterisk(t).AMI)
	var asking sync.WaitGroup
	for range 40 {
		asking.Go(func() {
			version, err := a.Version(t.Context())
			channels, _, chErr := a.Channels(t.Context())
			if err != nil || chErr != nil || !strings.HasPrefix(version, "22.") || len(channels) != 0 {
				t.Errorf("%s, %v, %v", version, err, chErr)
			}
		})
	}
	asking.Wait()
}
