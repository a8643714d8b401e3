package httpapi_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// stranger is one way to come without the right to.
type stranger struct {
	name   string
	url    string // scheme and host; "" for those of this machine
	query  string
	header []string
	code   string // of the refusal
	writes bool   // refused only where something would change
}

// strangers makes every kind of credentials that must not hold, on a portal whose clock it puts forward.
func (p *portal) strangers() []stranger {
	p.t.Helper()
	admin := pbx.NewToken{Name: "admin", Role: pbx.Admin}
	expired := grant(p.t, p.auth, pbx.NewToken{Name: "expired", Role: pbx.Owner, Lives: time.Hour})
	revoked, secret, err := p.auth.CreateToken(asLocal(p.t), admin)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.auth.RevokeToken(asLocal(p.t), revoked.ID); err != nil {
		p.t.Fatal(err)
	}
	idle := p.session()
	p.ahead.Store(int64(2 * time.Hour))
	session, ended := p.session(), p.session()
	if err := p.auth.SignOut(auth.WithPrincipal(p.t.Context(), ended.Principal)); err != nil {
		p.t.Fatal(err)
	}
	good, other := p.token, grant(p.t, p.auth, admin)
	cookie := "pbxportal=" + session.Token.Reveal()
	bearer := func(name, value string) stranger {
		return stranger{name: name, header: []string{"Authorization", value}, code: "not_signed_in"}
	}
	withCookie := func(name, value string, more ...string) stranger {
		return stranger{name: name, header: append([]string{"Cookie", value}, more...), code: "not_signed_in"}
	}
	return []stranger{
		{name: "nothing", code: "not_signed_in"},
		bearer("an empty header", " "),
		bearer("a word", "admin"),
		bearer("Basic", "Basic YWRtaW46YWRtaW4="),
		bearer("Bearer alone", "Bearer"),
		bearer("Bearer and a blank", "Bearer "),
		bearer("any token", "Bearer x"),
		bearer("null", "Bearer null"),
		bearer("the mark alone", "Bearer pbx_"),
		bearer("a token cut short", "Bearer "+good[:len(good)-1]),
		bearer("a token and more", "Bearer "+good+"A"),
		bearer("a token whose last sign is another", "Bearer "+good[:len(good)-1]+map[bool]string{true: "B", false: "A"}[good[len(good)-1] == 'A']),
		bearer("the secret of another token", "Bearer "+good[:21]+other[21:]),
		bearer("a token in small letters", "Bearer "+strings.ToLower(good)),
		bearer("two blanks", "Bearer  "+good),
		bearer("a token without its scheme", good),
		bearer("a token as a password", "Basic "+good),
		bearer("two tokens", "Bearer "+good+", Bearer "+good),
		bearer("an expired token", "Bearer "+expired),
		bearer("a revoked token", "Bearer "+secret.Reveal()),
		bearer("a session's token as an API token", "Bearer "+session.Token.Reveal()),
		{name: "two headers", header: []string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + good}, code: "not_signed_in"},
		withCookie("an API token as a cookie", "pbxportal="+good),
		withCookie("an empty cookie", "pbxportal="),
		withCookie("another cookie", "session="+session.Token.Reveal()),
		withCookie("the cookie of an encrypted connection, unencrypted", "__Host-pbxportal="+session.Token.Reveal()),
		withCookie("a session cut short", cookie[:len(cookie)-1]),
		withCookie("a session and more", cookie+"A"),
		withCookie("a session in other letters", "pbxportal="+strings.ToUpper(session.Token.Reveal())),
		withCookie("a session that nobody used for two hours", "pbxportal="+idle.Token.Reveal()),
		withCookie("a session that has ended", "pbxportal="+ended.Token.Reveal()),
		withCookie("two cookies", cookie+"; "+cookie),
		withCookie("a cookie beside a header that does not hold", cookie, "Authorization", "Bearer x"),
		{name: "a header that names a user", header: []string{"X-Remote-User", "olga@example.com", "X-Forwarded-User", "olga@example.com", "X-Authenticated", "1"}, code: "not_signed_in"},
		{name: "a header that names the machine", header: []string{"X-Forwarded-For", "127.0.0.1", "X-Real-Ip", "127.0.0.1"}, code: "not_signed_in"},
		{name: "a parameter", query: "?access_token=" + good + "&token=" + good, code: "not_signed_in"},
		withCookie("a cookie that another site made the browser send", cookie, "Sec-Fetch-Site", "cross-site"),
		withCookie("a cookie that another port made the browser send", cookie, "Sec-Fetch-Site", "same-site"),
		{name: "a change from another origin", header: []string{"Cookie", cookie, "Origin", "http://localhost:3000"}, code: "cross_origin", writes: true},
		{name: "an owner without the second factor that is demanded of him", header: []string{"Cookie", "pbxportal=" + p.factorless().Token.Reveal()}, code: "second_factor_needed"},
		{name: "an owner whose session still owes its second factor", header: []string{"Cookie", "pbxportal=" + p.owing().Token.Reveal()}, code: "otp_required"},
		{name: "a page that shows another account", header: []string{"Cookie", cookie, "Expected-Account", "2f9e5a1c-8d8e-4a53-9f5b-8a3b6f0f4c11"}, code: "other_account"},
		{name: "a token where a page shows an account", header: []string{"Authorization", "Bearer " + good, "Expected-Account", "2f9e5a1c-8d8e-4a53-9f5b-8a3b6f0f4c11"}, code: "other_account"},
		{name: "the right token for another name", url: "http://rebind.example.net", header: []string{"Authorization", "Bearer " + good}, code: "host_not_allowed"},
		{name: "the right cookie for another name", url: "http://rebind.example.net", header: []string{"Cookie", cookie}, code: "host_not_allowed"},
	}
}

