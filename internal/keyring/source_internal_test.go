package keyring

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzAKeyFileIsReadAsItIsWrittenAgainOrNotAtAll(f *testing.F) {
	key := "+/////////////////////////////////////////8="
	for _, seed := range []string{"", "# nothing", key, "# old\n" + key + "\r\n" + NewKey(), strings.Repeat("fb", keyLength), key[1:]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parseKeys(strings.Split(text, "\n"))
		if err != nil {
			return
		}
		again, err := parseKeys(strings.Split(keyLines(keys), "\n"))
		if err != nil || len(again) != len(keys) {
			t.Fatalf("%d keys, written and read again %d, error %v", len(keys), len(again), err)
		}
		for i, k := range keys {
			if len(k.master) != keyLength || !bytes.Equal(again[i].master, k.master) || again[i].id != k.id {
				t.Errorf("key %d is another when it is read again", i+1)
			}
		}
	})
}
