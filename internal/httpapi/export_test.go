package httpapi

import (
	"net/netip"
	"time"
)

// AppendUserList is the encoder of lists, for its tests.
var AppendUserList = appendUserList

// Buckets are the allowances of addresses, for their tests.
type Buckets struct{ b *buckets }

func NewBuckets(pace Pace, now func() time.Time) Buckets { return Buckets{newBuckets(pace, now)} }

func (b Buckets) Take(from netip.Addr) time.Duration { return b.b.take(from) }

func (b Buckets) Remembered() int { return len(b.b.young) + len(b.b.old) }
