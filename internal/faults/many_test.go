//go:build linux

package faults_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/proc"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// reader reads both paths continuously, like an Asterisk that starts at any moment.
type reader struct {
	reads, moved, backwards int
	seen                    map[pair]bool
	broken                  error
}

// watch reads until stop is closed. Two equal reads of the first file mean that the second file was read from the same revision.
func (s *site) watch(stop <-chan struct{}) reader {
	r := reader{seen: map[pair]bool{}}
	last := ""
	for {
		select {
		case <-stop:
			return r
		default:
		}
		first, err := s.pair()
		second, again := s.pair()
		if err != nil || again != nil {
			r.broken = errors.Join(err, again)
			return r
		}
		if first[0] != second[0] {
			r.moved++
			continue
		}
		r.reads++
		r.seen[pair{first[0], first[1]}] = true
		if now, err := os.Readlink(filepath.Join(s.asterisk.ConfigDir, filepath.Dir(pbx.PJSIPPath), ".portal", "current")); err == nil {
			if now < last { // the numbers have leading zeros
				r.backwards++
			}
			last = now
		}
	}
}

// Rows 1, 2 and 18: portals in many processes on the same database and host apply concurrently, while a reader reads.
func TestRow02ManyPortalsApplyOneAtATimeAndReadersSeeWholeRevisionsAtLength(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		const portals = 8
		each := labtest.Soak(3, 10)
		if testing.Short() {
			each = 1
		}
		s := newSite(t, labtest.Asterisk(t), url, 5)
		s.env["KEEP_REVISIONS"] = "1000" // to compare all of them afterwards
		known := len(s.logs(t))
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		stop, watched := make(chan struct{}), make(chan reader, 1)
		go func() { watched <- s.watch(stop) }()

		var mu sync.Mutex
		acknowledged := map[pbx.RunID]ran{}
		busy := 0
		var all sync.WaitGroup
		for range portals {
			all.Go(func() {
				for done, changed := 0, false; done < each && t.Context().Err() == nil; {
					if !changed { // once for each apply, whatever the number of attempts
						s.create(t)
						changed = true
					}
					result, err := proc.Run(t.Context(), proc.Command{Argv: []string{self, "apply", "--json"}, Env: s.environ(), Dir: "/"})
					var r ran
					if err == nil && result.ExitCode == 0 {
						err = json.Unmarshal([]byte(result.Stdout), &r)
					}
					mu.Lock()
					switch {
					case err != nil || result.ExitCode != 0 && result.ExitCode != 4:
						t.Errorf("%v, exit code %d\n%s%s", err, result.ExitCode, result.Stdout, result.Stderr)
						done = each
					case result.ExitCode == 4:
						busy++
					default:
						acknowledged[pbx.RunID(r.ID)] = r
						done, changed = done+1, false
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		close(stop)
		r := <-watched

		records := s.records(t, 0)
		stored := map[pair]bool{}
		revisions := map[int]pbx.RunID{}
		found := 0
		for _, run := range records {
			if len(run.Files) == 2 {
				stored[pair{string(run.Files[0].Content), string(run.Files[1].Content)}] = true
			}
			if other, taken := revisions[run.Revision]; taken && run.Revision != 0 {
				t.Errorf("revision %d belongs to %s and to %s", run.Revision, other, run.Log.ID)
			}
			revisions[run.Revision] = run.Log.ID
			if got, ok := acknowledged[run.Log.ID]; ok {
				found++
				if run.Log.Outcome != pbx.Success || got.Verification != "confirmed" || got.Revision != run.Revision {
					t.Errorf("acknowledged as %+v, on record as %+v", got, run.Log)
				}
			}
		}
		if len(acknowledged) != portals*each || found != len(acknowledged) || len(records)-known != found {
			t.Errorf("%d applies were acknowledged, %d of them are on record among %d", len(acknowledged), found, len(records)-known)
		}
		mixed := 0
		for p := range r.seen {
			if !stored[p] {
				mixed++
			}
		}
		t.Logf("%d applies by %d processes (%d times refused because another ran), %d reads, %d different pairs, %d mixed, %d backwards",
			found, portals, busy, r.reads, len(r.seen), mixed, r.backwards)
		if r.broken != nil || mixed > 0 || r.backwards > 0 || r.reads < portals*each {
			t.Errorf("the reader saw %d mixed pairs, %d steps back, in %d reads; %v", mixed, r.backwards, r.reads, r.broken)
		}
		_, want := s.meant(t)
		s.must(t, "apply") // users created after the last apply began
		if diff := s.runs(t.Context(), want); diff != "" {
			t.Errorf("Asterisk runs something else:\n%s", diff)
		}
	})
}
