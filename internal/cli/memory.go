package cli

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// spare is how many bytes the heap may hold beyond what lived when it was last looked through, before they are given back.
const spare = 6 << 20

// giveBack returns to the machine, second by second until ctx ends, the memory that an apply, a large answer or a password left behind. By
// itself Go looks through the heap when that has doubled, and a portal that has become quiet would keep what its busiest moment took.
func giveBack(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			sweep()
		}
	}
}

// sweep gives back what there is to give; false when that is not worth the work, which is a few milliseconds.
func sweep() bool {
	heap := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, // alive or not
		{Name: "/memory/classes/heap/free:bytes"},    // not yet given back
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(heap)
	if heap[0].Value.Uint64()+heap[1].Value.Uint64() < heap[2].Value.Uint64()+spare {
		return false
	}
	debug.FreeOSMemory()
	return true
}
