package auth

import (
	"strconv"
	"testing"
	"time"
)

func TestTheMemoryOfWhatWasRefusedHasABound(t *testing.T) {
	t.Parallel()
	clock := fixedClock()
	r := newRefusals(clock.read)
	told := 0
	for i := range 2 * mostRefusals {
		told += r.count(strconv.Itoa(i))
	}
	if told != mostRefusals || len(r.seen) != mostRefusals {
		t.Errorf("%d are told of and %d remembered, of %d", told, len(r.seen), 2*mostRefusals)
	}
	clock.now = clock.now.Add(time.Minute)
	if r.count("another") != 1 || len(r.seen) != 1 {
		t.Errorf("a minute later %d are remembered", len(r.seen))
	}
}