// otto is an owner with credentials.
func (p *portal) otto() (context.Context, auth.SignIn) {
	p.t.Helper()
	ctx := pbx.WithActor(asLocal(p.t), pbx.Actor{Kind: pbx.ActorLocal, From: "127.0.0.1"})
	s := auth.SignIn{Email: "otto@example.com", Password: pbx.SecretFrom("correct horse battery staple")}
	if _, err := p.auth.AccountByEmail(ctx, s.Email); err != nil {
		if _, err := p.auth.Create(ctx, pbx.NewAccount{Name: "Otto Owner", Email: s.Email, Role: pbx.Owner}, s.Password); err != nil {
			p.t.Fatal(err)
		}
	}
	return ctx, s
}

// session signs in a user with all permissions, also if a second factor is required.
func (p *portal) session() auth.SessionGrant {
	p.t.Helper()
	ctx, s := p.otto()
	opened, err := p.auth.SignInFederated(ctx, auth.FederatedLogin{Identity: pbx.Identity{Issuer: "https://id.example.com", Subject: "otto"}, Email: s.Email})
	if err != nil {
		p.t.Fatal(err)
	}
	return opened
}

// factorless signs in a user with all permissions but without the required second factor.
func (p *portal) factorless() auth.SessionGrant {
	p.t.Helper()
	opened, err := p.auth.SignIn(p.otto())
	if err != nil {
		p.t.Fatal(err)
	}
	return opened
}

// owing signs in a user with all permissions through a provider, with the second factor still pending.
func (p *portal) owing() auth.SessionGrant {
	p.t.Helper()
	const email = "eva@example.com"
	p.withFactor(email, pbx.Owner)
	opened, err := p.auth.SignInFederated(asLocal(p.t), auth.FederatedLogin{Identity: pbx.Identity{Issuer: "https://id.example.com", Subject: "eva"}, Email: email})
	if err != nil || !opened.Principal.OwesFactor() {
		p.t.Fatal(err)
	}
	return opened
}

