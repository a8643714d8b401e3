package asterisk

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// packets reads all packets of a text.
func packets(text string) ([]packet, error) {
	w := newWire(strings.NewReader(text))
	var all []packet
	for {
		p, err := w.packet()
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
}

func TestAPacketIsReadFieldByField(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]packet{
		"A: b\r\n\r\n":                           {{{"A", "b"}}},
		"A: b\n\n":                               {{{"A", "b"}}},
		"\r\n\r\nA:\r\nB-c.d_1:x: y \r\n\r\n":    {{{"A", ""}, {"B-c.d_1", "x: y "}}},
		"A: 1\r\n\r\nB: 2\r\n\r\n":               {{{"A", "1"}}, {{"B", "2"}}},
		"no field\r\n: x\r\nA b: c\r\nA: \r\n\n": {{{"A", ""}}},
		"A: \xff\xfe\x80é\r\n\r\n":               {{{"A", "\ufffdé"}}},
		"A: a\r\nA: b\r\n\r\n":                   {{{"A", "a"}, {"A", "b"}}},
		"junk\r\n\r\n":                           {nil},
	} {
		got, err := packets(text)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(field{})); diff != "" || !errors.Is(err, io.EOF) {
			t.Errorf("%q: %v\n%s", text, err, diff)
		}
	}
}

func TestADuplicateFieldIsNotTrusted(t *testing.T) {
	t.Parallel()
	got, _ := packets("Event: Hangup\r\nCallerIDName: x\r\nUniqueid: 9.9\r\nUniqueid: 1.1\r\n\r\n")
	if id := got[0].get("Uniqueid"); id != "" {
		t.Errorf("the id is %q", id)
	}
	if _, ok := toEvent(got[0]); ok {
		t.Error("the event was taken")
	}
}

func TestAnOverlongLineIsTruncatedAndAnOverlongPacketEndsTheConnection(t *testing.T) {
	t.Parallel()
	got, err := packets("A: " + strings.Repeat("x", 3*maxAMILine) + "\r\nB: 1\r\n\r\n")
	if len(got) != 1 || len(got[0].get("A")) != maxAMILine-3 || got[0].get("B") != "1" || !errors.Is(err, io.EOF) {
		t.Errorf("a long line: %d packets, %v", len(got), err)
	}
	if got, _ := packets(strings.Repeat("A: 1\r\n", 1000) + "\r\n"); len(got) != 1 || len(got[0]) != maxAMIFields {
		t.Errorf("many fields: %d packets", len(got))
	}
	for _, text := range []string{strings.Repeat("A: 1\r\n", maxAMIPacket/5), strings.Repeat("x", 2*maxAMIPacket), strings.Repeat("\r\n", maxAMIPacket)} {
		if got, err := packets(text); len(got) != 0 || !errors.Is(err, errTooLong) {
			t.Errorf("an endless packet: %d packets, %v", len(got), err)
		}
	}
	if _, err := packets("A: b\r\nB"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a line: %v", err)
	}
}

func TestAnIncompleteListProvesNothing(t *testing.T) {
	t.Parallel()
	q := &question{}
	for _, p := range []packet{{{"EventList", "start"}}, {{"Event", "CoreShowChannel"}}} {
		if over, err := q.take(p); over || err != nil {
			t.Fatal(over, err)
		}
	}
	if over, err := q.take(packet{{"EventList", "Complete"}, {"ListItems", "2"}}); over || !errors.Is(err, ErrUnparsable) {
		t.Errorf("one of two: %v, %v", over, err)
	}
	if over, err := q.take(packet{{"EventList", "Complete"}, {"ListItems", "1"}}); !over || err != nil {
		t.Errorf("all of one: %v, %v", over, err)
	}
}

