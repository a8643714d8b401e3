// Package chain links audit events to a hash chain: each link is the SHA-256 hash of the link before and the event's canonical form, so that no
// event can be changed, removed or moved without changing all later links. It is pure: it knows neither the database nor callers.
package chain

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Hash is one link of the chain.
type Hash [sha256.Size]byte

// String returns the hash in hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash parses the result of String.
func ParseHash(text string) (h Hash, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(h) || hex.EncodeToString(b) != text {
		return h, fmt.Errorf("%q is not a hash: it has 64 lower-case hexadecimal digits", text)
	}
	return Hash(b), nil
}

// Head is the newest link of a chain. The zero Head is that of an empty chain.
type Head struct {
	Seq  int64
	Hash Hash
}

// Entry is an event with its link, and the link before it as recorded with the event.
type Entry struct {
	Event pbx.AuditEvent
	Prev  Hash
	Hash  Hash
}

// Append returns the event as the entry after the head, with its texts cleaned.
func Append(head Head, e pbx.AuditEvent) Entry {
	e = Clean(e)
	e.Seq = head.Seq + 1
	return Entry{Event: e, Prev: head.Hash, Hash: Link(head.Hash, e)}
}

// Link returns the link of an event that follows prev.
func Link(prev Hash, e pbx.AuditEvent) Hash {
	canonical := Canonical(e)
	text := make([]byte, 0, len(prev)+len(canonical))
	return sha256.Sum256(append(append(text, prev[:]...), canonical...))
}

// Follow verifies that the entry is the next one after the head, unchanged, and returns the new head. Otherwise the error describes the fault.
func Follow(head Head, next Entry) (Head, error) {
	switch seq := next.Event.Seq; {
	case seq > head.Seq+1:
		return head, fmt.Errorf("event %d is missing: the next one is %d", head.Seq+1, seq)
	case seq < head.Seq+1:
		return head, fmt.Errorf("event %d is in the place of event %d", seq, head.Seq+1)
	case next.Prev != head.Hash:
		return head, errors.New("it does not continue the event before it: one of the two was changed, or events between them were removed")
	case Link(head.Hash, next.Event) != next.Hash:
		return head, errors.New("its content was changed: its hash does not match")
	}
	return Head{Seq: next.Event.Seq, Hash: next.Hash}, nil
}
