package audit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/audit"
	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }

// newTrail returns a trail with n events, and its state folder.
func newTrail(t *testing.T, n int) (*audit.Trail, *store.Store, string) {
	t.Helper()
	s := storetest.New(t)
	dir := filepath.Join(t.TempDir(), "state")
	add(t, s, n)
	return audit.New(s, clock, dir), s, dir
}

func add(t *testing.T, s *store.Store, n int) {
	t.Helper()
	for i := range n {
		err := s.AppendEvent(t.Context(), pbx.NewAuditEvent(t.Context(), noon, "user.create", pbx.AuditObject{Type: "user", ID: fmt.Sprint(i), Name: "Zoë <\u2028>"}))
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestEventsAreListedInPagesNewestFirst(t *testing.T) {
	t.Parallel()
	tr, _, _ := newTrail(t, 5)
	cursor, pages := "", [][]int64{}
	for {
		page, err := tr.List(t.Context(), audit.Query{Limit: 2, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		var seqs []int64
		for _, e := range page.Events {
			seqs = append(seqs, e.Event.Seq)
		}
		pages = append(pages, seqs)
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([][]int64{{5, 4}, {3, 2}, {1}}, pages); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"x", "0", "-1", "01", "9999999999999999999"} {
		if _, err := tr.List(t.Context(), audit.Query{Limit: 2, Cursor: bad}); pbx.KindOf(err) != pbx.KindInvalid {
			t.Errorf("cursor %q: error %v", bad, err)
		}
	}
}

func TestAnExportCanBeCheckedWithoutThePortal(t *testing.T) {
	t.Parallel()
	tr, _, _ := newTrail(t, 1500) // more than are read at a time
	var out bytes.Buffer
	if err := tr.Export(t.Context(), audit.Query{}, &out); err != nil {
		t.Fatal(err)
	}
	prev, n := strings.Repeat("0", 64), 0
	for line := range strings.Lines(out.String()) {
		var l struct {
			Event      json.RawMessage `json:"event"`
			Prev, Hash string
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		before, err := hex.DecodeString(l.Prev)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(append(before, l.Event...)); l.Prev != prev || hex.EncodeToString(sum[:]) != l.Hash {
			t.Fatalf("line %d does not follow: %s", n+1, line)
		}
		prev = l.Hash
		n++
	}
	if head, err := tr.Head(t.Context()); n != 1500 || err != nil || head.Hash.String() != prev {
		t.Errorf("%d lines, head %+v, error %v", n, head, err)
	}
	out.Reset()
	if err := tr.Export(t.Context(), audit.Query{Object: "7"}, &out); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("a selection: %s, error %v", out.String(), err)
	}
}

func TestAHeadIsSignedAndReadBack(t *testing.T) {
	t.Parallel()
	tr, _, dir := newTrail(t, 3)
	h, err := tr.Head(t.Context())
	if err != nil || h.Seq != 3 || !h.Valid() || !h.At.Equal(noon) {
		t.Fatalf("%+v, error %v", h, err)
	}
	info, err := os.Stat(filepath.Join(dir, "audit.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info, err)
	}
	line, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	back, err := audit.ReadHeads(strings.NewReader(string(line)+"\n\n"), h.Key)
	if diff := cmp.Diff([]audit.Head{h}, back); diff != "" || err != nil {
		t.Errorf("error %v\n%s", err, diff)
	}
	other, _, _ := newTrail(t, 0)
	foreign, err := other.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.ReadHeads(strings.NewReader(string(line)), foreign.Key); err == nil {
		t.Error("a head of another portal was accepted")
	}
	for name, change := range map[string]func(*audit.Head){
		"the number":    func(h *audit.Head) { h.Seq++ },
		"the hash":      func(h *audit.Head) { h.Hash[0]++ },
		"the time":      func(h *audit.Head) { h.At = h.At.Add(time.Second) },
		"the key":       func(h *audit.Head) { h.Key = foreign.Key },
		"the signature": func(h *audit.Head) { h.Signature = foreign.Signature },
		"no key":        func(h *audit.Head) { h.Key = nil },
	} {
		changed := h
		change(&changed)
		line, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := audit.ReadHeads(bytes.NewReader(line), nil); err == nil {
			t.Errorf("%s was changed: not noticed", name)
		}
	}
	for _, line := range []string{"x", "{}", `{"seq":"1"}`} {
		if _, err := audit.ReadHeads(strings.NewReader(line), nil); err == nil {
			t.Errorf("%s was read as a head", line)
		}
	}
}

func TestHeadsAreWrittenDownOnceEach(t *testing.T) {
	t.Parallel()
	tr, s, _ := newTrail(t, 2)
	if own, err := tr.OwnHeads(); len(own) != 0 || err != nil {
		t.Errorf("before: %v, %v", own, err)
	}
	for _, want := range []bool{true, true, false} { // the second is that of the event that heads are signed
		if _, written, err := tr.WriteHead(t.Context(), true); written != want || err != nil {
			t.Errorf("written %v, error %v; want %v", written, err, want)
		}
	}
	add(t, s, 1)
	if _, written, err := tr.WriteHead(t.Context(), true); !written || err != nil {
		t.Errorf("after one more event: %v, %v", written, err)
	}
	own, err := tr.OwnHeads()
	if err != nil || len(own) != 3 || own[0].Seq != 2 || own[2].Seq != 4 {
		t.Fatalf("%+v, %v", own, err)
	}
	if r, err := tr.Verify(t.Context(), own); r.Broken != nil || r.Events != 4 || r.Heads != 3 || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
	own[1].Hash[3]++
	if r, err := tr.Verify(t.Context(), own); r.Broken == nil || r.Broken.Seq != 3 || err != nil {
		t.Errorf("%+v, %v", r.Broken, err)
	}
}

func TestProcessesThatMakeTheKeyAtOnceGetTheSame(t *testing.T) {
	t.Parallel()
	_, s, dir := newTrail(t, 0)
	keys := make([]string, 16)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			h, err := audit.New(s, clock, dir).Head(t.Context())
			if err != nil {
				t.Error(err)
			}
			keys[i] = string(h.Key)
		})
	}
	all.Wait()
	for _, key := range keys {
		if key != keys[0] {
			t.Error("two keys were made")
		}
	}
	if entries, err := os.ReadDir(dir); len(entries) != 1 || err != nil {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestAKeyFileThatIsNoneIsAnErrorAndStays(t *testing.T) {
	t.Parallel()
	tr, _, dir := newTrail(t, 1)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "audit.key")
	if err := os.WriteFile(path, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Head(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
}

func TestTheWatchWritesAHeadEachDayAndSignsNothingOnceTheTrailIsBroken(t *testing.T) {
	t.Parallel()
	tr, s, _ := newTrail(t, 2)
	var w audit.Watch
	var heads []int64
	var wrong []string
	look := func(h audit.Head, err error) {
		if err != nil {
			wrong = append(wrong, err.Error())
			return
		}
		heads = append(heads, h.Seq)
	}
	w.Look(t.Context(), tr, look)
	w.Look(t.Context(), tr, look) // the event that heads are signed
	w.Look(t.Context(), tr, look) // nothing happened since
	add(t, s, 1)
	w.Look(t.Context(), tr, look)
	if diff := cmp.Diff([]int64{2, 3, 4}, heads); diff != "" || len(wrong) != 0 || w.State() != "ok" {
		t.Errorf("state %s, wrong %v\n%s", w.State(), wrong, diff)
	}
}

func TestTheWatchReportsProblemsAtOnceAndOnceADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var w audit.Watch
		// A trail whose database is unavailable is reported at the first look, and every day.
		s, err := store.Open("sqlite:////nowhere/at/all.db")
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		var done sync.WaitGroup
		done.Go(func() {
			w.Run(ctx, audit.New(s, time.Now, "/nowhere"), func(h audit.Head, wrong error) {
				if wrong != nil && h.Head == (chain.Head{}) {
					told++
				}
			})
		})
		time.Sleep(49 * time.Hour) //nolint:forbidigo // no time passes
		synctest.Wait()
		if told != 3 {
			t.Errorf("told %d times", told)
		}
		cancel()
		done.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
