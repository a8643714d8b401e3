package httpapi_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

const password = "viele kleine Igel singen"

// visitor is a browser that keeps only the cookie of the portal.
type visitor struct {
	*portal

	cookie string
}

func (p *portal) visitor() *visitor { return &visitor{portal: p.as("")} }

// ask sends a request with the cookie, and keeps a new one.
func (b *visitor) ask(method, path, body string) answer {
	b.t.Helper()
	var header []string
	if b.cookie != "" {
		header = []string{"Cookie", b.cookie}
	}
	a := b.request(here, method, "http://localhost"+path, body, header...)
	for _, line := range a.header.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.Name != "pbxportal" {
			b.t.Errorf("cookie %q, error %v", line, err)
			continue
		}
		b.cookie = c.Name + "=" + c.Value
		if c.MaxAge < 0 {
			b.cookie = ""
		}
	}
	return a
}

// want asks for an answer with a status and, of a failure, a code.
func (b *visitor) want(status int, code, method, path, body string) answer {
	b.t.Helper()
	a := b.ask(method, path, body)
	if a.status != status || a.code() != code {
		b.t.Errorf("%s %s: %d %s, want %d %s", method, path, a.status, a.text, status, code)
	}
	return a
}

func TestAnOwnerSetsThePortalUpAndInvitesOthers(t *testing.T) {
	t.Parallel()
	service := emptyAuth(t)
	p := newUnserved(t, func(c *httpapi.Config) { c.Auth = service })
	anna := p.visitor()
	if a := anna.want(200, "", "GET", "/setup", ""); a.text != `{"needed":true,"oidc":false}`+"\n" {
		t.Error(a.text)
	}
	anna.want(403, "setup_needed", "GET", "/users", "")
	anna.want(403, "setup_needed", "POST", "/session", `{"email":"anna@example.com","password":"x"}`)
	anna.want(403, "setup_needed", "POST", "/invitations", `{"code":"x","password":"x"}`)
	body := func(code string) string {
		return `{"code":"` + code + `","name":"Anna","email":"anna@example.com","password":"` + password + `"}`
	}
	anna.want(403, "setup_code_invalid", "POST", "/setup", body("AAAAAAAAAAAAAAAAAAAAAAAAAA"))
	link, _, err := service.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a := anna.want(400, "invalid_input", "POST", "/setup", `{"code":"`+link.Code.Reveal()+`","name":"","email":"x","password":"short"}`); len(a.json["errors"].([]any)) != 3 {
		t.Error(a.text)
	}
	made := anna.want(201, "", "POST", "/setup", body(link.Code.Reveal()))
	if made.at("account.role") != "owner" || made.at("account.email") != "anna@example.com" || made.at("token") != nil || made.at("insecure") != false || anna.cookie == "" ||
		len(made.json["permissions"].([]any)) != len(pbx.Permissions()) {
		t.Error(made.text)
	}
	if a := anna.want(200, "", "GET", "/session", ""); a.text != made.text {
		t.Error(a.text)
	}
	anna.want(409, "setup_done", "POST", "/setup", body(link.Code.Reveal()))
	if a := anna.want(200, "", "GET", "/setup", ""); a.at("needed") != false {
		t.Error(a.text)
	}

	invited := anna.want(201, "", "POST", "/accounts", `{"name":"Bert","email":"bert@example.com","role":"operator"}`)
	id, code := invited.at("account.id").(string), invited.at("link.code").(string)
	if invited.header.Get("Location") != "/accounts/"+id || invited.at("account.invited") != true || invited.at("account.last_sign_in_at") != nil {
		t.Error(invited.text)
	}
	anna.want(409, "account_email_taken", "POST", "/accounts", `{"name":"Bert","email":"BERT@example.com","role":"operator"}`)
	anna.want(400, "invalid_input", "POST", "/accounts", `{"name":"Bert","email":"b@example.com","role":"root"}`)
	bert := p.visitor()
	bert.want(401, "sign_in_failed", "POST", "/session", `{"email":"bert@example.com","password":"`+password+`"}`)
	bert.want(403, "link_invalid", "POST", "/invitations", `{"code":"AAAAAAAAAAAAAAAAAAAAAAAAAA","password":"`+password+`"}`)
	bert.want(400, "invalid_input", "POST", "/invitations", `{"code":"`+code+`","password":"bert.example.com"}`)
	if a := bert.want(201, "", "POST", "/invitations", `{"code":"`+code+`","password":"`+password+`"}`); a.at("account.id") != id {
		t.Error(a.text)
	}
	bert.want(403, "link_invalid", "POST", "/invitations", `{"code":"`+code+`","password":"`+password+`"}`)
	bert.want(200, "", "GET", "/users", "")
	bert.want(403, "forbidden", "GET", "/accounts", "")
	bert.want(403, "forbidden", "POST", "/apply", `{"triggered_by":"bert"}`)

	list := anna.want(200, "", "GET", "/accounts", "")
	if accounts := list.json["accounts"].([]any); len(accounts) != 2 || accounts[0].(map[string]any)["name"] != "Anna" {
		t.Error(list.text)
	}
	if a := anna.want(200, "", "PATCH", "/accounts/"+id, `{"role":"admin","name":"Bertram"}`); a.at("role") != "admin" || a.at("name") != "Bertram" {
		t.Error(a.text)
	}
	bert.want(401, "not_signed_in", "GET", "/users", "") // a new role ends the sessions
	bert.want(200, "", "POST", "/session", `{"email":"bert@example.com","password":"`+password+`"}`)
	me := made.at("account.id").(string)
	for _, tc := range []struct{ method, path, body string }{
		{"PATCH", "/accounts/" + me, `{"disabled":true}`},
		{"DELETE", "/accounts/" + me, ""},
		{"POST", "/accounts/" + me + "/reset", ""},
		{"PATCH", "/accounts/" + id, `{"role":"owner"}`},
		{"POST", "/accounts", `{"name":"C","email":"c@example.com","role":"owner"}`},
		{"POST", "/tokens", `{"name":"mine","role":"owner"}`},
	} {
		bert.want(403, "forbidden", tc.method, tc.path, tc.body)
	}
	anna.want(409, "last_owner", "PATCH", "/accounts/"+me, `{"role":"admin"}`)
	anna.want(409, "last_owner", "DELETE", "/accounts/"+me, "")
	anna.want(404, "account_not_found", "PATCH", "/accounts/x", `{}`)
	reset := anna.want(200, "", "POST", "/accounts/"+id+"/reset", "")
	bert.want(401, "not_signed_in", "GET", "/session", "")
	bert.want(201, "", "POST", "/invitations", `{"code":"`+reset.at("link.code").(string)+`","password":"`+password+`"}`)
	anna.want(204, "", "DELETE", "/accounts/"+id, "")
	bert.want(401, "not_signed_in", "GET", "/session", "")
	anna.want(404, "account_not_found", "DELETE", "/accounts/"+id, "")
}

