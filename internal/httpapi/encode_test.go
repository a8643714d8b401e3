package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// generated returns the encoding/json form of the type generated from the contract.
func generated(t testing.TB, p directory.Page) []byte {
	t.Helper()
	list := openapi.UserList{Users: []openapi.User{}}
	for _, u := range p.Users {
		var secret *string
		if text := u.Extension.Secret.Reveal(); text != "" {
			secret = &text
		}
		list.Users = append(list.Users, openapi.User{
			ID: string(u.ID), TenantID: string(u.TenantID), Name: u.Name, Email: u.Email, CreatedAt: u.CreatedAt.UTC(),
			Extension: openapi.Extension{
				ID: string(u.Extension.ID), Number: int(u.Extension.Number), CallerName: pbx.CallerName(u.Name), Secret: secret, CreatedAt: u.Extension.CreatedAt.UTC(),
			},
		})
	}
	if p.Next != 0 {
		next := strconv.Itoa(int(p.Next))
		list.NextCursor = &next
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(list); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzUsersAreEncodedAsTheGeneratedTypeIs(f *testing.F) {
	for _, s := range []string{"Anna Müller", "<a href='x'>&amp;</a>", "\u2028\u2029\ufffd", "\xff\xc0\xaf", "\x00\b\f\n\r\t\x1f\x7f", `"\/`, "😀\xed\xa0\x80"} {
		f.Add(s, s, s, 1000, int64(1_768_469_400_123_456))
	}
	f.Add("", "", "", 0, int64(0))
	f.Add("x", "y", "z", -1, int64(-1_000_000))
	f.Fuzz(func(t *testing.T, name, email, secret string, number int, micros int64) {
		at := time.UnixMicro(micros)
		if y := at.UTC().Year(); y < 0 || y > 9999 {
			return // RFC 3339 has no such year
		}
		u := pbx.User{
			ID: pbx.UserID(name), TenantID: pbx.DefaultTenant, Name: name, Email: email, CreatedAt: at,
			Extension: pbx.Extension{ID: pbx.ExtensionID(email), Number: pbx.Number(number), Secret: pbx.SecretFrom(secret), CreatedAt: at.UTC()},
		}
		for _, p := range []directory.Page{{}, {Users: []pbx.User{u}}, {Users: []pbx.User{u, u}, Next: pbx.Number(number)}} {
			if got, want := httpapi.AppendUserList(nil, p), generated(t, p); !bytes.Equal(got, want) {
				t.Fatalf("got  %s\nwant %s", got, want)
			}
		}
	})
}

func page(n int) directory.Page {
	var p directory.Page
	for i := range n {
		now := time.Unix(1_768_469_400, int64(i)*1000).UTC()
		p.Users = append(p.Users, pbx.User{
			ID: "2f9e5a1c-8d8e-4a53-9f5b-8a3b6f0f4c11", TenantID: pbx.DefaultTenant, Name: fmt.Sprintf("Bénédicte Müller %d", i),
			Email: fmt.Sprintf("user%d@example.com", i), CreatedAt: now,
			Extension: pbx.Extension{ID: "51b4c1c5-6f44-4d0f-9d38-5a2b1f0c9e77", Number: pbx.Number(1000 + i), Secret: pbx.NewSecret(), CreatedAt: now},
		})
	}
	return p
}

func BenchmarkEncode1000UsersByHand(b *testing.B) {
	p := page(1000)
	b.ReportAllocs()
	for b.Loop() {
		httpapi.AppendUserList(nil, p)
	}
}

func BenchmarkEncode1000UsersByHandIntoAKeptBuffer(b *testing.B) {
	p := page(1000)
	buf := httpapi.AppendUserList(nil, p)
	b.ReportAllocs()
	for b.Loop() {
		buf = httpapi.AppendUserList(buf[:0], p)
	}
}

func BenchmarkEncode1000UsersByEncodingJSON(b *testing.B) {
	p := page(1000)
	b.ReportAllocs()
	for b.Loop() {
		generated(b, p)
	}
}

func BenchmarkNew(b *testing.B) {
	c := newConfig(b)
	for b.Loop() {
		if _, err := httpapi.New(c); err != nil {
			b.Fatal(err)
		}
	}
}
