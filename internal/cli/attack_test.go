//go:build !race

// It measures time and memory, of which the race detector takes many times as much.

package cli_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var attack = flag.Duration("attack", 3*time.Second, "how long the attack on the sign-in goes on, of each kind")

// Guessing passwords must not keep those who are signed in from working: 200 wrong sign-ins a second, from one address and from many. For a
// minute of each: go test ./internal/cli -run Attack -attack 1m.
func TestAnAttackOnTheSignInBlocksNoSignedInUser(t *testing.T) { //nolint:paralleltest // it measures
	const perSecond, slack = 200, 24 << 20 // more than one hash
	limit := 100 * time.Millisecond
	if *attack < 30*time.Second {
		limit *= 5 // among all other tests, this one only looks whether the portal goes on
	}
	for name, address := range map[string]func(i int) string{
		"one address":    func(int) string { return "203.0.113.5" },
		"many addresses": func(i int) string { return fmt.Sprintf("198.18.%d.%d", i/250%250, i%250) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSettings(t)
			s["TRUSTED_PROXIES"] = "127.0.0.1" // who the test pretends to be
			srv := s.serve(t)
			link, _ := decode(t, s.must(t, "admin", "setup-link", "--json"))["link"].(map[string]any)
			srv.want(t, 201, "POST", "/setup", fmt.Sprintf(`{"code":%q,"name":"Olga","email":"user1@example.com","password":"viele kleine Igel singen"}`, link["code"]))
			for i := range 100 {
				srv.want(t, 201, "POST", "/users", newUserJSON(i))
			}
			var all sync.WaitGroup
			warm, end := context.WithTimeout(t.Context(), time.Second/2) // two hashes are computed at once: their memory is taken before any is measured
			guess(warm, &all, srv, perSecond, address)
			all.Wait()
			end()
			ctx, stop := context.WithTimeout(t.Context(), *attack)
			defer stop()
			answers := guess(ctx, &all, srv, perSecond, address)
			started, took := time.Now(), []time.Duration{}
			var most [3]int // memory, in each third
			var looked time.Time
			for ctx.Err() == nil {
				begin := time.Now()
				got, err := srv.ask(t.Context(), "GET", "/users", "")
				if took = append(took, time.Since(begin)); err != nil || got.status != 200 {
					t.Fatalf("the list was answered with %v, %v", got, err)
				}
				if time.Since(looked) > 100*time.Millisecond {
					looked = time.Now()
					third := min(int(3*looked.Sub(started) / *attack), 2)
					most[third] = max(most[third], resident(t, srv))
				}
			}
			all.Wait()
			slices.Sort(took)
			p99 := took[len(took)*99/100]
			t.Logf("%d lists while %v: median %s, 99 %% within %s, longest %s; memory at most %d, %d, %d MiB in each third", len(took), answers.String(), took[len(took)/2], p99, took[len(took)-1], most[0]>>20, most[1]>>20, most[2]>>20)
			if p99 > limit {
				t.Errorf("99 %% of the lists took up to %s, more than %s", p99, limit)
			}
			if most[2] > most[0]+slack {
				t.Errorf("the memory grew from %d to %d bytes", most[0], most[2])
			}
			if n := answers.of(http.StatusUnauthorized) + answers.of(http.StatusTooManyRequests); n != answers.total() || n < int(attack.Seconds()*perSecond/2) {
				t.Errorf("the attack was answered with %v", answers)
			}
			if answers.of(http.StatusTooManyRequests) == 0 {
				t.Error("nobody was slowed down")
			}
		})
	}
}

// guess tries passwords until ctx ends, so many a second.
func guess(ctx context.Context, all *sync.WaitGroup, srv *server, perSecond int, address func(int) string) *tally {
	answers := &tally{counts: map[int]int{}}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: perSecond}}
	all.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			all.Go(func() {
				body := strings.NewReader(fmt.Sprintf(`{"email":"user%d@example.com","password":"Winter%d!"}`, i%7, i))
				r, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, srv.url+"/session", body)
				if err != nil {
					return
				}
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("X-Forwarded-For", address(i))
				r.Header.Set("X-Forwarded-Proto", "https")
				resp, err := client.Do(r)
				if err != nil {
					answers.add(0)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				answers.add(resp.StatusCode)
			})
		}
	})
	return answers
}

// tally counts answers by their status.
type tally struct {
	mu     sync.Mutex // guards counts
	counts map[int]int
}

func (t *tally) add(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[status]++
}

func (t *tally) of(status int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[status]
}

func (t *tally) total() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.counts {
		n += c
	}
	return n
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprint(t.counts)
}

// resident returns the resident memory of a server.
func resident(t *testing.T, srv *server) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", srv.PID()))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	kb, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
