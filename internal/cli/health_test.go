package cli_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	var mu sync.Mutex
	looks := map[string]map[any]bool{"database": {}, "files": {}, "key": {}} // when each was looked at
	for range 16 {
		all.Go(func() {
			for time.Since(start) < 2*time.Second {
				got, err := srv.ask(t.Context(), "GET", "/health", "")
				if err != nil || got.status != 200 {
					t.Errorf("%v %v", got, err)
					return
				}
				looked, _ := decode(t, got.body)["looked"].(map[string]any)
				mu.Lock()
				for part, times := range looks {
					look, _ := looked[part].(map[string]any)
					times[look["at"]] = true
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if n := asked() - before; n > 2+int(time.Since(start)/time.Second) {
		t.Errorf("Asterisk was asked %d times in %v", n, time.Since(start))
	}
	for part, times := range looks {
		if most := 2 + int(time.Since(start)/time.Second); len(times) > most || times[nil] {
			t.Errorf("%s: looked at %d times in %v, without a time: %t", part, len(times), time.Since(start), times[nil])
		}
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

func TestHealthReportsADiskThatIsFullUntilAWriteSucceeds(t *testing.T) {
	t.Parallel()
	s, dir := newSettings(t), t.TempDir()
	s["DATABASE_URL"] = "sqlite:///" + filepath.Join(dir, "portal.db")
	full, room := fullDisk(t, dir)
	srv := s.serve(t)
	srv.want(t, 201, "POST", "/users", newUserJSON(1))
	srv.want(t, 200, "GET", "/health", "")
	full(srv)
	refused := 0
	for i := 0; refused < 3; i++ { // what has room in the files as they are is still written
		got, err := srv.ask(t.Context(), "POST", "/users", newUserJSON(1000+i))
		if err != nil || got.status != 201 && got.status != 503 {
			t.Fatal(got, err)
		}
		if got.status == 201 {
			continue
		}
		refused++
		for range 2 {
			if h := srv.want(t, 503, "GET", "/health", ""); h["code"] != decode(t, got.body)["code"] || h["database"] == "ok" || !strings.Contains(fmt.Sprint(h["detail"]), "free space") {
				t.Errorf("after %s health says %v", got.body, h)
			}
		}
	}
	srv.want(t, 200, "GET", "/readyz", "") // what is there can be read
	room(srv)
	eventually(t, "health is well again", func() bool {
		got, err := srv.ask(t.Context(), "GET", "/health", "")
		return err == nil && got.status == 200
	})
	srv.want(t, 201, "POST", "/users", newUserJSON(2))
}

// fullDisk puts a folder on a small disk of its own, and returns what fills that and what makes room again. For those who may not mount, the disk
// is full as far as the server is concerned.
func fullDisk(t *testing.T, dir string) (full, room func(*server)) {
	t.Helper()
	limit := func(most uint64) func(*server) {
		return func(srv *server) {
			if err := unix.Prlimit(srv.PID(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: most, Max: unix.RLIM_INFINITY}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	switch err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0700"); {
	case errors.Is(err, unix.EPERM):
		return limit(0), limit(unix.RLIM_INFINITY)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	ballast := filepath.Join(dir, "ballast")
	full = func(*server) {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return full, func(*server) {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
}
