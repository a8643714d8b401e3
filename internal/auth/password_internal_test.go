package auth

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestAPasswordThatOthersWouldTryFirstIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "short", "elevenchars", strings.Repeat("a", 12), "abababababab", "123456789012", "qwertyuiop12", "qwertzuiopasdf", "1q2w3e4r5t6y7u"[:12] + "1q",
		"passwordpassword", "password1234", "P@ssw0rd1234", "pa$$w0rd!!!!", "Passwort2026!", "Sommer2026!!", "Summer2026!!", "iloveyou12345", "letmein!letmein",
		"monkeydragon12", "footballfootball", "abcdefghijklm", "zyxwvutsrqpo", "aaaabbbbccccdddd", "111122223333", "asdfghjkl;12", "administrator1",
		"pbxportal1234", "synergycall99", "SynergyCall-Portal", "asterisk-pbx-1", "elephant12345", "Elephant2026!", "changemechangeme",
		"Anna Example 1", "annaexample2026", "anna@example.com", "ANNA.EXAMPLE!!", "example-anna-7", "MyAnna12345678"[2:], "4nn4.ex4mple.c0m",
		strings.Repeat("x", 129), "\xff\xfe\xfd valid no utf8", "december2025",
	} {
		if passwordFault(text, "Anna Example", "anna@example.com").Code == "" {
			t.Errorf("%q is accepted, with a weight of %d", text, weigh(text, ownWords("Anna Example", "anna@example.com")))
		}
	}
}

func TestAPasswordThatIsHardToGuessIsAcceptedWhateverItIsMadeOf(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"correct horse battery staple", "viele kleine Igel singen", "ocean-violin-carpet-12", "xK9#mQ2$vL7p", "kdjfhgbvnwoe", "849302751946",
		"ünïcödé schöne Wörter", "密码很长而且不容易猜到的一句话", "        nine spaces are fine", "Tr0ub4dor&3 plus", strings.Repeat("langer Satz ", 10),
	} {
		if fault := passwordFault(text, "Anna Example", "anna@example.com"); fault.Code != "" {
			t.Errorf("%q is refused: %s", text, fault.Message)
		}
	}
}

func TestAPasswordThatAProgramChoseIsAlwaysAccepted(t *testing.T) {
	t.Parallel()
	for range 500 {
		if text := newSessionToken().Reveal()[:16]; passwordFault(text, "Anna Example", "anna@example.com").Code != "" {
			t.Errorf("%q is refused: %s", text, passwordFault(text, "", "").Message)
		}
	}
}

func TestEveryKnownWordIsRefusedWithAnySuffix(t *testing.T) {
	t.Parallel()
	n := 0
	for word, weight := range words() {
		if n++; weight == englishWeight && n%20 != 0 { // of the dictionary a part is enough
			continue
		}
		for _, tail := range []string{"123456789012", "!", "2026"} {
			text := word + tail
			for len(text) < MinPassword {
				text += text
			}
			if len(text) <= 2*len(word)+2*len(tail) && passwordFault(text, "", "").Code == "" {
				t.Fatalf("%q is accepted", text)
			}
		}
	}
}

