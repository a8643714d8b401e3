package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/chain"
)

// One head was signed. Whatever a file holds, no other is taken for one of ours.
func FuzzNoUnsignedHeadIsAccepted(f *testing.F) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	public, _ := key.Public().(ed25519.PublicKey)
	good := Head{Head: chain.Head{Seq: 3}, At: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), Key: public}
	good.Signature = ed25519.Sign(key, good.signed())
	line, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "{}", "null", string(line), string(line) + "\n\n" + string(line), strings.Replace(string(line), `"seq":3`, `"seq":4`, 1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		heads, err := ReadHeads(strings.NewReader(text), public)
		for _, h := range heads {
			if err != nil || h.Head != good.Head || !h.At.Equal(good.At) {
				t.Errorf("%q gave %+v, error %v", text, h, err)
			}
		}
	})
}
