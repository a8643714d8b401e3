package routing_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// BenchmarkListing1000Groups lists pages of 1,000 ring groups, beside 10,000 users, in each order and with a search, and changes one before every fiftieth
// list.
func BenchmarkListing1000Groups(b *testing.B) {
	storetest.EachBench(b, func(b *testing.B, url string) {
		s := storetest.Open(b, url)
		storetest.Fill(b, url, 10_000, 1000)
		if _, err := s.CoverUsers(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
		r := routing.New(s, time.Now)
		queries := []routing.Query{{}, {Sort: routing.ByNumber}, {Sort: routing.ByShort, Descending: true}, {Text: "99"}, {Match: pbx.Facts{"strategy": "all"}}}
		storetest.BenchLists(b, func(n int) {
			page, err := r.List(b.Context(), pbx.DefaultTenant, pbx.KindRingGroup, routing.Query{Limit: 1})
			if err == nil {
				_, err = r.Change(b.Context(), pbx.DefaultTenant, pbx.KindRingGroup, page.Items[0].ID, 0, func(i *pbx.Item) error { i.Name = fmt.Sprint("A changed group ", n); return nil })
			}
			if err != nil {
				b.Fatal(err)
			}
		}, func(n int) {
			q := queries[n%len(queries)]
			q.Limit = 50
			page, err := r.List(b.Context(), pbx.DefaultTenant, pbx.KindRingGroup, q)
			if err != nil || len(page.Items) == 0 {
				b.Fatalf("%d items, error %v", len(page.Items), err)
			}
		})
	})
}
