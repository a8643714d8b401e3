// Package labtest gives a test a real Asterisk or PostgreSQL in one call and takes it away when the test ends.
//
// A part that cannot be had fails the test and says how to get it; nothing is skipped, because a skipped test proves nothing.
package labtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/proc"
)

// startTimeout covers the first fetch over a slow line.
const startTimeout = 10 * time.Minute

// Soak returns long where `make soak` runs the test, and short otherwise: the size of a search, in whatever unit the test counts.
func Soak[T any](short, long T) T {
	if os.Getenv("SOAK") != "" {
		return long
	}
	return short
}

// Program builds the program as make build does, which takes no time if it is current, and returns its path. root is the folder of the repository.
func Program(t testing.TB, root string) string {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(root, "bin", "pbxportal")
	built, err := proc.Run(t.Context(), proc.Command{
		Argv: []string{"go", "build", "-trimpath", "-o", program, "./cmd/pbxportal"}, Dir: root,
		Env: append(settings("HOME", "GOFLAGS", "GOPROXY", "GOCACHE", "GOMODCACHE"), "CGO_ENABLED=0"),
	})
	if err != nil || built.ExitCode != 0 {
		t.Fatalf("cannot build the program: %v\n%s", err, built.Stderr)
	}
	return program
}

// settings returns these variables of the environment.
func settings(names ...string) (env []string) {
	for _, name := range names {
		env = append(env, name+"="+os.Getenv(name))
	}
	return env
}

// Asterisk starts an Asterisk of this test's own. The fetched files are shared by all tests of this user.
func Asterisk(t testing.TB, options ...lab.AsteriskOptions) *lab.Asterisk {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tree, err := lab.FetchAsterisk(ctx, lab.FetchOptions{Progress: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	var o lab.AsteriskOptions
	if len(options) > 0 {
		o = options[0]
	}
	if o.TempDir == "" {
		if o.TempDir, err = tempDir(); err != nil {
			t.Fatal(err)
		}
	}
	a, err := lab.StartAsterisk(ctx, tree, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of Asterisk's log:\n%s", lastLines(a.Log(), 40))
		}
		if err := a.Stop(); err != nil {
			t.Errorf("cannot stop Asterisk: %v", err)
		}
	})
	return a
}

// PostgresServer starts a PostgreSQL server of this test's own, to be killed or suspended as it likes, and gives the URL of an empty
// database on it. It keeps what it promised also when it is killed.
func PostgresServer(t testing.TB, options ...lab.PostgresOptions) (server *lab.Postgres, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var o lab.PostgresOptions
	if len(options) > 0 {
		o = options[0]
	}
	server, err := startPostgres(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of PostgreSQL's log:\n%s", lastLines(server.Log(), 40))
		}
		if err := server.Stop(); err != nil {
			t.Errorf("cannot stop PostgreSQL: %v", err)
		}
	})
	if url, err = server.CreateDatabase(ctx, "portal"); err != nil {
		t.Fatal(err)
	}
	return server, url
}

// Postgres returns the URL of an empty database of this test's own, on a server that is started once per test process.
func Postgres(t testing.TB) string {
	t.Helper()
	return database(t, func(ctx context.Context, server *lab.Postgres, name string) (string, error) {
		return server.CreateDatabase(ctx, name)
	})
}

// PostgresCopy returns the URL of a database of this test's own on the same server, a copy of the one at template, which PostgresTemplate created and
// to which no session is connected. Copying takes a fraction of the time in which the program brings an empty database up to date.
func PostgresCopy(t testing.TB, template string) string {
	t.Helper()
	return database(t, func(ctx context.Context, server *lab.Postgres, name string) (string, error) {
		return server.CopyDatabase(ctx, name, template)
	})
}

// PostgresTemplate returns the URL of an empty database on the same server that no test removes.
func PostgresTemplate() (url string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	server, err := sharedServer()
	if err != nil {
		return "", err
	}
	return server.CreateDatabase(ctx, databaseName())
}

