package chain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// longest is the maximum length of a text of an event in characters; a caller who can cause events must not be able to fill the disk with one.
const longest = 1000

// timeForm is the canonical form of a time: in UTC, always with nine decimals.
const timeForm = "2006-01-02T15:04:05.000000000Z"

// Clean returns the event in storable form: valid UTF-8 without NUL, which PostgreSQL does not accept, and no text of more than 1000 characters.
func Clean(e pbx.AuditEvent) pbx.AuditEvent {
	for _, text := range []*string{
		(*string)(&e.Actor.Kind), &e.Actor.ID, &e.Actor.Name, &e.Actor.From, &e.Actor.RequestID, &e.Action,
		&e.Object.Type, &e.Object.ID, &e.Object.Name, (*string)(&e.Result),
	} {
		*text = clean(*text)
	}
	e.At = e.At.UTC().Truncate(time.Microsecond)
	e.Before, e.After = cleanFacts(e.Before), cleanFacts(e.After)
	return e
}

func clean(text string) string {
	if utf8.ValidString(text) && len(text) <= longest && strings.IndexByte(text, 0) < 0 {
		return text
	}
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest-1]) + "…"
	}
	return text
}

func cleanFacts(facts pbx.Facts) pbx.Facts {
	if facts == nil {
		return nil
	}
	out := make(pbx.Facts, len(facts))
	for name, value := range facts {
		out[clean(name)] = clean(value)
	}
	return out
}

// Canonical returns the form of the event that is hashed: JSON as in RFC 8785, so that it can be computed from any JSON form of the event.
func Canonical(e pbx.AuditEvent) []byte {
	b := make([]byte, 0, 640)
	b = appendText(append(b, `{"action":`...), e.Action)
	b = appendText(append(b, `,"actor":{"from":`...), e.Actor.From)
	b = appendText(append(b, `,"id":`...), e.Actor.ID)
	b = appendText(append(b, `,"kind":`...), string(e.Actor.Kind))
	b = appendText(append(b, `,"name":`...), e.Actor.Name)
	b = appendFacts(append(b, `},"after":`...), e.After)
	b = e.At.UTC().AppendFormat(append(b, `,"at":"`...), timeForm)
	b = appendFacts(append(b, `","before":`...), e.Before)
	b = appendText(append(b, `,"object":{"id":`...), e.Object.ID)
	b = appendText(append(b, `,"name":`...), e.Object.Name)
	b = appendText(append(b, `,"type":`...), e.Object.Type)
	b = appendText(append(b, `},"request_id":`...), e.Actor.RequestID)
	b = appendText(append(b, `,"result":`...), string(e.Result))
	b = strconv.AppendInt(append(b, `,"seq":`...), e.Seq, 10)
	return append(b, '}')
}

// FactsText returns facts in canonical form, which is also their form in the database.
func FactsText(facts pbx.Facts) string { return string(appendFacts(nil, facts)) }

func appendFacts(b []byte, facts pbx.Facts) []byte {
	if facts == nil {
		return append(b, "null"...)
	}
	b = append(b, '{')
	for i, name := range slices.SortedFunc(maps.Keys(facts), byUTF16) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, name), ':')
		b = appendText(b, facts[name])
	}
	return append(b, '}')
}

// byUTF16 compares names in the order of RFC 8785, which differs from the order of their bytes beyond the basic plane.
func byUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// appendText appends a JSON string without unnecessary escapes (RFC 8785, section 3.2.2.2).
func appendText(b []byte, text string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ':
			b = append(b, c)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c == '\r':
			b = append(b, `\r`...)
		default:
			b = append(b, `\u00`...)
			b = append(b, digits[c>>4], digits[c&15])
		}
	}
	return append(b, '"')
}

// canonicalJSON is the canonical form for the decoder.
type canonicalJSON struct {
	Action string `json:"action"`
	Actor  struct {
		From string        `json:"from"`
		ID   string        `json:"id"`
		Kind pbx.ActorKind `json:"kind"`
		Name string        `json:"name"`
	} `json:"actor"`
	After  pbx.Facts `json:"after"`
	At     string    `json:"at"`
	Before pbx.Facts `json:"before"`
	Object struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"object"`
	RequestID string          `json:"request_id"`
	Result    pbx.AuditResult `json:"result"`
	Seq       int64           `json:"seq"`
}

// Parse parses the canonical form of an event, and refuses any other form of the same event.
func Parse(canonical []byte) (pbx.AuditEvent, error) {
	var j canonicalJSON
	if err := json.Unmarshal(canonical, &j); err != nil {
		return pbx.AuditEvent{}, fmt.Errorf("cannot read an audit event: %w", err)
	}
	at, err := time.Parse(timeForm, j.At)
	if err != nil {
		return pbx.AuditEvent{}, fmt.Errorf("cannot read the time of an audit event: %w", err)
	}
	e := pbx.AuditEvent{
		Seq: j.Seq, At: at, Action: j.Action, Before: j.Before, After: j.After, Result: j.Result,
		Actor:  pbx.Actor{Kind: j.Actor.Kind, ID: j.Actor.ID, Name: j.Actor.Name, From: j.Actor.From, RequestID: j.RequestID},
		Object: pbx.AuditObject{Type: j.Object.Type, ID: j.Object.ID, Name: j.Object.Name},
	}
	if !bytes.Equal(Canonical(e), canonical) {
		return pbx.AuditEvent{}, errors.New("cannot read an audit event: it is not in its canonical form")
	}
	return e, nil
}

// ParseFacts parses the result of FactsText, and refuses any other form of the same facts.
func ParseFacts(text string) (facts pbx.Facts, err error) {
	if err := json.Unmarshal([]byte(text), &facts); err != nil {
		return nil, fmt.Errorf("cannot read the facts of an audit event: %w", err)
	}
	if FactsText(facts) != text {
		return nil, errors.New("cannot read the facts of an audit event: they are not in their canonical form")
	}
	return facts, nil
}