// person creates the account of Anna, and returns a signed-in browser.
func (p *portal) person(role pbx.Role) *visitor {
	p.t.Helper()
	const email = "anna@example.com"
	if _, err := p.auth.Create(asLocal(p.t), pbx.NewAccount{Name: "Some Person", Email: email, Role: role}, pbx.SecretFrom(password)); err != nil {
		p.t.Fatal(err)
	}
	b := p.visitor()
	b.want(200, "", "POST", "/session", `{"email":"`+email+`","password":"`+password+`"}`)
	return b
}

func TestAPersonSignsInAndOut(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	anna := p.person(pbx.Auditor)
	first := anna.cookie
	anna.want(200, "", "GET", "/session", "")
	anna.want(200, "", "POST", "/session", `{"email":"ANNA@example.com","password":"`+password+`"}`)
	if anna.cookie == first {
		t.Error("signing in again gives the same token")
	}
	if a := p.as("").request(here, "GET", "http://localhost/session", "", "Cookie", first); a.code() != "not_signed_in" {
		t.Errorf("the session before: %d %s", a.status, a.text)
	}
	last := anna.cookie
	anna.want(204, "", "DELETE", "/session", "")
	if anna.cookie != "" {
		t.Errorf("the cookie stays: %q", anna.cookie)
	}
	if a := p.as("").request(here, "GET", "http://localhost/session", "", "Cookie", last); a.code() != "not_signed_in" {
		t.Errorf("signed out: %d %s", a.status, a.text)
	}
	p.ahead.Store(int64(time.Minute))
	again := p.visitor()
	again.want(200, "", "POST", "/session", `{"email":"anna@example.com","password":"`+password+`"}`)
	p.ahead.Store(int64(auth.SessionIdle + 2*time.Minute))
	again.want(401, "not_signed_in", "GET", "/session", "")
	for _, secret := range []string{password, strings.TrimPrefix(last, "pbxportal=")} {
		if strings.Contains(p.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestGuessingGetsRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // not reached by accident on a busy machine
		p := newUnserved(t)
		p.person(pbx.Owner)
		b, body := p.visitor(), `{"email":"anna@example.com","password":"zwei grosse Hunde lachen"}`
		for range 5 {
			b.want(401, "sign_in_failed", "POST", "/session", body)
		}
		a := b.want(429, "too_many_attempts", "POST", "/session", body)
		if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds != 1 {
			t.Errorf("%s, %v", a.text, a.header)
		}
	})
}