// whatIsLeft lists the operations permitted without the required second factor.
var whatIsLeft = []string{"GET /session", "DELETE /session", "POST /account/password", "POST /account/totp", "POST /account/totp/confirm"}

// walk asks every route with everything that must not hold, and with what must, and tells where that went otherwise. A check is named
// that is to be left out, "" for none.
func walk(t *testing.T, without string) (wrong []string, asked int) {
	t.Helper()
	p := newDemanding(t, pbx.FactorOwners, func(c *httpapi.Config) { c.Edge.Limits.Requests = httpapi.Pace{PerSecond: 1e-9, Burst: 1} })
	p.handler.Disarm(without)
	strangers, all := p.strangers(), routes(t)
	nobody := p.as("")
	ask := func(r route, s stranger) answer {
		asked++
		return nobody.request(here, r.method, cmp.Or(s.url, "http://localhost")+r.path+s.query, r.body, s.header...)
	}
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	turnedAway := func(a answer) bool { return a.status == 401 && a.code() != "sign_in_failed" } // the sign-in asks for a password as well
	for _, r := range all {
		if without != "" && len(wrong) > 0 {
			return wrong, asked // that is all the caller wants to know
		}
		public := r.permission == string(pbx.Public)
		for _, s := range strangers {
			if (s.code == "second_factor_needed" || s.code == "otp_required") && r.operation == "DELETE /session" {
				continue // signing out is permitted, and the rest is still to be tested
			}
			a := ask(r, s)
			code, unsafe := s.code, r.method != http.MethodGet
			switch crossing := slices.Contains(s.header, "Sec-Fetch-Site") || slices.Contains(s.header, "Origin"); {
			case s.code == "host_not_allowed":
			case crossing && unsafe:
				code = "cross_origin"
			case s.code == "second_factor_needed" && slices.Contains(whatIsLeft, r.operation):
				code = ""
			case s.code == "otp_required" && r.operation == "POST /session/otp":
				code = ""
			case public, s.writes:
				code = "" // any caller may
			}
			if code == "" {
				if turnedAway(a) || a.status == 403 && a.code() != "persons_only" && !strings.HasSuffix(a.code(), "_invalid") {
					note("%s is closed to %s: %d %s", r.operation, s.name, a.status, a.code())
				}
				continue
			}
			if a.code() != code {
				note("%s is open to %s: %d %s, want %s", r.operation, s.name, a.status, a.code(), code)
			}
			if a.status == 401 && a.header.Get("WWW-Authenticate") != "Bearer" {
				note("%s does not say how to sign in", r.operation)
			}
		}
		for _, role := range pbx.Roles() {
			token := grant(t, p.auth, pbx.NewToken{Name: string(role), Role: role})
			a := ask(r, stranger{header: []string{"Authorization", "Bearer " + token}})
			may := public || r.permission == string(pbx.SignedIn) || role.May(pbx.Permission(r.permission))
			if may == (a.code() == "forbidden") || turnedAway(a) {
				note("%s as %s: %d %s", r.operation, role, a.status, a.text)
			}
			if !may && (a.status != 403 || !strings.Contains(a.text, r.permission) || !strings.Contains(a.text, "owner")) {
				note("%s does not say what %s lacks: %d %s", r.operation, role, a.status, a.text)
			}
		}
		for _, far := range []struct{ url, code string }{{"http://localhost", "tls_needed"}, {"https://localhost", "too_many_requests"}} {
			nobody.request(there, r.method, far.url+r.path, r.body) // the first and last that the pace allows
			if a := nobody.request(there, r.method, far.url+r.path, r.body); a.code() != far.code {
				note("%s from another machine: %d %s, want %s", r.operation, a.status, a.code(), far.code)
			}
		}
	}
	for range 20 {
		_ = p.handler.TryDoor(t.Context(), netip.MustParseAddr("127.0.0.1"))
	}
	if err := p.handler.TryDoor(t.Context(), netip.MustParseAddr("127.0.0.1")); pbx.KindOf(err) != pbx.KindTooMany {
		note("sign-in attempts are not limited: %v", err)
	}
	return append(wrong, fresh(t, without)...), asked
}

