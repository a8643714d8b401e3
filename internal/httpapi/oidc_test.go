package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/proc"
)

// programs is the folder of what tests build and share.
var programs string

func TestMain(m *testing.M) {
	code := 1
	var err error
	if programs, err = os.MkdirTemp("", "httpapi-"); err == nil {
		code = m.Run()
		_ = os.RemoveAll(programs)
	}
	os.Exit(code)
}

// providerProgram builds the OpenID provider of the tests, once: tools/provider, a real one in a module of its own.
var providerProgram = sync.OnceValues(func() (string, error) {
	program := filepath.Join(programs, "provider")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	result, err := proc.Run(ctx, proc.Command{Argv: []string{"go", "build", "-C", "../../tools/provider", "-o", program, "."}, Env: os.Environ()})
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("cannot build the provider: %s", result.Stderr)
	}
	return program, err
})

// outsider is a user of the provider.
type outsider struct {
	ID, Username, Password, FirstName, LastName, Email, PreferredLanguage string
	EmailVerified                                                         bool
}

// withProvider makes a portal that is served, and a provider that knows it and these people. Changes are made to what the portal knows of
// the provider.
func withProvider(t *testing.T, change func(*httpapi.OIDC), people ...outsider) *portal {
	t.Helper()
	return withProviderDemanding(t, pbx.FactorOffered, change, people...)
}

// withProviderDemanding is withProvider for a portal that demands a second factor.
func withProviderDemanding(t *testing.T, of pbx.SecondFactor, change func(*httpapi.OIDC), people ...outsider) *portal {
	t.Helper()
	program, err := providerProgram()
	if err != nil {
		t.Fatal(err)
	}
	users := map[string]outsider{}
	for i, p := range people {
		p.ID, p.Password, p.PreferredLanguage = fmt.Sprint("id", i), "verysecure", "en"
		users[p.ID] = p
	}
	text, err := json.Marshal(users)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "users.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	t.Cleanup(server.Close)
	address := "http://" + server.Listener.Addr().String()
	log := filepath.Join(dir, "provider.log")
	provider, err := proc.Start(proc.Command{Argv: []string{program, filepath.Join(dir, "users.json"), "portal", "s3cret", address + "/auth/oidc/callback"}, Env: []string{}, Dir: dir}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Kill() })
	c := httpapi.OIDC{ClientID: "portal", ClientSecret: pbx.SecretFrom("s3cret")}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for c.Issuer == "" {
		select {
		case <-tick.C:
		case <-provider.Done():
			t.Fatal("the provider has ended")
		}
		said, _ := os.ReadFile(log)
		if found := regexp.MustCompile(`(?m)^issuer (\S+)$`).FindSubmatch(said); found != nil {
			c.Issuer = string(found[1])
		}
	}
	if change != nil {
		change(&c)
	}
	portal := newDemanding(t, of, func(config *httpapi.Config) {
		config.OIDC = c
		config.Web = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the pages") })
	})
	server.Config = portal.handler.Server("")
	server.Start()
	portal.url = server.URL
	return portal
}

// browser is a browser with cookies of its own.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

// signInAtProvider follows the portal's redirect, signs in at the provider, and returns the address to which the provider redirects: the portal's
// callback, not yet asked for.
func (p *portal) signInAtProvider(b *http.Client, username string) *url.URL {
	p.t.Helper()
	resp, err := b.Get(p.url + "/auth/oidc/start")
	if err != nil {
		p.t.Fatal(err)
	}
	page, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	found := regexp.MustCompile(`name="id" value="([^"]+)"`).FindSubmatch(page)
	if found == nil {
		p.t.Fatalf("the provider shows %s: %s\n%s", resp.Request.URL, page, p.log)
	}
	var callback *url.URL
	stop := *b
	stop.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), p.url) {
			callback = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	form := url.Values{"id": {string(found[1])}, "username": {username}, "password": {"verysecure"}}
	resp, err = stop.PostForm(resp.Request.URL.Scheme+"://"+resp.Request.URL.Host+"/login/username", form)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if callback == nil {
		p.t.Fatalf("the provider does not send the browser back: %s", resp.Status)
	}
	return callback
}

