package cli_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestWithoutATokenTheServerRevealsNothing(t *testing.T) {
	t.Parallel()
	srv := newSettings(t).serve(t)
	token := srv.token
	for _, c := range []struct {
		token string
		path  string
		want  int
		code  string
	}{
		{"", "/users", 403, "setup_needed"},
		{"pbx_x", "/users", 403, "setup_needed"},
		{"", "/metrics", 403, "setup_needed"},
		{"", "/health", 200, ""},
		{token, "/users", 200, ""},
	} {
		srv.token = c.token
		if got, err := srv.ask(t.Context(), "GET", c.path, ""); err != nil || got.status != c.want || !strings.Contains(got.body, c.code) {
			t.Errorf("%s with %q: %v %v", c.path, c.token, got, err)
		}
	}
	if log := srv.logged(t); strings.Contains(log, token) {
		t.Errorf("the log shows a token:\n%s", log)
	}
}

func TestAuthenticationCanBeOffOnlyOnLoopbackAndThisIsReportedEverywhere(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	srv := s.serve(t, "--insecure-no-auth")
	resp, err := http.Get(srv.url + "/users")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Insecure") == "" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	for line := range strings.Lines(srv.logged(t)) {
		if !strings.Contains(line, `insecure="requests are not authenticated"`) {
			t.Errorf("a line of the log does not say so: %s", line)
		}
	}
	for name, value := range map[string]string{"LISTEN_ADDR": "0.0.0.0:0", "TRUSTED_PROXIES": "127.0.0.1"} {
		s := newSettings(t)
		s[name] = value
		if code, _, said := s.run(t, "serve", "--insecure-no-auth"); code != 2 || !strings.Contains(said, "LISTEN_ADDR=127.0.0.1:8000") {
			t.Errorf("with %s=%s: exit code %d, %s", name, value, code, said)
		}
	}
}
