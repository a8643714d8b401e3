package store_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestObjectsOfTheHostAreStoredBySourceAndTheirNumbersAreNotFree(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		inFiles := []pbx.HostObject{
			{Kind: "endpoint", Number: 1000, File: "/etc/asterisk/a \"b\".conf", Line: 3},
			{Kind: pbx.KindExtension, Number: 1001, Context: "office", File: "x", Line: 1}, // the administrator's own context: stays free
			{Kind: "registration", Number: 1003, File: "x", Line: 2},
		}
		running := []pbx.HostObject{{Kind: pbx.KindExtension, Number: 1002, Context: pbx.Context}, {Kind: "aor", Number: 1000}}
		free := func() (free []pbx.Number, host int) {
			t.Helper()
			if err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				places, err := tx.Allocate(ctx, []string{"a@example.com", "b@example.com", "c@example.com"}, 1000, 1005, noon)
				if err == nil {
					var use pbx.Usage
					use, err = tx.Usage(ctx, pbx.Pool{First: 1000, Last: 1005})
					host = use.Host
				}
				free = lowestOf(places.Taken, 1000, 1005, 3)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return free, host
		}
		if got, _ := free(); !slices.Equal(got, []pbx.Number{1000, 1001, 1002}) {
			t.Errorf("before any look %v are free", got)
		}
		for range 2 { // a repetition changes nothing
			for source, objects := range map[store.HostSource][]pbx.HostObject{store.HostFiles: inFiles, store.HostRunning: running} {
				if err := s.NoteHost(t.Context(), source, objects); err != nil {
					t.Fatal(err)
				}
				got, err := s.Host(t.Context(), source)
				if diff := cmp.Diff(objects, got); diff != "" || err != nil {
					t.Errorf("%s: error %v\n%s", source, err, diff)
				}
			}
		}
		if got, host := free(); !slices.Equal(got, []pbx.Number{1001, 1004, 1005}) || host != 3 {
			t.Errorf("%v are free, %d are the host's", got, host)
		}
		if err := s.NoteHost(t.Context(), store.HostFiles, nil); err != nil {
			t.Fatal(err)
		}
		if got, host := free(); !slices.Equal(got, []pbx.Number{1001, 1003, 1004}) || host != 2 {
			t.Errorf("after the files were cleared %v are free, %d are the host's", got, host)
		}
	})
}

// lowestOf returns the lowest numbers from first to last that are not taken, at most n of them.
func lowestOf(taken store.Taken, first, last pbx.Number, n int) (free []pbx.Number) {
	a := pbx.NewAssigner(pbx.Pool{First: first, Last: last}, 0, taken.Has)
	for range n {
		if number, ok := a.Next(); ok {
			free = append(free, number)
		}
	}
	return free
}
