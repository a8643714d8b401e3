package routing_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// BenchmarkListing1000Groups lists pages of 1,000 ring groups, beside 10,000 users, in each order and with a search, and changes one before every fiftieth
// list. p99-ms is the time of the slowest but one percent of the lists.
func BenchmarkListing1000Groups(b *testing.B) {
	storetest.EachBench(b, func(b *testing.B, url string) {
		s := storetest.Open(b, url)
		storetest.Fill(b, url, 10_000, 1000)
		if _, err := s.CoverUsers(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
		r := routing.New(s, time.Now)
		queries := []routing.Query{{}, {Sort: routing.ByNumber}, {Sort: routing.ByShort, Descending: true}, {Text: "99"}, {Match: pbx.Facts{"strategy": "all"}}}
		var took []time.Duration
		n := 0
		for b.Loop() {
			b.StopTimer()
			q := queries[n%len(queries)]
			q.Limit = 50
			if n++; n%50 == 0 {
				page, err := r.List(b.Context(), pbx.DefaultTenant, pbx.KindRingGroup, routing.Query{Limit: 1})
				if err == nil {
					_, err = r.Change(b.Context(), pbx.DefaultTenant, pbx.KindRingGroup, page.Items[0].ID, 0, func(i *pbx.Item) error { i.Name = fmt.Sprint("A changed group ", n); return nil })
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.StartTimer()
			began := time.Now()
			page, err := r.List(b.Context(), pbx.DefaultTenant, pbx.KindRingGroup, q)
			took = append(took, time.Since(began))
			if err != nil || len(page.Items) == 0 {
				b.Fatalf("%d items, error %v", len(page.Items), err)
			}
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
	})
}