// fresh requests every route of a portal without accounts.
func fresh(t *testing.T, without string) (wrong []string) {
	t.Helper()
	p := newUnserved(t, func(c *httpapi.Config) { c.Auth = emptyAuth(t) })
	p.handler.Disarm(without)
	for _, r := range routes(t) {
		open := slices.Contains([]string{
			"GET /health", "GET /livez", "GET /readyz", "GET /setup", "POST /setup", "GET /docs", "GET /docs/{file}", "GET /openapi.yaml", "GET /openapi.json",
		}, r.operation)
		for _, header := range [][]string{nil, {"Authorization", "Bearer " + p.token}} { // the token is another portal's
			a := p.as("").request(here, r.method, "http://localhost"+r.path, r.body, header...)
			if open == (a.status == 403 && a.code() == "setup_needed") || open && a.status == 401 {
				wrong = append(wrong, fmt.Sprintf("%s before set-up: %d %s", r.operation, a.status, a.code()))
			}
		}
	}
	return wrong
}

func TestInvalidCredentialsGrantNoAccess(t *testing.T) {
	t.Parallel()
	wrong, asked := walk(t, "")
	for _, w := range wrong {
		t.Error(w)
	}
	t.Logf("%d requests to %d routes", asked, len(routes(t)))
}

func TestNoOtherSpellingOfARequestIsAWayIn(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	nobody := p.as("")
	for _, r := range routes(t) {
		if r.permission == string(pbx.Public) {
			continue
		}
		first, rest := r.path[1:2], r.path[2:]
		for _, path := range []string{
			r.path, "/" + r.path, r.path + "/", r.path + "//", "/." + r.path, "/health/.." + r.path, "/health/..%2f" + r.path[1:], "/app/.." + r.path, "/app/%2e%2e" + r.path,
			"/" + strings.ToUpper(first) + rest, fmt.Sprintf("/%%%x%s", first, rest), r.path + "%00", r.path + ";x=1", r.path + ".json", r.path + "%20", "/docs/.." + r.path,
		} {
			for _, method := range []string{r.method, "HEAD", "OPTIONS", "PUT", "PATCH", "FROB"} {
				a := nobody.request(here, method, "http://localhost"+path, r.body, "X-HTTP-Method-Override", r.method, "X-Original-URL", r.path, "X-Rewrite-URL", r.path)
				if a.status < 400 && method != "OPTIONS" || a.status >= 500 || method == "OPTIONS" && a.text != "" && a.status < 400 {
					t.Errorf("%s %s (%s): %d %s", method, path, r.operation, a.status, a.text)
				}
			}
		}
	}
}

// The table is what the portal does, found out by asking it.
func TestTheTableOfPermissions(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "operation\tpermission")
	callers := []string{"nobody"}
	tokens := map[string]string{}
	for _, role := range pbx.Roles() {
		callers = append(callers, string(role))
		tokens[string(role)] = grant(t, p.auth, pbx.NewToken{Name: string(role), Role: role})
	}
	fmt.Fprintln(w, "\t"+strings.Join(callers, "\t"))
	all := routes(t)
	slices.SortFunc(all, func(a, b route) int {
		return cmp.Or(strings.Compare(a.prefix, b.prefix), strings.Compare(a.path+" "+a.method, b.path+" "+b.method))
	})
	rows := map[string]string{}
	for _, r := range all {
		row := "\t" + r.permission
		for _, caller := range callers {
			a := p.as(tokens[caller]).request(here, r.method, "http://localhost"+r.path, r.body)
			mark := "yes"
			if a.code() == "not_signed_in" || a.code() == "forbidden" {
				mark = "-"
			}
			row += "\t" + mark
		}
		switch before, again := rows[r.operation]; {
		case !again:
			rows[r.operation] = row
			fmt.Fprintln(w, r.operation+row)
		case before != row:
			t.Errorf("%s at %s: %s, and at its other path: %s", r.operation, r.path, row, before)
		}
	}
	_ = w.Flush()
	const golden = "testdata/access.golden"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, table.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), table.String()); diff != "" {
		t.Errorf("who may do what has changed; if that is meant, run make golden and read the diff of %s: %s", golden, diff)
	}
}

