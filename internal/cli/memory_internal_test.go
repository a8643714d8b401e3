package cli

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/proc"
)

// The test runs in its own process: here, other tests may still allocate memory.
func TestUnusedMemoryIsFreedOnce(t *testing.T) {
	t.Parallel()
	const alone = "PBXPORTAL_MEASURE_MEMORY"
	if os.Getenv(alone) == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		result, err := proc.Run(t.Context(), proc.Command{Argv: []string{self, "-test.v", "-test.run=^" + t.Name() + "$"}, Env: []string{alone + "=1", "GORACE=" + os.Getenv("GORACE")}})
		if err != nil || result.ExitCode != 0 || !strings.Contains(result.Stdout, "--- PASS: "+t.Name()) {
			t.Fatalf("%v, exit code %d\n%s%s", err, result.ExitCode, result.Stdout, result.Stderr)
		}
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // only freeMemory collects
	debug.FreeOSMemory()
	if freeMemory() {
		t.Error("there was nothing to free")
	}
	for range 40 {
		_ = append([]byte(nil), make([]byte, 1<<20)...)
	}
	before := inUse()
	if !freeMemory() {
		t.Fatal("40 MiB were unused, and nothing was freed")
	}
	if after := inUse(); before-after < 30<<20 || before < after {
		t.Errorf("before %d MiB, after %d MiB", before>>20, after>>20)
	}
	if freeMemory() {
		t.Error("it was freed a second time")
	}
}

// inUse returns the bytes of the heap, used or free.
func inUse() uint64 {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(heap)
	return heap[0].Value.Uint64() + heap[1].Value.Uint64()
}