func TestAHashFitsItsPasswordAndNoOther(t *testing.T) {
	t.Parallel()
	h := newHasher(0)
	one, err := h.hash(t.Context(), pbx.SecretFrom("correct horse battery staple"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := h.hash(t.Context(), pbx.SecretFrom("correct horse battery staple"))
	if err != nil || one == two {
		t.Errorf("the same hash twice, error %v", err)
	}
	for text, want := range map[string]bool{"correct horse battery staple": true, "correct horse battery stapl": false, "": false} {
		if right, err := h.verify(t.Context(), pbx.SecretFrom(text), one); right != want || err != nil {
			t.Errorf("%q: %v, error %v", text, right, err)
		}
	}
	if right, err := h.verify(t.Context(), pbx.SecretFrom(""), h.decoy()); right || err != nil {
		t.Errorf("the decoy has a password: %v, error %v", right, err)
	}
	if p, err := parseHash(h.decoy()); err != nil || p.memory != argonMemory || p.passes != argonPasses || p.lanes != argonLanes || len(p.key) != keyLength || len(p.salt) != saltLength {
		t.Errorf("the decoy is not as much work as a hash: %+v, error %v", p, err)
	}
	if p, err := parseHash(one); err != nil || p.memory != 19*1024 || p.passes != 2 {
		t.Errorf("a hash costs %+v, error %v", p, err)
	}
}

// The answer of argon2's own command-line tool: echo -n "password" | argon2 somesalt -id -t 2 -k 65536 -p 1.
func TestAHashOfArgonsOwnToolIsRead(t *testing.T) {
	t.Parallel()
	const hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if right, err := newHasher(0).verify(t.Context(), pbx.SecretFrom("password"), hash); !right || err != nil {
		t.Errorf("%v, error %v", right, err)
	}
}

func TestAHashThatWasTamperedWithIsAnErrorAndNeverASuccess(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{
		"", "password", "$", "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ", "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=16$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=19456,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "$argon2id$v=19$m=19456,t=2,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$", "$argon2id$v=19$m=19456,t=2,p=1,x=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=19456,t=99999,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "$argon2id$v=19$m=+19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
	} {
		for _, text := range []string{"", "password"} {
			if right, err := newHasher(0).verify(t.Context(), pbx.SecretFrom(text), hash); right || err == nil {
				t.Errorf("%q: %v, error %v", hash, right, err)
			}
		}
	}
}

func TestHashingManyPasswordsTakesTheMemoryOfAFew(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // only this test collects
	h := newHasher(0)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 7 {
		if _, err := h.hash(t.Context(), pbx.SecretFrom("correct horse battery staple")); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := (after.HeapAlloc - before.HeapAlloc) >> 20; after.HeapAlloc > before.HeapAlloc && grown > 2*argonMemory/1024 {
		t.Errorf("7 hashes left %d MiB behind", grown)
	}
}

func TestFewPasswordsAreHashedAtOnceAndNotManyWait(t *testing.T) {
	t.Parallel()
	h := newHasher(64)
	for range hashers { // another goroutine hashes without ending
		h.slots <- struct{}{}
	}
	h.waiting.Add(hashers)
	var waiting sync.WaitGroup
	results := make(chan error, maxWaiting)
	for range maxWaiting {
		waiting.Go(func() {
			_, err := h.hash(t.Context(), pbx.SecretFrom("x"))
			results <- err
		})
	}
	for h.waiting.Load() < hashers+maxWaiting {
	}
	if _, err := h.hash(t.Context(), pbx.SecretFrom("x")); pbx.KindOf(err) != pbx.KindTooMany {
		t.Errorf("one more: %v", err)
	}
	for range hashers {
		<-h.slots
	}
	waiting.Wait()
	for range maxWaiting {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if h.waiting.Load() != hashers {
		t.Errorf("%d are still counted", h.waiting.Load())
	}
}

func TestTheTableOfAttemptsDoesNotGrowWithoutEnd(t *testing.T) {
	t.Parallel()
	p := newPace(fixedClock().read)
	for i := range 3 * mostCounted {
		if _, err := p.begin(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if len(p.counts) > mostCounted {
			t.Fatalf("%d entries", len(p.counts))
		}
	}
	for range freePerPair { // who fails often stays in it
		if _, err := p.begin("192.0.2.1", "anna"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range mostCounted {
		if _, err := p.begin(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), "x"+fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.begin("192.0.2.1", "anna"); pbx.KindOf(err) != pbx.KindTooMany {
		t.Errorf("a flood of others washed it away: %v", err)
	}
}

// Earlier versions hashed a password as it was typed.
func TestAPasswordThatAnEarlierVersionHashedStillOpens(t *testing.T) {
	t.Parallel()
	h := newHasher(64)
	for _, typed := range []string{"fünf grüne Bäume", "fu\u0308nf gru\u0308ne Ba\u0308ume", "four\u00a0words", "\u200efour words", "👩\u200d💻 four words", "four words"} {
		p := argonParams{64, argonPasses, argonLanes, make([]byte, saltLength), make([]byte, keyLength)}
		key, err := h.derive(t.Context(), typed, p)
		if err != nil {
			t.Fatal(err)
		}
		p.key = key
		if right, err := h.verify(t.Context(), pbx.SecretFrom(typed), p.text()); !right || err != nil {
			t.Errorf("%+q opens no more, error %v", typed, err)
		}
		if right, err := h.verify(t.Context(), pbx.SecretFrom(typed+"x"), p.text()); right || err != nil {
			t.Errorf("%+q opens with a letter more, error %v", typed, err)
		}
	}
}