func TestSecretsAreShownOnlyWithPermission(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	created := p.request(here, "POST", "http://localhost/users", `{"name":"Anna","email":"anna@example.com"}`)
	secret := created.at("extension.secret").(string)
	writer := grant(t, p.auth, pbx.NewToken{Name: "writer", Role: pbx.Operator, Scopes: []pbx.Permission{pbx.UsersRead, pbx.UsersWrite}})
	if a := p.as(writer).request(here, "POST", "http://localhost/users", `{"name":"Ben","email":"ben@example.com"}`); a.status != 201 || a.at("extension.number") != 1001.0 || a.at("extension.secret") != nil {
		t.Errorf("%d %s", a.status, a.text)
	}
	for _, role := range pbx.Roles() {
		caller := p.as(grant(t, p.auth, pbx.NewToken{Name: string(role), Role: role}))
		for _, path := range []string{"/users", "/users?q=anna&limit=1", "/users/" + created.json["id"].(string), "/apply/plan", "/apply/logs"} {
			a := caller.request(here, "GET", "http://localhost"+path, "")
			shown := strings.Contains(a.text, secret)
			if a.status != 200 || shown != (role.May(pbx.SecretsRead) && strings.HasPrefix(path, "/users")) {
				t.Errorf("%s as %s: %d %s", path, role, a.status, a.text)
			}
		}
	}
}

