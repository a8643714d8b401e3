package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// AppendUserList is the encoder of lists, for its tests.
var AppendUserList = appendUserList

// FactorOf reads what a provider says of the second factor.
func FactorOf(acr []string, said map[string]any) auth.Factor {
	return (&provider{OIDC: OIDC{ACR: acr}}).factor(said)
}

// NewFrom makes an API of another contract.
func NewFrom(c Config, contract *openapi3.T) (*API, error) { return newAPI(c, contract) }

// Buckets are the allowances of addresses, for their tests.
type Buckets struct{ b *buckets }

func NewBuckets(pace Pace, now func() time.Time) Buckets { return Buckets{newBuckets(pace, now)} }

func (b Buckets) Take(from netip.Addr) time.Duration { return b.b.take(from) }

func (b Buckets) Remembered() int { return len(b.b.young) + len(b.b.old) }

// Checks names every check that a request passes.
func (a *API) Checks() (names []string) {
	for _, c := range a.api.edge.checks {
		names = append(names, c.name)
	}
	for _, c := range a.api.gate.checks {
		names = append(names, c.name)
	}
	return append(names, FailOpen)
}

// FailOpen is an authentication that treats every caller as an owner, as found in other products.
const FailOpen = "fail open"

// Disarm disables the check of that name: it accepts every request. It must be called before the first request.
func (a *API) Disarm(name string) {
	for i, c := range a.api.edge.checks {
		if c.name == name {
			a.api.edge.checks[i].refuse = func(*http.Request) error { return nil }
		}
	}
	for i, c := range a.api.gate.checks {
		if name == FailOpen && c.name == "sign-in" {
			a.api.gate.checks[i].admit = func(_ requirement, r *http.Request) (*http.Request, error) {
				return r.WithContext(auth.WithPrincipal(r.Context(), auth.Anyone())), nil
			}
		}
		if c.name == name {
			a.api.gate.checks[i].admit = func(_ requirement, r *http.Request) (*http.Request, error) { return r, nil }
		}
	}
}

// TryDoor is a request to sign in, as far as the gate sees it.
func (a *API) TryDoor(ctx context.Context, from netip.Addr) error {
	ctx = context.WithValue(ctx, exchangeKey{}, &exchange{from: from})
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
	_, err := a.api.gate.admit(requirement{permission: pbx.Public, beforeSetup: true, door: true}, r)
	return err
}

// SessionCookie is the cookie of a session at a host, over an encrypted connection or not, for a portal that people know by a public address, or "".
func SessionCookie(ctx context.Context, public, host string, secure bool, token string, until time.Time) string {
	cookie := (&edge{public: public}).cookieName(host, secure)
	return sessionCookie(context.WithValue(ctx, exchangeKey{}, &exchange{secure: secure, cookie: cookie}), pbx.SecretFrom(token), until)
}
