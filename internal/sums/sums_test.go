package sums_test

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"

	"github.com/synergycall/pbxportal/internal/sums"
)

func TestTheHashIsThatOfTheContentWhateverWasHashedBefore(t *testing.T) {
	t.Parallel()
	var c sums.Cache
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 1000 {
				name, content := fmt.Sprint("file ", i%2), fmt.Append(nil, "content ", (i*7+worker)%5)
				if got := c.Of(name, content); got != sha256.Sum256(content) {
					t.Errorf("%s with %q: %x", name, content, got)
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkOfAKnownContent(b *testing.B) {
	var c sums.Cache
	content, same := make([]byte, 1<<20), make([]byte, 1<<20)
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			c.Of("file", content)
			c.Of("file", same)
		}
	})
	b.Run("computed", func(b *testing.B) {
		for b.Loop() {
			sha256.Sum256(content)
			sha256.Sum256(same)
		}
	})
}