func TestWhatHasNoPermissionDoesNotStart(t *testing.T) {
	t.Parallel()
	for name, permission := range map[string]any{"none": nil, "an unknown one": "users:frob", "an empty one": "", "a list": []string{"public"}, "another type": 7} {
		c := openContract(t)
		op := c.Paths.Value("/users").Get
		if delete(op.Extensions, "x-permission"); permission != nil {
			op.Extensions["x-permission"] = permission
		}
		if _, err := httpapi.NewFrom(newConfig(t), c); err == nil || !strings.Contains(err.Error(), "GET /users") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := openContract(t)
	c.Paths.Delete("/metrics")
	if _, err := httpapi.NewFrom(newConfig(t), c); err == nil || !strings.Contains(err.Error(), "GET /metrics") {
		t.Errorf("a route that the contract does not have: %v", err)
	}
}

func TestATokenCreatedAtTheCommandLineIsValidBeforeSetUp(t *testing.T) {
	t.Parallel()
	a := emptyAuth(t)
	p := newUnserved(t, func(c *httpapi.Config) { c.Auth = a })
	p.token = grant(t, a, pbx.NewToken{Name: "headless", Role: pbx.Auditor})
	if a := p.request(here, "GET", "http://localhost/users", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := p.request(here, "DELETE", "http://localhost/users/x", ""); a.code() != "forbidden" {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestASessionIsValidOnlyInItsCookie(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	token := p.session().Token.Reveal()
	nobody := p.as("")
	for _, c := range []struct {
		url    string
		header []string
		status int
	}{
		{"http://localhost/users", []string{"Cookie", "pbxportal=" + token}, 200},
		{"http://localhost/users", []string{"Cookie", "a=b; pbxportal=" + token, "Sec-Fetch-Site", "same-origin"}, 200},
		{"http://localhost/users", []string{"Cookie", "pbxportal=" + token, "Sec-Fetch-Site", "none"}, 200},
		{"http://localhost/users", []string{"Cookie", "pbxportal=" + token, "Sec-Fetch-Site", ""}, 401},
		{"http://localhost/users", []string{"Cookie", "pbxportal=" + token, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "same-origin"}, 401},
		{"https://localhost/users", []string{"Cookie", "__Host-pbxportal=" + token}, 200},
		{"https://localhost/users", []string{"Cookie", "pbxportal=" + token}, 401},
		{"http://localhost/users", []string{"Cookie", "__Host-pbxportal=" + token}, 401},
		{"http://localhost/users", []string{"Authorization", "bearer " + p.token}, 200},
	} {
		if a := nobody.request(here, "GET", c.url, "", c.header...); a.status != c.status {
			t.Errorf("%s with %v: %d %s", c.url, c.header[0], a.status, a.text)
		}
	}
	if log := p.log.String(); strings.Contains(log, token) || strings.Contains(log, p.token) || !strings.Contains(log, `"actor":"person `) || !strings.Contains(log, `"actor":"token `) {
		t.Errorf("the log shows a token, or not who asked:\n%s", log)
	}
}

func TestTheCookieOfASessionCannotBeReadOrSentElsewhere(t *testing.T) {
	t.Parallel()
	until := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	const rest = "; Path=/; Expires=Thu, 26 Nov 2026 12:00:00 GMT; "
	for _, c := range []struct {
		public, host string
		secure       bool
		token, want  string
	}{
		{"", "pbx.example.com", true, "t0ken", "__Host-pbxportal=t0ken" + rest + "HttpOnly; Secure; SameSite=Strict"},
		{"", "localhost", false, "t0ken", "pbxportal=t0ken" + rest + "HttpOnly; SameSite=Strict"},
		{"", "pbx.example.com:443", true, "", "__Host-pbxportal=" + rest + "Max-Age=0; HttpOnly; Secure; SameSite=Strict"},
		{"", "[::1]:8001", false, "t0ken", "pbxportal-8001=t0ken" + rest + "HttpOnly; SameSite=Strict"},
		{"", "localhost:8;1", false, "t0ken", "pbxportal=t0ken" + rest + "HttpOnly; SameSite=Strict"},
		{"pbx.example.com:8443", "127.0.0.1:8000", true, "t0ken", "__Host-pbxportal-8443=t0ken" + rest + "HttpOnly; Secure; SameSite=Strict"},
	} {
		if got := httpapi.SessionCookie(t.Context(), c.public, c.host, c.secure, c.token, until); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestTwoPortalsOnOneHostNameDoNotEndEachOthersSessions(t *testing.T) {
	t.Parallel()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var portals []*portal
	for range 2 {
		p := newPortal(t)
		p.otto()
		p = p.as("")
		p.client.Jar = jar
		portals = append(portals, p)
	}
	for _, p := range portals {
		if a := p.do("POST", "/session", `{"email":"otto@example.com","password":"correct horse battery staple"}`); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.text)
		}
	}
	if a := portals[1].do("DELETE", "/session", ""); a.status != 204 {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := portals[0].do("GET", "/session", ""); a.status != 200 {
		t.Errorf("after a sign-in and a sign-out at the other portal: %d %s", a.status, a.text)
	}
}

func TestWithoutAuthenticationEveryAnswerSaysSo(t *testing.T) {
	t.Parallel()
	p := newUnserved(t, func(c *httpapi.Config) { c.Auth, c.Insecure = emptyAuth(t), true })
	for _, r := range routes(t) {
		a := p.as("").request(here, r.method, "http://localhost"+r.path, r.body)
		if a.header.Get("Insecure") == "" || a.status == 401 && a.code() != "sign_in_failed" || a.code() == "forbidden" || a.code() == "setup_needed" {
			t.Errorf("%s: %d %v %s", r.operation, a.status, a.header, a.text)
		}
	}
	if a := p.as("").request(here, "GET", "http://localhost/nowhere", ""); a.header.Get("Insecure") == "" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if a := newUnserved(t).request(here, "GET", "http://localhost/users", ""); a.header.Get("Insecure") != "" {
		t.Error("a portal that asks says that it does not")
	}
}

func TestTheWebPagesAreOpenAndNothingBesideThem(t *testing.T) {
	t.Parallel()
	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, "page ", r.URL.Path)
	})
	for name, change := range map[string]func(*httpapi.Config){
		"set up":        func(c *httpapi.Config) { c.Web = pages },
		"before set-up": func(c *httpapi.Config) { c.Web, c.Auth = pages, emptyAuth(t) },
	} {
		p := newUnserved(t, change)
		nobody := p.as("")
		for path, want := range map[string]string{"/app/": "page /app/", "/app/users/1000": "page /app/users/1000", "/app/users/": "page /app/users/", "/app/assets/x.js": "page /app/assets/x.js"} {
			a := nobody.request(here, "GET", "http://localhost"+path, "")
			policy := a.header.Get("Content-Security-Policy")
			if a.status != 200 || a.text != want || !strings.Contains(policy, "script-src 'self'") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
				t.Errorf("%s, %s: %d %s %s", name, path, a.status, a.text, policy)
			}
		}
		for _, path := range []string{"/", "/app"} {
			if a := nobody.request(here, "GET", "http://localhost"+path, ""); a.status != 307 || a.header.Get("Location") != "app/" || a.text != "" {
				t.Errorf("%s, %s: %d %v %s", name, path, a.status, a.header, a.text)
			}
		}
		for _, path := range []string{"/app/../users", "/app//x", "/app/./x", "/application/", "/index.html"} {
			if a := nobody.request(here, "GET", "http://localhost"+path, ""); a.status != 404 {
				t.Errorf("%s, %s: %d %s", name, path, a.status, a.text)
			}
		}
		if a := nobody.request(here, "POST", "http://localhost/app/", ""); a.status != 405 {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
}

func TestDeniedRequestsAreInTheAuditTrailOnceAMinute(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	token := grant(t, p.auth, pbx.NewToken{Name: "backup", Role: pbx.Auditor})
	refused := func() []any {
		events, _ := p.request(here, "GET", "http://localhost/audit?action=request.refused", "", "Authorization", "Bearer "+p.token).at("events").([]any)
		return events
	}
	ask := func(times int, method, path, body string) {
		for range times {
			if a := p.as(token).request(here, method, "http://localhost"+path, body, "Authorization", "Bearer "+token); a.code() != "forbidden" {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.text)
			}
		}
	}
	ask(5, "POST", "/users", `{}`)
	ask(5, "DELETE", "/users/1d6b1a3e-0b0a-4b63-9c0a-3c1f0a6f8f10", "")
	for range 5 {
		p.as("").request(here, "GET", "http://localhost/users", "")
	}
	if events := refused(); len(events) != 2 || !strings.Contains(marshal(t, events), `"id":"POST /users"`) || !strings.Contains(marshal(t, events), `"id":"DELETE /users/{userId}"`) ||
		!strings.Contains(marshal(t, events), `"after":{"permission":"users:write","times":"1"}`) || !strings.Contains(marshal(t, events), `"name":"backup"`) {
		t.Errorf("the events are %s", marshal(t, events))
	}
	tell := func() {
		if err := p.auth.RecordRefused(t.Context()); err != nil {
			t.Error(err)
		}
	}
	tell()
	p.ahead.Store(int64(time.Minute))
	ask(5, "POST", "/users", `{}`)
	tell()
	if events := refused(); len(events) != 5 || !strings.Contains(marshal(t, events[0]), `"times":"5"`) {
		t.Errorf("a minute later the events are %s", marshal(t, events))
	}
	metrics := p.request(here, "GET", "http://localhost/metrics", "", "Authorization", "Bearer "+p.token).text
	for _, want := range []string{`pbxportal_refused_total{reason="forbidden"} 15`, `pbxportal_refused_total{reason="not_signed_in"} 5`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}
