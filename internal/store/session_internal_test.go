package store

import (
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestAServerThatIsTooOldIsRefusedByItsVersion(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"9.6.24": false, "10.23": false, "12.22 (Debian 12.22-1.pgdg120+1)": false, "8.4.1": false,
		"13.0": true, "15.14 (Debian 15.14-0+deb12u1)": true, "18beta1": true, "19devel": true, "": true,
	} {
		err := suitable(version, "UTF8")
		if (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
		if !ok && (pbx.KindOf(err) != pbx.KindUnavailable || !strings.Contains(err.Error(), "upgrade it to PostgreSQL 13 or newer") || !strings.Contains(err.Error(), version)) {
			t.Errorf("%q: %v", version, err)
		}
	}
}
