package httpapi_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// mint is an OpenID provider that says whatever a test wants, also what no real one would: what the portal must refuse cannot be had from one
// that is right.
type mint struct {
	*httptest.Server

	mu     sync.Mutex
	key    *rsa.PrivateKey // signs
	kid    string
	public map[string]*rsa.PublicKey // that it publishes
	nonce  string
	say    func(*word)
}

// word is what the mint is about to say in one sign-in.
type word struct {
	header, claims, info map[string]any
	sign                 func(text []byte) []byte
	key                  *rsa.PrivateKey
}

var mintKeys = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		keys[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return keys
})

func newMint(t *testing.T) *mint {
	t.Helper()
	m := &mint{key: mintKeys()[0], kid: "one"}
	m.public = map[string]*rsa.PublicKey{m.kid: &m.key.PublicKey}
	m.Server = httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(m.Close)
	return m
}

func (m *mint) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var answer any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		answer = map[string]any{
			"issuer": m.URL, "authorization_endpoint": m.URL + "/auth", "token_endpoint": m.URL + "/token", "jwks_uri": m.URL + "/keys", "userinfo_endpoint": m.URL + "/info",
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"}, // it would take anything
		}
	case "/keys":
		keys := []map[string]any{}
		for kid, k := range m.public {
			keys = append(keys, map[string]any{"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())})
		}
		answer = map[string]any{"keys": keys}
	case "/auth":
		m.nonce = r.FormValue("nonce")
		to, _ := url.Parse(r.FormValue("redirect_uri"))
		to.RawQuery = url.Values{"code": {"c"}, "state": {r.FormValue("state")}}.Encode()
		http.Redirect(w, r, to.String(), http.StatusSeeOther)
		return
	case "/token":
		answer = map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": 300, "id_token": m.word().text()}
	case "/info":
		answer = m.word().info
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// word is what the mint says: all right, but for what the test changes.
func (m *mint) word() *word {
	now := time.Now()
	half := sha256.Sum256([]byte("access"))
	said := &word{
		header: map[string]any{"alg": "RS256", "kid": m.kid, "typ": "JWT"}, key: m.key,
		claims: map[string]any{
			"iss": m.URL, "aud": "portal", "sub": "anna", "nonce": m.nonce, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
			"email": "anna@example.com", "email_verified": true, "name": "Anna", "at_hash": b64(half[:16]),
		},
		info: map[string]any{"sub": "anna"},
	}
	said.sign = func(text []byte) []byte {
		sum := sha256.Sum256(text)
		signature, _ := rsa.SignPKCS1v15(nil, said.key, crypto.SHA256, sum[:])
		return signature
	}
	if m.say != nil {
		m.say(said)
	}
	return said
}

func (w *word) text() string {
	header, _ := json.Marshal(w.header)
	claims, _ := json.Marshal(w.claims)
	text := b64(header) + "." + b64(claims)
	return text + "." + b64(w.sign([]byte(text)))
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// withMint is a portal that is served, with a mint for its provider, and the account of Anna.
func withMint(t *testing.T, m *mint, of pbx.SecondFactor, acr ...string) *portal {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	t.Cleanup(server.Close)
	p := newDemanding(t, of, func(config *httpapi.Config) {
		config.OIDC = httpapi.OIDC{Issuer: m.URL, ClientID: "portal", ClientSecret: pbx.SecretFrom("s3cret"), ACR: acr}
		config.Web = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the pages") })
	})
	server.Config = p.handler.Server("")
	server.Start()
	p.url = server.URL
	return p
}

func (p *portal) invite(email string, role pbx.Role) pbx.Account {
	p.t.Helper()
	account, _, err := p.auth.Invite(asLocal(p.t), pbx.NewAccount{Name: "Anna", Email: email, Role: role})
	if err != nil {
		p.t.Fatal(err)
	}
	return account
}

// withFactor creates an account with a second factor, and returns its secret.
func (p *portal) withFactor(email string, role pbx.Role) (secret string) {
	p.t.Helper()
	if _, err := p.auth.Create(asLocal(p.t), pbx.NewAccount{Name: "Anna", Email: email, Role: role}, pbx.SecretFrom(password)); err != nil {
		p.t.Fatal(err)
	}
	opened, err := p.auth.SignIn(asLocal(p.t), auth.SignIn{Email: email, Password: pbx.SecretFrom(password)})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx := auth.WithPrincipal(asLocal(p.t), opened.Principal)
	started, err := p.auth.StartTOTP(ctx, pbx.SecretFrom(password))
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.auth.ConfirmTOTP(ctx, p.shown(started.Secret.Reveal())); err != nil {
		p.t.Fatal(err)
	}
	p.ahead.Add(int64(time.Minute))
	return started.Secret.Reveal()
}

// shown returns the current code of an authenticator app.
func (p *portal) shown(secret string) string {
	p.t.Helper()
	code, err := totp.GenerateCode(secret, time.Now().Add(time.Duration(p.ahead.Load())))
	if err != nil {
		p.t.Fatal(err)
	}
	return code
}

// A case of what a provider can say, and what comes of it: "" is signed in.
func TestInvalidProviderResponsesAreRejected(t *testing.T) {
	t.Parallel()
	claim := func(name string, value any) func(*word) { return func(w *word) { w.claims[name] = value } }
	without := func(names ...string) func(*word) {
		return func(w *word) {
			maps.DeleteFunc(w.claims, func(name string, _ any) bool { return strings.Contains(" "+strings.Join(names, " ")+" ", " "+name+" ") })
		}
	}
	both := func(all ...func(*word)) func(*word) {
		return func(w *word) {
			for _, one := range all {
				one(w)
			}
		}
	}
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	info := func(claims map[string]any) func(*word) { return func(w *word) { w.info = claims } }
	signedWithSecret := func(secret []byte) func(*word) {
		return func(w *word) {
			w.header["alg"] = "HS256"
			w.sign = func(text []byte) []byte {
				mac := hmac.New(sha256.New, secret)
				mac.Write(text)
				return mac.Sum(nil)
			}
		}
	}
	const refused, unverified = "provider_refused", "email_unverified"
	m := newMint(t)
	var p *portal
	begin := func() { // anew every few cases, because an address has so many tries a minute; Anna has signed in before
		p = withMint(t, m, pbx.FactorOffered)
		p.invite("anna@example.com", pbx.Auditor)
		p.invite("boss@example.com", pbx.Admin)
		m.mu.Lock()
		m.say = nil
		m.mu.Unlock()
		if at := arrive(t, browser(t), p.url+"/auth/oidc/start"); at != "/app/" {
			t.Fatalf("the browser is at %s\n%s", at, p.log)
		}
	}
	cases := []struct {
		name string
		say  func(*word)
		want string
	}{
		{"all is right", func(*word) {}, ""},
		{"no at_hash", without("at_hash"), ""},
		{"azp is the portal", claim("azp", "portal"), ""},
		{"several audiences, made for the portal", both(claim("aud", []string{"other", "portal"}), claim("azp", "portal")), ""},
		{"one audience in a list", claim("aud", []string{"portal"}), ""},
		{"iat a minute ahead", claim("iat", at(time.Minute)), ""},
		{"the address from userinfo", both(without("email", "email_verified"), info(map[string]any{"sub": "anna", "email": "anna@example.com", "email_verified": true})), ""},
		{"the address in capitals", claim("email", "ANNA@Example.COM"), ""},
		{"another address of the same person", claim("email", "anna.new@example.com"), ""},

		{"azp of another client", claim("azp", "other"), refused},
		{"azp empty", claim("azp", ""), refused},
		{"azp no text", claim("azp", 7), refused},
		{"azp null", claim("azp", nil), refused},
		{"several audiences without azp", claim("aud", []string{"portal", "other"}), refused},
		{"several audiences, made for another", both(claim("aud", []string{"portal", "other"}), claim("azp", "other")), refused},
		{"the portal twice without azp", claim("aud", []string{"portal", "portal"}), refused},
		{"another audience", claim("aud", "other"), refused},
		{"no audience", without("aud"), refused},
		{"another issuer", claim("iss", "https://evil.example"), refused},
		{"issuer with a slash", func(w *word) { w.claims["iss"] = m.URL + "/" }, refused},
		{"another nonce", claim("nonce", "x"), refused},
		{"no nonce", without("nonce"), refused},
		{"another access token", claim("at_hash", b64([]byte("0123456789abcdef"))), refused},
		{"it is over", claim("exp", at(-time.Second)), refused},
		{"no end", without("exp"), refused},
		{"made an hour from now", claim("iat", at(time.Hour)), refused},
		{"not made at any time", without("iat"), refused},
		{"holds from an hour from now on", claim("nbf", at(time.Hour)), refused},
		{"no subject", without("sub"), refused},
		{"an empty subject", claim("sub", ""), refused},
		{"an overlong subject", claim("sub", strings.Repeat("x", 256)), refused},
		{"a subject with a NUL", claim("sub", "anna\x00"), refused},
		{"a subject that only looks so", claim("sub", "аnna"), refused},
		{"a subject under another name", both(without("sub"), claim("SUB", "anna")), refused},
		{"the right subject, and another by a name in capitals", claim("sUb", "boss"), ""},
		{"not signed", func(w *word) { w.header["alg"] = "none"; w.sign = func([]byte) []byte { return nil } }, refused},
		{"signed with the client's secret", signedWithSecret([]byte("s3cret")), refused},
		{"signed with the public key as a secret", func(w *word) { signedWithSecret(w.key.N.Bytes())(w) }, refused},
		{"signed with a key that is not published", func(w *word) { w.key = mintKeys()[1] }, refused},
		{"signed with a key by another name", func(w *word) { w.header["kid"] = "two" }, refused},
		{"claims changed after signing", func(w *word) {
			w.sign = func([]byte) []byte {
				sum := sha256.Sum256([]byte("something else"))
				signature, _ := rsa.SignPKCS1v15(nil, w.key, crypto.SHA256, sum[:])
				return signature
			}
		}, refused},

		{"an address that is not verified", claim("email_verified", false), unverified},
		{"not said whether it is verified", without("email_verified"), unverified},
		{"verified by a text", claim("email_verified", "true"), unverified},
		{"verified by a number", claim("email_verified", 1), unverified},
		{"verified under another name", both(without("email_verified"), claim("Email_Verified", true)), unverified},
		{"no address", without("email"), unverified},
		{"verified here, the address from userinfo", both(without("email"), info(map[string]any{"sub": "anna", "email": "anna@example.com"})), unverified},
		{"verified here, another's address from userinfo", both(claim("sub", "mallory"), without("email"), info(map[string]any{"sub": "mallory", "email": "boss@example.com"})), unverified},
		{"the address here, verified in userinfo", both(without("email_verified"), info(map[string]any{"sub": "anna", "email": "anna@example.com", "email_verified": true})), unverified},
		{"userinfo of somebody else", both(without("email"), info(map[string]any{"sub": "boss", "email": "boss@example.com", "email_verified": true})), refused},
		{"userinfo of nobody", both(without("email"), info(map[string]any{"email": "boss@example.com", "email_verified": true})), refused},

		{"another person with her address", claim("sub", "mallory"), "other_identity"},
		{"her name in capitals", claim("sub", "ANNA"), "other_identity"},
		{"an address that only looks like hers", both(claim("sub", "mallory"), claim("email", "аnna@example.com")), "no_account"},
		{"a stranger", both(claim("sub", "mallory"), claim("email", "mallory@example.com")), "no_account"},
	}
	for i, c := range cases {
		if i%8 == 0 {
			begin()
		}
		m.mu.Lock()
		m.say = c.say
		m.mu.Unlock()
		b, want, status := browser(t), "/app/", 200
		if c.want != "" {
			want, status = "/app/?sign_in="+c.want, 401
		}
		if at := arrive(t, b, p.url+"/auth/oidc/start"); at != want {
			t.Errorf("%s: the browser is at %s, want %s\n%s", c.name, at, want, p.log)
		}
		if got := visit(t, b, p.url+"/users"); got != status {
			t.Errorf("%s: %d, want %d", c.name, got, status)
		}
		p.log.Reset()
	}
	t.Logf("%d cases", len(cases))
}

func TestTheKeysOfTheProviderAreFetchedAgainWhenItSignsWithANewOne(t *testing.T) {
	t.Parallel()
	m := newMint(t)
	p := withMint(t, m, pbx.FactorOffered)
	p.invite("anna@example.com", pbx.Auditor)
	if at := arrive(t, browser(t), p.url+"/auth/oidc/start"); at != "/app/" {
		t.Fatalf("the browser is at %s\n%s", at, p.log)
	}
	m.mu.Lock()
	m.key, m.kid = mintKeys()[1], "two"
	m.public = map[string]*rsa.PublicKey{"two": &m.key.PublicKey}
	m.mu.Unlock()
	if at := arrive(t, browser(t), p.url+"/auth/oidc/start"); at != "/app/" {
		t.Errorf("with the new key: %s\n%s", at, p.log)
	}
}

// An account that switched its second factor on is asked for it behind a provider, unless that says there was one: over HTTP, with the routes that
// a session has before.
func TestAnAccountWithASecondFactorIsAskedForItBehindTheProvider(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		claims map[string]any
		acr    []string
		asked  bool
	}{
		{"nothing said", nil, nil, true},
		{"a password", map[string]any{"amr": []string{"pwd"}}, nil, true},
		{"a password, as text", map[string]any{"amr": "pwd"}, nil, true},
		{"an empty list", map[string]any{"amr": []string{}}, nil, true},
		{"no list at all", map[string]any{"amr": 7}, nil, true},
		{"a class that nobody configured", map[string]any{"acr": "gold"}, nil, true},
		{"another class", map[string]any{"acr": "silver"}, []string{"gold"}, true},
		{"the class", map[string]any{"acr": "gold"}, []string{"gold"}, false},
		{"a code", map[string]any{"amr": []string{"pwd", "otp"}}, nil, false},
		{"several factors", map[string]any{"amr": []string{"mfa"}}, nil, false},
		{"a key", map[string]any{"amr": []string{"hwk"}}, nil, false},
	} {
		m := newMint(t)
		m.say = func(w *word) { maps.Copy(w.claims, c.claims) }
		p := withMint(t, m, pbx.FactorOffered, c.acr...)
		secret := p.withFactor("anna@example.com", pbx.Auditor)
		b := browser(t)
		if at := arrive(t, b, p.url+"/auth/oidc/start"); at != "/app/" {
			t.Fatalf("%s: the browser is at %s\n%s", c.name, at, p.log)
		}
		if got, want := visit(t, b, p.url+"/users"), map[bool]int{true: 401, false: 200}[c.asked]; got != want {
			t.Errorf("%s: %d, want %d", c.name, got, want)
		}
		if !c.asked {
			continue
		}
		for _, path := range []string{"/session", "/account/sessions", "/tokens", "/accounts", "/apply/plan", "/live"} {
			if got := visit(t, b, p.url+path); got != 401 {
				t.Errorf("%s: %s: %d", c.name, path, got)
			}
		}
		give := func(otp string) int {
			resp, err := b.Post(p.url+"/session/otp", "application/json", strings.NewReader(`{"otp":"`+otp+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			return resp.StatusCode
		}
		if got := give("000000"); got != 401 {
			t.Errorf("%s: a wrong code: %d", c.name, got)
		}
		if got := give(p.shown(secret)); got != 200 {
			t.Errorf("%s: the code: %d", c.name, got)
		}
		if got := visit(t, b, p.url+"/users"); got != 200 {
			t.Errorf("%s: with the code: %d", c.name, got)
		}
		if got := give("000000"); got != 409 {
			t.Errorf("%s: once more: %d", c.name, got)
		}
	}
}
