package keyring_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/synergycall/pbxportal/internal/keyring"
)

func TestWhatIsSealedOpensForItsPurposeAndOwnerAlone(t *testing.T) {
	t.Parallel()
	ring := load(t, keyring.Source{Value: keyring.NewKey()})
	rapid.Check(t, func(t *rapid.T) {
		text, owner := rapid.String().Draw(t, "text"), rapid.String().Draw(t, "owner")
		sealed, err := ring.Seal("p", owner, text)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 7 && strings.Contains(sealed, text) {
			t.Fatalf("the text stands in %s", sealed)
		}
		if got, err := ring.Open("p", owner, sealed); got != text || err != nil {
			t.Fatalf("opened as %q, error %v", got, err)
		}
		if got, err := ring.Open("q", owner, sealed); err == nil {
			t.Fatalf("another purpose opened it: %q", got)
		}
		if got, err := ring.Open("p", owner+"x", sealed); err == nil {
			t.Fatalf("another owner opened it: %q", got)
		}
		i := rapid.IntRange(0, len(sealed)-1).Draw(t, "i")
		if got, err := ring.Open("p", owner, sealed[:i]+"A"+sealed[i+1:]); err == nil && sealed[i] != 'A' {
			// The last character may hold bits that decode to nothing.
			if got != text || i != len(sealed)-1 {
				t.Fatalf("changed at %d it opened: %q", i, got)
			}
		}
		if _, err := ring.Open("p", owner, sealed[:i]); err == nil {
			t.Fatalf("cut at %d it opened", i)
		}
	})
}

func TestBytesAreSealedAsTextsAre(t *testing.T) {
	t.Parallel()
	ring := load(t, keyring.Source{Value: keyring.NewKey()})
	sealed, err := ring.SealBytes("p", "o", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ring.OpenBytes("p", "o", sealed); string(got) != "content" || err != nil {
		t.Errorf("opened as %q, error %v", got, err)
	}
	for _, wrong := range [][]byte{nil, sealed[:10], sealed[:keyring.HeaderLength], append([]byte("x"), sealed...)} {
		if got, err := ring.OpenBytes("p", "o", wrong); err == nil {
			t.Errorf("%q opened as %q", wrong, got)
		}
	}
}

func TestTheSameTextNeverLooksTheSameTwice(t *testing.T) {
	t.Parallel()
	ring := load(t, keyring.Source{Value: keyring.NewKey()})
	a, _ := ring.Seal("p", "o", "text")
	b, err := ring.Seal("p", "o", "text")
	if a == b || err != nil {
		t.Errorf("%s and %s, error %v", a, b, err)
	}
	if id, ok := keyring.KeyOf(a); id != ring.Current() || !ok {
		t.Errorf("%s names key %q, want %q", a, id, ring.Current())
	}
}

func TestTheLongestTextThatFitsAColumnIsKnown(t *testing.T) {
	t.Parallel()
	ring := load(t, keyring.Source{Value: keyring.NewKey()})
	fits := keyring.MaxText(255)
	for _, n := range []int{fits, fits + 1} {
		sealed, err := ring.Seal("p", "o", strings.Repeat("x", n))
		if err != nil || (len(sealed) <= 255) != (n == fits) {
			t.Errorf("%d characters take %d, error %v", n, len(sealed), err)
		}
	}
}

func TestAFingerprintIsTheSameForTheSameTextAndPurposeOnly(t *testing.T) {
	t.Parallel()
	source := keyring.Source{Value: keyring.NewKey()}
	name := func(ring *keyring.Ring, purpose, text string) string {
		f, err := ring.Fingerprint(purpose, text)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	ring := load(t, source)
	first := name(ring, "p", "text")
	if again := name(load(t, source), "p", "text"); again != first {
		t.Errorf("%s, then %s", first, again)
	}
	for _, other := range []string{name(ring, "q", "text"), name(ring, "p", "text2"), name(load(t, keyring.Source{Value: keyring.NewKey()}), "p", "text")} {
		if other == first {
			t.Errorf("%s for something else", other)
		}
	}
	if id, _, _ := strings.Cut(first, ":"); id != ring.Current() {
		t.Errorf("%s does not name the key %s", first, ring.Current())
	}
}

func TestTheFirstSourceThatIsThereWins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, credentials, state := filepath.Join(dir, "file"), filepath.Join(dir, "credentials"), filepath.Join(dir, "state")
	write(t, file, keyring.NewKey(), 0o600)
	write(t, filepath.Join(credentials, keyring.CredentialName), keyring.NewKey(), 0o440) // systemd hands it out with an ACL that shows as this
	write(t, filepath.Join(state, keyring.FileName), keyring.NewKey(), 0o600)
	for _, tc := range []struct {
		source keyring.Source
		want   string
	}{
		{keyring.Source{Value: keyring.NewKey(), File: file, Credentials: credentials, StateDir: state}, "SECRET_KEY"},
		{keyring.Source{File: file, Credentials: credentials, StateDir: state}, file},
		{keyring.Source{Credentials: credentials, StateDir: state}, "credential"},
		{keyring.Source{Credentials: dir, StateDir: state}, filepath.Join(state, keyring.FileName)},
		{keyring.Source{StateDir: state}, filepath.Join(state, keyring.FileName)},
	} {
		if ring := load(t, tc.source); !strings.Contains(ring.Where(), tc.want) {
			t.Errorf("want %s, comes from %s", tc.want, ring.Where())
		}
	}
}

func TestAKeyIsTakenInTheUsualForms(t *testing.T) {
	t.Parallel()
	const want = "+/////////////////////////////////////////8="
	ids := map[string]bool{}
	for _, form := range []string{want, strings.TrimRight(want, "="), "-_" + strings.Repeat("_", 40) + "8", "fb" + strings.Repeat("ff", 31), "# comment\n\n " + want + "\r\n"} {
		path := filepath.Join(t.TempDir(), "k")
		write(t, path, form, 0o600)
		ids[load(t, keyring.Source{File: path}).Current()] = true
	}
	if len(ids) != 1 {
		t.Errorf("they were read as different keys: %v", ids)
	}
}

func TestAnInvalidKeyIsRefusedWithTheFixAndNotShown(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing", "topsecret", "topsecret" + keyring.NewKey(), keyring.NewKey() + "\ntopsecret", strings.Repeat("topsecret", 20000)} {
		path := filepath.Join(t.TempDir(), "k")
		write(t, path, text, 0o600)
		_, err := keyring.Source{File: path}.Load()
		if err == nil || errors.Is(err, keyring.ErrNoKey) || strings.Contains(err.Error(), "topsecret") || !strings.Contains(err.Error(), "openssl rand") && !strings.Contains(err.Error(), "move it away") {
			t.Errorf("%.40q: error %v", text, err)
		}
	}
}