func TestAPersonManagesPasswordSecondFactorAndSessions(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	anna := p.person(pbx.Owner)
	elsewhere := p.visitor()
	elsewhere.want(200, "", "POST", "/session", `{"email":"anna@example.com","password":"`+password+`"}`)
	list := anna.want(200, "", "GET", "/account/sessions", "")
	sessions := list.json["sessions"].([]any)
	if len(sessions) != 2 || !strings.Contains(list.text, `"current":true`) || !strings.Contains(list.text, `"from":"127.0.0.1"`) {
		t.Error(list.text)
	}
	for _, s := range sessions {
		if s := s.(map[string]any); s["current"] == false {
			anna.want(204, "", "DELETE", "/account/sessions/"+s["id"].(string), "")
			anna.want(404, "session_not_found", "DELETE", "/account/sessions/"+s["id"].(string), "")
		}
	}
	elsewhere.want(401, "not_signed_in", "GET", "/session", "")

	const wrong = `{"password":"zwei grosse Hunde lachen"}`
	right := `{"password":"` + password + `"}`
	anna.want(400, "invalid_input", "POST", "/account/totp", wrong)
	started := anna.want(200, "", "POST", "/account/totp", right)
	secret, _ := started.json["secret"].(string)
	otp := func() string {
		code, err := totp.GenerateCode(secret, time.Now().Add(time.Duration(p.ahead.Load())))
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	anna.want(400, "invalid_input", "POST", "/account/totp/confirm", `{"otp":"000"}`)
	codes := anna.want(200, "", "POST", "/account/totp/confirm", `{"otp":"`+otp()+`"}`)
	if len(codes.json["recovery_codes"].([]any)) != 10 {
		t.Error(codes.text)
	}
	anna.want(409, "totp_on", "POST", "/account/totp", right)
	if a := anna.want(200, "", "GET", "/session", ""); a.at("account.totp_enabled") != true {
		t.Error(a.text)
	}
	p.ahead.Store(int64(time.Minute))
	body := func(otp string) string {
		return `{"email":"anna@example.com","password":"` + password + `","otp":"` + otp + `"}`
	}
	elsewhere.want(401, "otp_required", "POST", "/session", `{"email":"anna@example.com","password":"`+password+`"}`)
	elsewhere.want(401, "sign_in_failed", "POST", "/session", body("000000x"))
	elsewhere.want(200, "", "POST", "/session", body(otp()))
	elsewhere.want(401, "sign_in_failed", "POST", "/session", body(otp()))
	elsewhere.want(200, "", "POST", "/session", body(codes.json["recovery_codes"].([]any)[0].(string)))
	anna.want(400, "invalid_input", "DELETE", "/account/totp", wrong)
	anna.want(204, "", "DELETE", "/account/totp", right)
	anna.want(409, "totp_off", "DELETE", "/account/totp", right)

	before := anna.cookie
	if a := anna.want(400, "invalid_input", "POST", "/account/password", `{"current":"x","new":"short"}`); !strings.Contains(a.text, `"field":"current"`) {
		t.Error(a.text)
	}
	anna.want(204, "", "POST", "/account/password", `{"current":"`+password+`","new":"zwei grosse Hunde lachen"}`)
	if anna.cookie == before {
		t.Error("a new password gives no new session")
	}
	anna.want(200, "", "GET", "/session", "")
	if a := p.as("").request(here, "GET", "http://localhost/session", "", "Cookie", before); a.code() != "not_signed_in" {
		t.Errorf("the session before: %d %s", a.status, a.text)
	}
}

func TestWhereASecondFactorIsDemandedAnAccountWithoutOneCanDoNothingButGetOne(t *testing.T) {
	t.Parallel()
	p := newDemanding(t, pbx.FactorOwners)
	anna := p.person(pbx.Owner)
	if a := anna.want(200, "", "GET", "/session", ""); a.at("account.totp_demanded") != true || a.at("account.totp_enabled") != false || a.length("permissions") != 0 {
		t.Error(a.text)
	}
	if a := anna.want(403, "second_factor_needed", "GET", "/users", ""); !strings.Contains(a.text, "set one up") {
		t.Error(a.text)
	}
	anna.want(403, "second_factor_needed", "GET", "/account/sessions", "")
	anna.want(204, "", "DELETE", "/session", "")
	anna.want(200, "", "POST", "/session", `{"email":"anna@example.com","password":"`+password+`"}`)
	right := `{"password":"` + password + `"}`
	anna.want(204, "", "POST", "/account/password", `{"current":"`+password+`","new":"`+password+` laut"}`)
	anna.want(204, "", "POST", "/account/password", `{"current":"`+password+` laut","new":"`+password+`"}`)
	started := anna.want(200, "", "POST", "/account/totp", right)
	secret, _ := started.json["secret"].(string)
	otp, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	anna.want(200, "", "POST", "/account/totp/confirm", `{"otp":"`+otp+`"}`)
	anna.want(200, "", "GET", "/users", "")
	anna.want(403, "second_factor_needed", "DELETE", "/account/totp", right)
	if a := newDemanding(t, pbx.FactorOwners).person(pbx.Auditor).want(200, "", "GET", "/session", ""); a.at("account.totp_demanded") != false || a.length("permissions") == 0 {
		t.Error(a.text)
	}
}

func TestATokenIsCreatedUsedAndRevoked(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	anna := p.person(pbx.Admin)
	made := anna.want(201, "", "POST", "/tokens", `{"name":"backup","role":"applier","scopes":["apply:read","users:read"],"expires_in_days":90}`)
	secret, id := made.json["secret"].(string), made.at("token.id").(string)
	if !strings.HasPrefix(secret, "pbx_"+id+"_") || made.at("token.created_by") == nil || made.at("token.last_used_at") != nil {
		t.Error(made.text)
	}
	program := p.as(secret)
	a := program.request(here, "GET", "http://localhost/session", "")
	if a.status != 200 || a.at("account") != nil || a.at("token.name") != "backup" || strings.Join(texts(a.json["permissions"]), " ") != "users:read apply:read" {
		t.Error(a.text)
	}
	for path, status := range map[string]int{"/users": 200, "/apply/logs": 200, "/accounts": 403, "/metrics": 403, "/account/sessions": 403} {
		if a := program.request(here, "GET", "http://localhost"+path, ""); a.status != status {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	if list := anna.want(200, "", "GET", "/tokens", ""); !strings.Contains(list.text, id) || strings.Contains(list.text, secret[21:]) {
		t.Error(list.text)
	}
	for _, body := range []string{`{"name":"x","role":"applier","scopes":["users:write"]}`, `{"name":"x","role":"applier","scopes":[]}`, `{"name":"","role":"applier"}`, `{"name":"x","role":"applier","expires_in_days":0}`} {
		anna.want(400, "invalid_input", "POST", "/tokens", body)
	}
	anna.want(403, "forbidden", "POST", "/tokens", `{"name":"x","role":"owner"}`)
	anna.want(204, "", "DELETE", "/tokens/"+id, "")
	anna.want(404, "token_not_found", "DELETE", "/tokens/"+id, "")
	if a := program.request(here, "GET", "http://localhost/users", ""); a.code() != "not_signed_in" {
		t.Errorf("revoked: %d %s", a.status, a.text)
	}
	if list := anna.want(200, "", "GET", "/tokens", ""); strings.Contains(list.text, id) {
		t.Error(list.text)
	}
}

func texts(list any) (out []string) {
	for _, v := range list.([]any) {
		out = append(out, v.(string))
	}
	return out
}
