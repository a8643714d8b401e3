package directory_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// BenchmarkFillingThePool creates users until no number is free. ns/user is the time of one create.
func BenchmarkFillingThePool(b *testing.B) {
	storetest.EachBench(b, func(b *testing.B, url string) {
		d := directory.New(storetest.Open(b, url), time.Now)
		for _, clients := range []int{1, 32} {
			b.Run(fmt.Sprintf("%d_clients", clients), func(b *testing.B) {
				for b.Loop() {
					fill(b, d, clients)
					b.StopTimer()
					empty(b, d)
					b.StartTimer()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pbx.PoolSize), "ns/user")
				b.ReportMetric(float64(b.N*pbx.PoolSize)/b.Elapsed().Seconds(), "users/s")
			})
		}
	})
}

// fill creates as many users as there are numbers, from this many goroutines.
func fill(b *testing.B, d *directory.Directory, clients int) {
	b.Helper()
	work := make(chan int)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for i := range work {
				if _, err := d.Create(b.Context(), pbx.DefaultTenant, newUser(i)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range pbx.PoolSize {
		work <- i
	}
	close(work)
	all.Wait()
}

// empty deletes all users.
func empty(b *testing.B, d *directory.Directory) {
	b.Helper()
	page, err := d.List(b.Context(), pbx.DefaultTenant, directory.Query{})
	if err != nil {
		b.Fatal(err)
	}
	for _, u := range page.Users {
		if _, err := d.Delete(b.Context(), pbx.DefaultTenant, u.ID); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkListing10000Users lists pages of 10,000 users, beside 1,000 ring groups, in each order and with a search, and changes one before every fiftieth list.
func BenchmarkListing10000Users(b *testing.B) {
	storetest.EachBench(b, func(b *testing.B, url string) {
		s := storetest.Open(b, url)
		storetest.Fill(b, url, 10_000, 1_000)
		if _, err := s.CoverUsers(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
		d := directory.New(s, time.Now)
		queries := []directory.Selection{
			{Order: directory.ByNumber, Count: true},
			{Order: directory.ByName},
			{Order: directory.ByEmail, Descending: true},
			{Order: directory.ByUpdated, Descending: true},
			{Order: directory.ByName, Text: "99", Count: true},
		}
		list := func(q directory.Selection) []pbx.User {
			page, err := d.Select(b.Context(), pbx.DefaultTenant, q)
			if err != nil || len(page.Users) == 0 {
				b.Fatalf("%d users, error %v", len(page.Users), err)
			}
			return page.Users
		}
		storetest.BenchLists(b, func(n int) {
			user := list(directory.Selection{Order: directory.ByEmail, Limit: 1 + n%1000})[n%1000]
			rename := func(u *pbx.User) error { u.Name = fmt.Sprint("A changed user ", n); return nil }
			if _, err := d.Change(b.Context(), pbx.DefaultTenant, user.ID, 0, rename); err != nil {
				b.Fatal(err)
			}
		}, func(n int) {
			q := queries[n%len(queries)]
			q.Limit = 50
			list(q)
		})
	})
}
