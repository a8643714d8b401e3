package asterisk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/phone"
)

func TestARealAsteriskReturnsAttributesAndDeletesRegistrations(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	c := a.Control()
	var file strings.Builder
	want := map[string]string{}
	ids := []string{"1999"} // which there is not
	for n := 1000; n < 1025; n++ {
		fmt.Fprintf(&file, "[%d]\ntype=endpoint\ncontext=x\ndisallow=all\nallow=ulaw\nauth=%d\naors=%d\n\n", n, n, n)
		fmt.Fprintf(&file, "[%d]\ntype=auth\nauth_type=userpass\nusername=%d\npassword=x\n@mark=a%d\n\n[%d]\ntype=aor\nmax_contacts=1\n\n", n, n, n, n)
		want[fmt.Sprint(n)] = fmt.Sprintf("a%d", n)
		ids = append(ids, fmt.Sprint(n))
	}
	if err := os.WriteFile(filepath.Join(a.ConfigDir, "pjsip.d/synergycall/generated_endpoints.conf"), []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if reply, state := c.ReloadPJSIP(t.Context()); state != asterisk.Reloaded {
		t.Fatal(reply)
	}
	if got, err := c.Attributes(t.Context(), asterisk.KindAuth, ids, "@mark"); err != nil || !cmp.Equal(want, got) {
		t.Errorf("attributes %v, error %v", got, err)
	}
	if got, err := c.Attributes(t.Context(), asterisk.KindAOR, ids, "@mark"); err != nil || len(got) > 0 {
		t.Errorf("attributes of objects without: %v, error %v", got, err)
	}
	if _, err := c.Attributes(t.Context(), asterisk.KindAuth, ids, "password"); !errors.Is(err, asterisk.ErrCommand) {
		t.Errorf("a password was asked for: %v", err)
	}

	for _, number := range []string{"1000", "1001"} {
		p, err := phone.New(phone.Config{Server: a.SIPAddr, Number: number, Secret: "x"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		if err := p.Register(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := c.ForgetRegistrations(t.Context(), []string{"1000", "1024"}); err != nil || !cmp.Equal([]string{"1000"}, got) {
		t.Errorf("forgot %v, error %v", got, err)
	}
	contacts, err := c.Contacts(t.Context())
	if err != nil || len(contacts) != 1 || contacts[0].AOR != "1001" {
		t.Errorf("contacts %v, error %v", contacts, err)
	}
	if got, err := c.ForgetRegistrations(t.Context(), []string{"1000"}); err != nil || len(got) > 0 {
		t.Errorf("forgot %v again, error %v", got, err)
	}
}
