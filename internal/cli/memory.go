package cli

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// spare is how many bytes the heap can have beyond its live size after the last collection before memory is freed.
const spare = 6 << 20

// freeMemoryPeriodically frees, every second until ctx ends, the memory left by an apply, a large response or a password hash. By itself Go collects only when the
// heap has doubled, so an idle portal would keep the memory of its busiest moment.
func freeMemoryPeriodically(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			freeMemory()
		}
	}
}

// freeMemory returns unused memory to the system; it returns false if that is not worth the few milliseconds it takes.
func freeMemory() bool {
	heap := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, // alive or not
		{Name: "/memory/classes/heap/free:bytes"},    // not yet returned
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(heap)
	if heap[0].Value.Uint64()+heap[1].Value.Uint64() < heap[2].Value.Uint64()+spare {
		return false
	}
	debug.FreeOSMemory()
	return true
}
