package chain_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// grow returns a chain of n events with all sorts of texts in them.
func grow(random *rand.Rand, n int) []chain.Entry {
	text := func() string {
		alphabet := []rune("aZ0 \"\\\n\x01\u007fé\u2028\ufffd\U0001F600<&")
		out := make([]rune, random.IntN(6))
		for i := range out {
			out[i] = alphabet[random.IntN(len(alphabet))]
		}
		return string(out)
	}
	facts := func() pbx.Facts {
		if random.IntN(3) == 0 {
			return nil
		}
		f := pbx.Facts{}
		for range random.IntN(3) {
			f[text()] = text()
		}
		return f
	}
	var entries []chain.Entry
	head := chain.Head{}
	for range n {
		e := chain.Append(head, pbx.AuditEvent{
			At:    time.UnixMicro(random.Int64N(4e15)).UTC(),
			Actor: pbx.Actor{Kind: pbx.ActorKind(text()), ID: text(), Name: text(), From: text(), RequestID: text()}, Action: text(),
			Object: pbx.AuditObject{Type: text(), ID: text(), Name: text()}, Before: facts(), After: facts(), Result: pbx.AuditOK,
		})
		head = chain.Head{Seq: e.Event.Seq, Hash: e.Hash}
		entries = append(entries, e)
	}
	return entries
}

// follow follows a chain to its end.
func follow(entries []chain.Entry) (head chain.Head, err error) {
	for _, e := range entries {
		if head, err = chain.Follow(head, e); err != nil {
			return head, err
		}
	}
	return head, nil
}

func TestAChainCanBeFollowedToItsHead(t *testing.T) {
	t.Parallel()
	entries := grow(rand.New(rand.NewPCG(1, 2)), 50)
	last := entries[len(entries)-1]
	if head, err := follow(entries); err != nil || head != (chain.Head{Seq: 50, Hash: last.Hash}) {
		t.Errorf("%+v, %v", head, err)
	}
}

func TestAnyChangeOfAnyFieldOfAnyEventIsNoticed(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	fields := map[string]int{}
	for range 200 {
		entries := grow(random, 5)
		at := random.IntN(len(entries))
		for _, change := range changes("", reflect.ValueOf(&entries[at]).Elem()) {
			undo := change.make()
			if head, err := follow(entries); err == nil {
				t.Errorf("event %d: a change of %s was not noticed; the head is %+v", at+1, change.field, head)
			}
			undo()
			fields[change.field]++
		}
	}
	if len(fields) != 16 {
		t.Errorf("%d fields were changed, want 16: %v", len(fields), fields)
	}
}

// change is one way to tamper with a value; make returns a function that reverts it.
type change struct {
	field string
	make  func() (undo func())
}

// changes returns one change for each field of a value.
func changes(name string, v reflect.Value) []change {
	set := func(to any) change {
		return change{name, func() func() {
			was := reflect.New(v.Type()).Elem()
			was.Set(v)
			v.Set(reflect.ValueOf(to).Convert(v.Type()))
			return func() { v.Set(was) }
		}}
	}
	switch value := v.Interface().(type) {
	case time.Time:
		return []change{set(value.Add(1)), set(value.Add(-time.Hour))}
	case chain.Hash:
		value[7]++
		return []change{set(value)}
	case pbx.Facts:
		all := []change{set(pbx.Facts{"added": ""})}
		if value == nil {
			return append(all, set(pbx.Facts{}))
		}
		return append(all, set(pbx.Facts(nil)))
	}
	switch v.Kind() { //nolint:exhaustive // an event has no others
	case reflect.String:
		return []change{set(v.String() + " "), set("x" + v.String())}
	case reflect.Int64:
		return []change{set(v.Int() + 1), set(v.Int() - 1)}
	case reflect.Struct:
		var all []change
		for i := range v.NumField() {
			all = append(all, changes(name+"."+v.Type().Field(i).Name, v.Field(i))...)
		}
		return all
	}
	panic("no way to change " + name)
}