func database(t testing.TB, create func(ctx context.Context, server *lab.Postgres, name string) (url string, err error)) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	server, err := sharedServer()
	if err != nil {
		t.Fatal(err)
	}
	name := databaseName()
	url, err := create(ctx, server, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.DropDatabase(context.Background(), name); err != nil {
			t.Errorf("cannot drop the test's database: %v", err)
		}
	})
	return url
}

// sharedServer is the server that all tests of a process use; it dies with the process.
var sharedServer = sync.OnceValues(func() (*lab.Postgres, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return startPostgres(ctx, lab.PostgresOptions{NoSync: true})
})

// databases counts those of the shared server.
var databases atomic.Int64

func databaseName() string { return fmt.Sprintf("test_%d", databases.Add(1)) }

// Pgbouncer starts a pgbouncer of this test's own before the database of a URL, with settings for its section [pgbouncer], and returns the URL
// that leads through it.
func Pgbouncer(t testing.TB, url string, settings ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	bouncer, err := lab.FetchPgbouncer(ctx, lab.FetchOptions{Progress: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	shared, err := tempDir()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(shared, "bouncer") //nolint:usetesting // another user must reach it
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	through, stop, err := bouncer.Start(ctx, dir, url, settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("cannot stop pgbouncer: %v", err)
		}
	})
	return through
}

// Nginx starts an nginx of this test's own with a configuration of its sites, which listens at address.
func Nginx(t testing.TB, config, address string) {
	t.Helper()
	proxy(t, lab.FetchNginx, config, address)
}

// Caddy starts a Caddy of this test's own with a configuration of its sites, which listens at address.
func Caddy(t testing.TB, config, address string) {
	t.Helper()
	proxy(t, lab.FetchCaddy, config, address)
}

// Apache starts an Apache of this test's own with a configuration of its sites, which listens at address.
func Apache(t testing.TB, config, address string) {
	t.Helper()
	proxy(t, lab.FetchApache, config, address)
}

func proxy(t testing.TB, fetch func(context.Context, lab.FetchOptions) (lab.Proxy, error), config, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	p, err := fetch(ctx, lab.FetchOptions{Progress: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	stop, err := p.Start(ctx, t.TempDir(), config, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("cannot stop the proxy: %v", err)
		}
	})
}

// tempDir is the folder of this test process in which all temporary folders lie.
var tempDir = sync.OnceValues(makeTempDir)

// makeTempDir also starts a process that waits for the end of this one and then removes the folder: a test process has no moment at
// its end in which it could do so itself, least of all when it is killed.
func makeTempDir() (string, error) {
	dir, err := os.MkdirTemp("", "pbxt")
	if err != nil {
		return "", fmt.Errorf("cannot make a temporary folder: %w", err)
	}
	// Parts that refuse root look for their own folders in here.
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", fmt.Errorf("cannot open the temporary folder: %w", err)
	}
	_, err = proc.Start(proc.Command{
		Argv: []string{
			"/bin/sh", "-c", `while kill -0 "$1" 2>/dev/null; do sleep 1; done; sleep 1; rm -rf -- "$2"`,
			"sh", strconv.Itoa(os.Getpid()), dir,
		},
		Outlive: true,
	}, os.DevNull)
	if err != nil {
		return "", fmt.Errorf("cannot look after the temporary folder: %w", err)
	}
	return dir, nil
}

func startPostgres(ctx context.Context, o lab.PostgresOptions) (*lab.Postgres, error) {
	programs, err := lab.FetchPostgres(ctx, lab.FetchOptions{})
	if err != nil {
		return nil, err
	}
	if o.TempDir, err = tempDir(); err != nil {
		return nil, err
	}
	return lab.StartPostgres(ctx, programs, o)
}

func lastLines(text string, n int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

// HeapWhile returns by how many bytes the objects on the heap grew at most while work ran, garbage included. It counts those of the whole process.
func HeapWhile(work func()) (most int64) {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	size := func() int64 {
		metrics.Read(heap)
		return int64(heap[0].Value.Uint64()) //nolint:gosec // no heap is that large
	}
	runtime.GC()
	before := size()
	done, sampled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sampled)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, size()-before)
			case <-done:
				return
			}
		}
	}()
	work()
	close(done)
	<-sampled
	return most
}