// arrive follows a link with its redirects, and returns the final address.
func arrive(t *testing.T, b *http.Client, link string) string {
	t.Helper()
	resp, err := b.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.Request.URL.RequestURI()
}

// visit returns the status of an answer.
func visit(t *testing.T, b *http.Client, link string) int {
	t.Helper()
	resp, err := b.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestAPersonSignsInWithTheProviderAndHasTheRightsOfTheAccount(t *testing.T) {
	t.Parallel()
	p := withProvider(t, nil, outsider{Username: "ida", FirstName: "Ida", LastName: "Example", Email: "Ida@example.com", EmailVerified: true})
	if _, _, err := p.auth.Invite(asLocal(t), pbx.NewAccount{Name: "Ida", Email: "ida@example.com", Role: pbx.Auditor}); err != nil {
		t.Fatal(err)
	}
	b := browser(t)
	callback := p.signInAtProvider(b, "ida")
	if at := arrive(t, b, callback.String()); at != "/app/" {
		t.Fatalf("the browser is at %s\n%s", at, p.log)
	}
	for _, c := range []struct {
		method, path string
		status       int
	}{{"GET", "/users", 200}, {"DELETE", "/users/x", 403}} {
		r, err := http.NewRequest(c.method, p.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := b.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s %s: %s", c.method, c.path, resp.Status)
		}
	}
	if at := arrive(t, b, callback.String()); at != "/app/?sign_in=sign_in_again" {
		t.Errorf("the same answer once more leads to %s", at)
	}
	if log := p.log.String(); strings.Contains(log, callback.Query().Get("code")) {
		t.Error("the log shows the code")
	}
}

func TestNothingIsInferredThatTheProviderDidNotState(t *testing.T) {
	t.Parallel()
	p := withProvider(t, nil,
		outsider{Username: "nobody", FirstName: "No", LastName: "Body", Email: "nobody@example.com", EmailVerified: true},
		outsider{Username: "liar", FirstName: "Li", LastName: "Ar", Email: "olga@example.com"}, // says to be the owner
		outsider{Username: "nameless", FirstName: "Name", LastName: "Less", EmailVerified: true})
	for username, want := range map[string]string{"nobody": "no_account", "liar": "email_unverified", "nameless": "email_unverified"} {
		b := browser(t)
		if at := arrive(t, b, p.signInAtProvider(b, username).String()); at != "/app/?sign_in="+want {
			t.Errorf("%s is at %s\n%s", username, at, p.log)
		}
		if status := visit(t, b, p.url+"/users"); status != 401 {
			t.Errorf("%s is signed in: %d", username, status)
		}
	}
}

// The provider of these tests says that it asked for a password (amr), and for nothing else.
func TestWhereASecondFactorIsDemandedAProviderMustNotSayThatAPasswordAloneWasEnough(t *testing.T) {
	t.Parallel()
	p := withProviderDemanding(t, pbx.FactorOwners, nil,
		outsider{Username: "olga", FirstName: "Olga", LastName: "Owner", Email: "olga@example.com", EmailVerified: true},
		outsider{Username: "ida", FirstName: "Ida", LastName: "Example", Email: "ida@example.com", EmailVerified: true})
	if _, _, err := p.auth.Invite(asLocal(t), pbx.NewAccount{Name: "Ida", Email: "ida@example.com", Role: pbx.Auditor}); err != nil {
		t.Fatal(err)
	}
	for username, want := range map[string]string{"olga": "/app/?sign_in=password_alone", "ida": "/app/"} {
		b := browser(t)
		if at := arrive(t, b, p.signInAtProvider(b, username).String()); at != want {
			t.Errorf("%s is at %s\n%s", username, at, p.log)
		}
	}
	for _, c := range []struct {
		methods any
		acr     string
		want    auth.Factor // where no class is configured
		strict  auth.Factor // where gold is
	}{
		{nil, "", auth.FactorUnsaid, auth.FactorNone},
		{[]any{}, "", auth.FactorUnsaid, auth.FactorNone},
		{7.0, "", auth.FactorUnsaid, auth.FactorNone},
		{nil, "gold", auth.FactorUnsaid, auth.FactorProved},
		{nil, "silver", auth.FactorUnsaid, auth.FactorNone},
		{[]any{"pwd"}, "", auth.FactorNone, auth.FactorNone},
		{[]any{"pwd"}, "gold", auth.FactorNone, auth.FactorProved},
		{"pwd", "", auth.FactorNone, auth.FactorNone},
		{[]any{"pwd", "pwd"}, "", auth.FactorNone, auth.FactorNone},
		{[]any{"pwd", "pin", "geo"}, "", auth.FactorNone, auth.FactorNone},
		{[]any{7.0, nil}, "", auth.FactorNone, auth.FactorNone},
		{[]any{"pwd", "otp"}, "", auth.FactorProved, auth.FactorProved},
		{[]any{"mfa"}, "", auth.FactorProved, auth.FactorProved},
		{"hwk", "", auth.FactorProved, auth.FactorProved},
	} {
		said := map[string]any{"amr": c.methods, "acr": c.acr}
		if got, strict := httpapi.FactorOf(nil, said), httpapi.FactorOf([]string{"gold"}, said); got != c.want || strict != c.strict {
			t.Errorf("%v: %q and %q", said, got, strict)
		}
	}
}

func TestAnAccountIsCreatedOnlyIfADefaultRoleIsSet(t *testing.T) {
	t.Parallel()
	p := withProvider(t, func(c *httpapi.OIDC) { c.DefaultRole = pbx.Operator }, outsider{Username: "new", FirstName: "Nina", LastName: "New", Email: "nina@example.com", EmailVerified: true})
	b := browser(t)
	if at := arrive(t, b, p.signInAtProvider(b, "new").String()); at != "/app/" {
		t.Fatalf("the browser is at %s\n%s", at, p.log)
	}
	account, err := p.auth.AccountByEmail(t.Context(), "nina@example.com")
	if err != nil || account.Role != pbx.Operator || account.Name != "Nina New" {
		t.Errorf("%+v, %v", account, err)
	}
}

func TestASignInThatDidNotBeginInThisBrowserOrWasChangedEndsNowhere(t *testing.T) {
	t.Parallel()
	p := withProvider(t, nil, outsider{Username: "olga", FirstName: "Olga", LastName: "Owner", Email: "olga@example.com", EmailVerified: true})
	portal, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	change := func(part int) func(*http.Client, *url.URL) *http.Client {
		return func(b *http.Client, _ *url.URL) *http.Client {
			for _, c := range b.Jar.Cookies(portal) {
				if c.Name == "pbxportal-"+portal.Port()+"-oidc" {
					parts := strings.Split(c.Value, ".")
					parts[part] = strings.Repeat("A", 43)
					b.Jar.SetCookies(portal, []*http.Cookie{{Name: c.Name, Value: strings.Join(parts, "."), Path: "/"}})
				}
			}
			return b
		}
	}
	query := func(name, value string) func(*http.Client, *url.URL) *http.Client {
		return func(b *http.Client, u *url.URL) *http.Client {
			q := u.Query()
			q.Set(name, value)
			u.RawQuery = q.Encode()
			return b
		}
	}
	for name, c := range map[string]struct {
		do   func(*http.Client, *url.URL) *http.Client
		want string
	}{
		"another browser":       {func(*http.Client, *url.URL) *http.Client { return browser(t) }, "sign_in_again"},
		"another state":         {query("state", "x"), "sign_in_again"},
		"no state":              {query("state", ""), "sign_in_again"},
		"another code":          {query("code", "x"), "provider_refused"},
		"no code":               {query("code", ""), "provider_refused"},
		"another provider":      {query("iss", "https://evil.example"), "provider_refused"},
		"another state, cookie": {change(0), "sign_in_again"},
		"another nonce":         {change(1), "provider_refused"},
		"another verifier":      {change(2), "provider_refused"},
	} {
		b := browser(t)
		callback := p.signInAtProvider(b, "olga")
		b = c.do(b, callback)
		if at := arrive(t, b, callback.String()); at != "/app/?sign_in="+c.want {
			t.Errorf("%s: the browser is at %s\n%s", name, at, p.log)
		}
		if status := visit(t, b, p.url+"/users"); status != 401 {
			t.Errorf("%s: signed in: %d", name, status)
		}
		p.log.Reset()
	}
}

func TestThePortalStartsWithoutItsProviderAndWithNone(t *testing.T) {
	t.Parallel()
	p := newUnserved(t, func(c *httpapi.Config) { c.OIDC = httpapi.OIDC{Issuer: "http://127.0.0.1:1", ClientID: "portal"} })
	if a := p.as("").request(here, "GET", "http://localhost/auth/oidc/start", ""); a.status != 303 || a.header.Get("Location") != "../../app/?sign_in=provider_away" {
		t.Errorf("%d %v %s", a.status, a.header, a.text)
	}
	p = newUnserved(t)
	for _, path := range []string{"/auth/oidc/start", "/auth/oidc/callback?code=x&state=y"} {
		if a := p.as("").request(here, "GET", "http://localhost"+path, ""); a.status != 404 {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
}

func TestASilentProviderDelaysARequestOnlyUpToItsTimeout(t *testing.T) {
	t.Parallel()
	asked, speak := make(chan struct{}), make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-speak
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(speak) })
	p := newUnserved(t, func(c *httpapi.Config) { c.OIDC = httpapi.OIDC{Issuer: silent.URL, ClientID: "portal"} })
	start := func(ctx context.Context) (answered chan *httptest.ResponseRecorder) {
		answered = make(chan *httptest.ResponseRecorder, 1)
		r := httptest.NewRequestWithContext(ctx, "GET", "http://localhost/auth/oidc/start", nil)
		r.RemoteAddr = here
		go func() {
			rec := httptest.NewRecorder()
			p.handler.ServeHTTP(rec, r)
			answered <- rec
		}()
		return answered
	}
	start(t.Context())
	<-asked
	over, cancel := context.WithCancel(t.Context())
	cancel()
	select {
	case rec := <-start(over):
		if to := rec.Header().Get("Location"); rec.Code != http.StatusSeeOther || !strings.Contains(to, "provider_away") {
			t.Errorf("%d to %q", rec.Code, to)
		}
	case <-time.After(5 * time.Second):
		t.Error("it waits for as long as others do")
	}
}

// Requests that wait for the provider take none of the slots of sign-ins with a password.
func TestASilentProviderDoesNotPreventSigningInWithAPassword(t *testing.T) {
	t.Parallel()
	asked, speak := make(chan struct{}), make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-speak
	}))
	t.Cleanup(silent.Close)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer close(speak)
	p := newUnserved(t, func(c *httpapi.Config) {
		c.OIDC = httpapi.OIDC{Issuer: silent.URL, ClientID: "portal"}
		c.Edge.Limits = httpapi.Limits{InFlight: 1, InFlightEach: 1}
	})
	waiting.Go(func() { p.as("").request(here, "GET", "http://localhost/auth/oidc/start", "") })
	<-asked
	if a := p.as("").request(here, "POST", "http://localhost/session", `{"email":"a@example.com","password":"not the right one"}`); a.status != 401 {
		t.Errorf("signing in with a password is answered with %d %s", a.status, a.text)
	}
	if a := p.as("").request(here, "GET", "http://localhost/auth/oidc/start", ""); a.status != 429 {
		t.Errorf("a second request that waits for the provider is answered with %d %s", a.status, a.text)
	}
}