func TestAKeyFileReadableByOtherUsersIsRefusedWithTheFix(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "k")
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		write(t, path, keyring.NewKey(), mode)
		if _, err := (keyring.Source{File: path}).Load(); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: error %v", mode, err)
		}
	}
}

func TestANamedFileThatIsMissingIsNeverCreated(t *testing.T) {
	t.Parallel()
	source := keyring.Source{File: filepath.Join(t.TempDir(), "k"), StateDir: t.TempDir()}
	if _, err := source.LoadOrMake(); err == nil || errors.Is(err, keyring.ErrNoKey) {
		t.Errorf("error %v", err)
	}
	if names, err := os.ReadDir(source.StateDir); len(names) > 0 || err != nil {
		t.Errorf("made %v, error %v", names, err)
	}
}

func TestProcessesThatStartAtOnceAgreeOnOneKey(t *testing.T) {
	t.Parallel()
	source := keyring.Source{StateDir: filepath.Join(t.TempDir(), "state")}
	if _, err := source.Load(); !errors.Is(err, keyring.ErrNoKey) || !strings.Contains(err.Error(), source.StateDir) {
		t.Errorf("before: %v", err)
	}
	ids := make([]string, 20)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			if ring, err := source.LoadOrMake(); err != nil {
				t.Error(err)
			} else {
				ids[i] = ring.Current()
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("different keys: %v", ids)
		}
	}
	names, err := os.ReadDir(source.StateDir)
	if err != nil || len(names) != 1 {
		t.Errorf("in the folder: %v, error %v", names, err)
	}
	if info, err := os.Stat(filepath.Join(source.StateDir, keyring.FileName)); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
}

func TestAMissingKeyIsReportedWithTheFix(t *testing.T) {
	t.Parallel()
	sealed, err := load(t, keyring.Source{Value: keyring.NewKey()}).Seal("p", "o", "text")
	if err != nil {
		t.Fatal(err)
	}
	ring := load(t, keyring.Source{Value: keyring.NewKey()})
	_, err = ring.Open("p", "o", sealed)
	id, _ := keyring.KeyOf(sealed)
	unknown, ok := errors.AsType[*keyring.UnknownKeyError](err)
	if !ok || unknown.ID != id || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "SECRET_KEY") {
		t.Errorf("error %v", err)
	}
	if ring.Has(id) || !ring.Has(ring.Current()) {
		t.Errorf("has %s: %v, has its own: %v", id, ring.Has(id), ring.Has(ring.Current()))
	}
}

