package cli_test

import (
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk/asterisktest"
)

func TestAFloodOfHealthAsksAsteriskOnceASecondAndAHungOneIsSaidWithinASecond(t *testing.T) {
	t.Parallel()
	pbx := asterisktest.New(t, asterisktest.Loaded(asterisktest.Objects{}))
	s := newSettings(t)
	s["ASTERISK_CONTROL"] = pbx.Socket
	srv := s.serve(t)
	asked := func() (n int) {
		for _, c := range pbx.Commands() {
			if c == "core show version" {
				n++
			}
		}
		return n
	}
	before, start := asked(), time.Now()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for time.Since(start) < 2*time.Second {
				if got, err := srv.ask(t.Context(), "GET", "/health", ""); err != nil || got.status != 200 {
					t.Errorf("%v %v", got, err)
					return
				}
			}
		})
	}
	all.Wait()
	if n := asked() - before; n > 2+int(time.Since(start)/time.Second) {
		t.Errorf("Asterisk was asked %d times in %v", n, time.Since(start))
	}
	pbx.Set(func(_ string, _ io.Writer, done <-chan struct{}) { <-done })
	eventually(t, "health says in words that Asterisk hangs", func() bool {
		asked := time.Now()
		health := srv.want(t, 200, "GET", "/health", "")
		if took := time.Since(asked); took > 2*time.Second { // a second, on a machine that has nothing else to do
			t.Errorf("health took %v", took)
		}
		text, _ := health["asterisk"].(string)
		return strings.Contains(text, "did not answer") && health["status"] == "ok"
	})
}
