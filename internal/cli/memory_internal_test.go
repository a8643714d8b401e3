package cli

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/proc"
)

// TestMemoryThatWasLeftBehindIsGivenBackOnce does so in a process of its own: here what another test began may still take memory.
func TestMemoryThatWasLeftBehindIsGivenBackOnce(t *testing.T) {
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
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nobody else collects
	debug.FreeOSMemory()
	if sweep() {
		t.Error("there was nothing to give back")
	}
	for range 40 {
		_ = append([]byte(nil), make([]byte, 1<<20)...)
	}
	before := inUse()
	if !sweep() {
		t.Fatal("40 MiB were left behind, and nothing was given back")
	}
	if after := inUse(); before-after < 30<<20 || before < after {
		t.Errorf("before %d MiB, after %d MiB", before>>20, after>>20)
	}
	if sweep() {
		t.Error("it was given back a second time")
	}
}

// inUse is how much of the machine's memory the heap has.
func inUse() uint64 {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(heap)
	return heap[0].Value.Uint64() + heap[1].Value.Uint64()
}