func TestAnActionCannotContainASecondOne(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"a\r\nAction: Originate", "a\nb", "a\rb", "a\x00b"} {
		if _, err := writeAction(nil, []field{{"Action", "Login"}, {"Username", value}}); !errors.Is(err, ErrCommand) {
			t.Errorf("%q: %v", value, err)
		}
	}
	if got, err := writeAction(nil, []field{{"Action", "Ping"}, {"ActionID", "x-1"}}); err != nil || string(got) != "Action: Ping\r\nActionID: x-1\r\n\r\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestARegistrationInAnotherFormThanAsterisksIsRejected(t *testing.T) {
	t.Parallel()
	const key = "/registrar/contact/1000;@9e276a1fa02b232060229eec71e2a728"
	for _, tc := range []struct {
		key, val string
		ok       bool
	}{
		{key, `{"uri":"sip:1000@127.0.0.1:5062","user_agent":"a\"\r\nb\u202e","expiration_time":"1795663881"}`, true},
		{key, `{"uri":"sip:1000@127.0.0.1:5062"}`, true},
		{key, `{"uri":""}`, false},
		{key, `{"uri":"sip:1000@127.0.0.1:5062"`, false},
		{key, `[]`, false},
		{"/registrar/contact/1000;@9E", `{"uri":"sip:x"}`, false},
		{"/registrar/contact/1000,x;@9e276a1fa02b232060229eec71e2a728", `{"uri":"sip:x"}`, false},
		{"/registrar/contact/1000)};@9e276a1fa02b232060229eec71e2a728", `{"uri":"sip:x"}`, false},
		{"/other/1000;@9e276a1fa02b232060229eec71e2a728", `{"uri":"sip:x"}`, false},
	} {
		if got, ok := parseRegistered(packet{{"Key", tc.key}, {"Val", tc.val}}); ok != tc.ok {
			t.Errorf("%s %s: %+v, %v", tc.key, tc.val, got, ok)
		}
	}
}

// FuzzAMI tests that for any input the reader ends, keeps its bounds, and returns valid UTF-8 that the parsers accept without panicking.
func FuzzAMI(f *testing.F) {
	for _, seed := range []string{
		"Asterisk Call Manager/11.0.0\r\nResponse: Success\r\nActionID: 1\r\nMessage: Authentication accepted\r\n\r\n",
		"Event: ContactStatus\r\nURI: sip:1000@127.0.0.1:5062\r\nContactStatus: Reachable\r\nAOR: 1000\r\nRoundtripUsec: 608\r\n\r\n",
		"Event: Newchannel\r\nChannel: PJSIP/1000-00000000\r\nChannelStateDesc: Ring\r\nExten: 1001\r\nUniqueid: 1.0\r\nLinkedid: 1.0\r\nDuration: 00:01:02\r\n\r\n",
		"Event: DBGetTreeResponse\r\nKey: /registrar/contact/1000;@9e276a1fa02b232060229eec71e2a728\r\nVal: {\"uri\":\"sip:1000@127.0.0.1:5062\",\"expiration_time\":\"1\"}\r\n\r\n",
		"A: \xff\r\n\r\n\r\n:\r\nEventList: Complete\r\nListItems: 99999999999999999999\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		w := newWire(bytes.NewReader(text))
		_ = w.greeting()
		q := &question{}
		for {
			p, err := w.packet()
			if err != nil {
				return
			}
			if len(p) > maxAMIFields {
				t.Fatalf("%d fields", len(p))
			}
			for _, f := range p {
				if f.name == "" || !utf8.ValidString(f.value) || strings.Contains(f.value, "\n") || len(f.value) > 3*maxAMILine {
					t.Fatalf("field %q: %q", f.name, f.value)
				}
			}
			e, ok := toEvent(p)
			if ok && (e.Channel.Age < 0 || e.State.RTT < 0) {
				t.Fatalf("%+v", e)
			}
			if r, ok := parseRegistered(p); ok && !contactID.MatchString(r.ID) {
				t.Fatalf("%+v", r)
			}
			_, _ = q.take(p)
		}
	})
}
