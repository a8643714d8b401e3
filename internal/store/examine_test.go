package store_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestADamagedIndexOfASQLiteFileIsFoundByTheCheck(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite(t)
	s := storetest.Open(t, url)
	for i := range 40 {
		if err := insert(t.Context(), s, newUser(pbx.Number(1000+i), fmt.Sprintf("user-%d@example.com", i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Intact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(url, "sqlite:///")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content) // the address is in the row and in two indexes
	for i, found := 0, 0; ; found++ {
		at := strings.Index(text[i:], "user-7@example.com")
		if at < 0 {
			if found != 3 {
				t.Errorf("%d places, want 3", found)
			}
			return
		}
		i += at + 1
		damaged := []byte(text)
		damaged[i] ^= 4
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Intact(t.Context()); pbx.KindOf(err) != pbx.KindUnavailable || !strings.Contains(fmt.Sprint(err), "backup") {
			t.Errorf("a bit flipped at %d: %v", i, err)
		}
		_ = s.Close()
	}
}

func TestAPostgreSQLWithoutChecksumsIsReported(t *testing.T) {
	t.Parallel()
	url := labtest.Postgres(t)
	s := storetest.Open(t, url)
	without, err := s.Intact(t.Context())
	if want := execute(t, url, `SHOW data_checksums`) == "off"; without != want || err != nil {
		t.Errorf("without checksums: %t, want %t; error %v", without, want, err)
	}
}
