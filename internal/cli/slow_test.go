package cli_test

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Stopping the portal waits for requests in progress, but not for clients that send or read slowly.
func TestSlowClientsDoNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	srv := newSettings(t).serve(t)
	addr := strings.TrimPrefix(srv.url, "http://")
	post := "POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
	authorized := " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + srv.token + "\r\n"
	for what, text := range map[string]string{
		"nothing":             "",
		"half of a head":      post,
		"half of a body":      post + "\r\n{",
		"a body of the gate":  "POST /users" + authorized + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"a body nobody reads": "GET /health" + authorized + "Content-Length: 100\r\n\r\n{",
		"a refused body":      "POST /users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"a stream":            "GET /live/events" + authorized + "\r\n",
		"an answer unread":    strings.Repeat("GET /docs/swagger-ui-bundle.js"+authorized+"\r\n", 8),
		"a connection kept":   "GET /health" + authorized + "\r\n",
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(4 << 10)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	srv.want(t, 200, "GET", "/health", "")
	began := time.Now()
	if err := srv.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	result, err := srv.Wait(t.Context())
	if took := time.Since(began); err != nil || result.ExitCode != 0 || took > 8*time.Second {
		t.Errorf("the server ended after %s with %d, %v\n%s", took, result.ExitCode, err, srv.logged(t))
	} else {
		t.Logf("the server ended after %s", took)
	}
}