func TestARemovedOrMovedEventIsDetected(t *testing.T) {
	t.Parallel()
	whole := grow(rand.New(rand.NewPCG(5, 6)), 4)
	for name, tampered := range map[string][]chain.Entry{
		"the first is gone":         {whole[1], whole[2]},
		"one in the middle":         {whole[0], whole[2]},
		"two have changed places":   {whole[1], whole[0], whole[2]},
		"one stands twice":          {whole[0], whole[0]},
		"renumbered to close ranks": {whole[0], renumbered(whole[2], 2)},
	} {
		if _, err := follow(tampered); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func renumbered(e chain.Entry, seq int64) chain.Entry {
	e.Event.Seq = seq
	return e
}

func TestTheCanonicalFormIsWhatRFC8785Says(t *testing.T) {
	t.Parallel()
	e := pbx.AuditEvent{
		Seq: 7, At: time.Date(2026, 11, 26, 3, 4, 5, 6000, time.UTC), Action: "user.create",
		Actor:  pbx.Actor{Kind: pbx.ActorPerson, ID: "1", Name: "Zoë \"Z\"\n", From: "192.0.2.1", RequestID: "r"},
		Object: pbx.AuditObject{Type: "user", ID: "2", Name: "<\u2028\x01>"},
		After:  pbx.Facts{"\U0001F600": "beyond the basic plane", "\ufb33": "after it in bytes, before it here", "a": "\x7f"},
		Result: pbx.AuditOK,
	}
	const want = `{"action":"user.create","actor":{"from":"192.0.2.1","id":"1","kind":"person","name":"Zoë \"Z\"\n"},` +
		`"after":{"a":"` + "\x7f" + `","` + "\U0001F600" + `":"beyond the basic plane","` + "\ufb33" + `":"after it in bytes, before it here"},` +
		`"at":"2026-11-26T03:04:05.000006000Z","before":null,"object":{"id":"2","name":"<` + "\u2028" + `\u0001>","type":"user"},"request_id":"r","result":"ok","seq":7}`
	if diff := cmp.Diff(want, string(chain.Canonical(e))); diff != "" {
		t.Error(diff)
	}
}

func TestTextsThatNoDatabaseAcceptsAreCleaned(t *testing.T) {
	t.Parallel()
	e := chain.Clean(pbx.AuditEvent{
		Action: "a\x00b", Actor: pbx.Actor{Name: "\xff"}, Object: pbx.AuditObject{Name: strings.Repeat("é", 2000)},
		After: pbx.Facts{"k\x00": "\xc3"},
	})
	if e.Action != "a\ufffdb" || e.Actor.Name != "\ufffd" || len([]rune(e.Object.Name)) != 1000 || e.After["k\ufffd"] != "\ufffd" {
		t.Errorf("%q %q %d %q", e.Action, e.Actor.Name, len([]rune(e.Object.Name)), e.After)
	}
}

func TestOnlyTheCanonicalFormIsRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "[]", "null ", `{"a": "b"}`, `{"b":"","a":""}`, `{"a":"1","a":"2"}`, `{"a":1}`, `{"a":"\u0041"}`, `{"a":"\u003c"}`} {
		if facts, err := chain.ParseFacts(text); err == nil {
			t.Errorf("%s was read as %v", text, facts)
		}
	}
	for _, text := range []string{"null", "{}", `{"a":"b","c":"<"}`} {
		if facts, err := chain.ParseFacts(text); err != nil || chain.FactsText(facts) != text {
			t.Errorf("%s: %v, %v", text, facts, err)
		}
	}
	for _, text := range []string{"", "00", strings.Repeat("g", 64), strings.Repeat("A", 64), strings.Repeat("a", 66)} {
		if h, err := chain.ParseHash(text); err == nil {
			t.Errorf("%q was read as %s", text, h)
		}
	}
}

func FuzzEveryEventHasOneCanonicalForm(f *testing.F) {
	f.Add(int64(1), int64(1e15), "user.create", "Zoë", "192.0.2.1", "k", "v", true)
	f.Add(int64(0), int64(0), "\x00\"\\\x1f", "\xff", "\u2028", "", "\U0001F600", false)
	f.Fuzz(func(t *testing.T, seq, micros int64, action, name, from, key, value string, facts bool) {
		if micros < 0 || micros > 2e17 { // until the year 8307: its text has four digits
			return
		}
		e := pbx.AuditEvent{
			At: time.UnixMicro(micros), Actor: pbx.Actor{Name: name, From: from}, Action: action,
			Object: pbx.AuditObject{Name: value}, Result: pbx.AuditOK,
		}
		if facts {
			e.Before = pbx.Facts{key: value, value: key, name: action}
		}
		e = chain.Clean(e)
		e.Seq = seq
		canonical := chain.Canonical(e)
		if !json.Valid(canonical) {
			t.Fatalf("no JSON: %s", canonical)
		}
		back, err := chain.Parse(canonical)
		if err != nil {
			t.Fatalf("%s: %v", canonical, err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzWhatIsReadIsCanonical(f *testing.F) {
	f.Add(chain.Canonical(pbx.AuditEvent{}))
	f.Add([]byte(fmt.Sprintf(`{"seq":%d}`, 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		if e, err := chain.Parse(text); err == nil && string(chain.Canonical(e)) != string(text) {
			t.Fatalf("%s was read, and is written %s", text, chain.Canonical(e))
		}
	})
}
