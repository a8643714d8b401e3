package store

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestCompressedContentIsRestoredUnchanged(t *testing.T) {
	t.Parallel()
	long := []byte(strings.Repeat("[1000]\ntype=endpoint\ncontext=synergy-internal\n", 20_000))
	for _, content := range [][]byte{nil, {}, []byte("; nothing\n"), {0x1f, 0x8b, 0}, long} {
		kept, err := packed(content)
		if err != nil {
			t.Fatal(err)
		}
		got, err := unpacked(kept)
		if !bytes.Equal(got, content) || err != nil {
			t.Errorf("%d bytes became %d, error %v", len(content), len(got), err)
		}
	}
	kept, _ := packed(long)
	if len(kept) > len(long)/10 {
		t.Errorf("%d bytes are kept as %d", len(long), len(kept))
	}
}

func TestUncompressedContentOfEarlierVersionsIsRead(t *testing.T) {
	t.Parallel()
	for _, kept := range [][]byte{nil, {}, []byte("; Made by the PBX Control Portal.\n")} {
		if got, err := unpacked(kept); !slices.Equal(got, kept) || err != nil {
			t.Errorf("%q became %q, error %v", kept, got, err)
		}
	}
	kept, _ := packed([]byte("[1000]\n"))
	if _, err := unpacked(kept[:len(kept)-3]); err == nil {
		t.Error("half of it was unpacked")
	}
}
