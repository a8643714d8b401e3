package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestTwoFetchersMakeAPartOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var made atomic.Int32
	var fetching sync.WaitGroup
	for range 4 {
		fetching.Go(func() {
			got, err := fetchOnce(t.Context(), FetchOptions{}, dir, "part", func(partial string) error {
				made.Add(1)
				if isDir(filepath.Join(dir, "part")) {
					t.Error("the part has its name before it is complete")
				}
				return os.Mkdir(filepath.Join(partial, "tree"), 0o755)
			})
			if err != nil || !isDir(got) {
				t.Error(got, err)
			}
		})
	}
	fetching.Wait()
	if made.Load() != 1 {
		t.Errorf("it was made %d times", made.Load())
	}
}

func TestAFailedOrInterruptedFetchLeavesNothingThatLooksComplete(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// What a fetcher leaves that was killed.
	if err := os.MkdirAll(filepath.Join(dir, "part.partial", "tree", "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	failure := errors.New("no")
	_, err := fetchOnce(t.Context(), FetchOptions{}, dir, "part", func(partial string) error {
		if isDir(filepath.Join(partial, "tree")) {
			t.Error("leftovers are in the way")
		}
		return failure
	})
	if !errors.Is(err, failure) || isDir(filepath.Join(dir, "part")) || isDir(filepath.Join(dir, "part.partial")) {
		t.Errorf("got %v", err)
	}
}

func TestWaitingForAnotherFetcherEndsWithTheContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unlock, err := lockFile(t.Context(), FetchOptions{}, filepath.Join(dir, "part.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	said := ""
	_, err = fetchOnce(ctx, FetchOptions{Progress: func(line string) {
		said = line
		cancel()
	}}, dir, "part", func(string) error { return errors.New("it was not locked") })
	if !errors.Is(err, context.Canceled) || said == "" {
		t.Errorf("got %v after %q", err, said)
	}
}

func TestTheMainArchiveIsPickedAmongTheMachinesSources(t *testing.T) {
	t.Parallel()
	for targets, want := range map[string]string{
		"": "",
		"Packages main bookworm http://a.example/debian/\n":                                                                 "http://a.example/debian/",
		"DEP-11 main bookworm http://a.example/debian/\n":                                                                   "",
		"Packages main bookworm-security http://s.example/debian-security/\nPackages main stable https://b.example/debian/": "https://b.example/debian/",
		"Packages main bookworm/updates http://s.example/\nPackages main bookworm-updates http://a.example/debian/\n":       "",
		"Packages main nodistro https://third.example/node/\nPackages main trixie http://a.example/debian\n":                "http://a.example/debian",
		"Packages contrib trixie http://a.example/debian\n":                                                                 "",
		"Packages main trixie http://a.example/deb]ian\n":                                                                   "",
	} {
		if got := pickMirror(targets); got != want {
			t.Errorf("%q: got %q, want %q", targets, got, want)
		}
	}
}

func TestAKeyringThatIsTooOldIsReplacedByTheOneOfTheMachinesOwnSources(t *testing.T) {
	t.Parallel()
	m, err := thisMachine()
	if err != nil {
		t.Fatal(err)
	}
	mirror, err := debianMirror(t.Context(), FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// These keys are of archives long gone.
	source := "deb [signed-by=/usr/share/keyrings/debian-archive-removed-keys.gpg target=Packages] " + mirror + " " + asteriskSuite + " main\n"
	old, err := newApt(filepath.Join(dir, "old"), m, source, FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := old.update(t.Context()); !errors.Is(err, errUntrusted) {
		t.Fatalf("with the wrong keys: got %v, want errUntrusted", err)
	}
	keyring, err := newerKeyring(t.Context(), filepath.Join(dir, "keys"), m, FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	source = "deb [signed-by=" + keyring + " target=Packages] " + mirror + " " + asteriskSuite + " main\n"
	renewed, err := newApt(filepath.Join(dir, "new"), m, source, FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := renewed.update(t.Context()); err != nil {
		t.Errorf("with the new keys: %v", err)
	}
}

func TestAsterisksDocumentationKeepsItsOptionsAndNames(t *testing.T) {
	t.Parallel()
	const whole = `<?xml version="1.0"?>
<docs>
	<application name="Dial"><synopsis>Calls.</synopsis><syntax><parameter name="a"/></syntax></application>
	<configInfo name="res_pjsip"><configFile name="pjsip.conf"><configOption name="allow"/></configFile></configInfo>
	<manager name="Ping"><synopsis>Answers.</synopsis></manager>
</docs>
`
	const want = `<?xml version="1.0"?>
<docs>
	<application name="Dial"><synopsis/></application>
	<configInfo name="res_pjsip"><configFile name="pjsip.conf"><configOption name="allow"/></configFile></configInfo>
	<manager name="Ping"><synopsis/></manager>
</docs>
`
	for _, text := range []string{whole, want} { // of two processes the second may find what the first has made
		short, err := shortDocumentation([]byte(text))
		if err != nil || string(short) != want {
			t.Errorf("got %v\n%s", err, short)
		}
	}
	if _, err := shortDocumentation([]byte("<docs><application>")); err == nil {
		t.Error("a file that ends early was accepted")
	}
}