func TestARotatedKeyEncryptsAtOnceInEveryProcessAndTheOldOneStillDecrypts(t *testing.T) {
	t.Parallel()
	source := keyring.Source{StateDir: t.TempDir()}
	ring, err := source.LoadOrMake()
	if err != nil {
		t.Fatal(err)
	}
	server := load(t, source) // another process
	before, err := server.Seal("p", "o", "text")
	if err != nil {
		t.Fatal(err)
	}
	id, err := ring.Rotate()
	if err != nil || ring.Current() != id || len(ring.IDs()) != 2 {
		t.Fatalf("current %s of %v, made %s, error %v", ring.Current(), ring.IDs(), id, err)
	}
	after, err := ring.Seal("p", "o", "text")
	if err != nil {
		t.Fatal(err)
	}
	for _, sealed := range []string{after, before} {
		if got, err := server.Open("p", "o", sealed); got != "text" || err != nil {
			t.Errorf("the server opens %s as %q, error %v", sealed, got, err)
		}
	}
	other := load(t, source)
	if _, err = ring.Rotate(); err != nil {
		t.Fatal(err)
	}
	sealed, err := other.Seal("p", "o", "text")
	if got, _ := keyring.KeyOf(sealed); err != nil || got != ring.Current() {
		t.Errorf("another process seals with %s, want %s, error %v", got, ring.Current(), err)
	}
	if err = ring.Forget(); err != nil || len(ring.IDs()) != 1 {
		t.Errorf("keys %v, error %v", ring.IDs(), err)
	}
	if _, err = ring.Open("p", "o", before); err == nil {
		t.Error("a forgotten key opens")
	}
	if got, err := ring.Open("p", "o", sealed); got != "text" || err != nil {
		t.Errorf("the last key: %q, %v", got, err)
	}
}

func TestNothingIsSealedWhenTheKeyFileIsGone(t *testing.T) {
	t.Parallel()
	source := keyring.Source{StateDir: t.TempDir()}
	ring, err := source.LoadOrMake()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := ring.Seal("p", "o", "text")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(source.StateDir, keyring.FileName)); err != nil {
		t.Fatal(err)
	}
	if _, err = ring.Seal("p", "o", "text"); err == nil || !strings.Contains(err.Error(), "restore the file") {
		t.Errorf("error %v", err)
	}
	if got, err := ring.Open("p", "o", sealed); got != "text" || err != nil {
		t.Errorf("what is at hand: %q, %v", got, err)
	}
}

func TestExternallyProvidedKeysAreNotChanged(t *testing.T) {
	t.Parallel()
	credentials := t.TempDir()
	write(t, filepath.Join(credentials, keyring.CredentialName), keyring.NewKey(), 0o600)
	for _, source := range []keyring.Source{{Value: keyring.NewKey()}, {Credentials: credentials}} {
		ring := load(t, source)
		before := fmt.Sprint(ring.IDs())
		if _, err := ring.Rotate(); !errors.Is(err, keyring.ErrExternal) {
			t.Errorf("turning: %v", err)
		}
		if err := ring.Forget(); !errors.Is(err, keyring.ErrExternal) {
			t.Errorf("forgetting: %v", err)
		}
		if after := fmt.Sprint(load(t, source).IDs()); after != before {
			t.Errorf("%s, then %s", before, after)
		}
	}
}

func TestKeysOfTheSettingAreSeparatedByCommasOrBlanks(t *testing.T) {
	t.Parallel()
	a, b := keyring.NewKey(), keyring.NewKey()
	ring := load(t, keyring.Source{Value: a + ", " + b})
	if ids := ring.IDs(); len(ids) != 2 || ids[0] != load(t, keyring.Source{Value: a}).Current() {
		t.Errorf("keys %v", ids)
	}
}

func BenchmarkOpen1000(b *testing.B) {
	ring, err := keyring.Source{Value: keyring.NewKey()}.Load()
	if err != nil {
		b.Fatal(err)
	}
	sealed, err := ring.Seal("p", "a0000000-0000-0000-0000-000000000000", "AAAAAAAAAAAAAAAAAAAAAA")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		opener := ring.Opener("p")
		for range 1000 {
			if _, err := opener.Open("a0000000-0000-0000-0000-000000000000", []byte(sealed)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func TestOneOpenerOpensManyTextsOfManyKeys(t *testing.T) {
	t.Parallel()
	old, fresh := keyring.NewKey(), keyring.NewKey()
	rings := []*keyring.Ring{load(t, keyring.Source{Value: old}), load(t, keyring.Source{Value: fresh + "," + old})}
	opener := rings[1].Opener("p")
	var want, got []string
	for i := range 2000 {
		text := strings.Repeat(fmt.Sprint(i), i%50)
		sealed, err := rings[i/7%2].Seal("p", "o", text)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := opener.Open("o", []byte(sealed))
		if err != nil {
			t.Fatal(err)
		}
		want, got = append(want, text), append(got, opened)
	}
	if diff := cmp.Diff(want, got); diff != "" { // none was overwritten by a later one
		t.Error(diff)
	}
}

func load(t *testing.T, source keyring.Source) *keyring.Ring {
	t.Helper()
	ring, err := source.Load()
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
