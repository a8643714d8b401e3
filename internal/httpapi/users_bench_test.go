package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/audit"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/idempotency"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// BenchmarkGetting1000Users is GET /users through the whole handler, from the first layer to the last byte of the answer.
func BenchmarkGetting1000Users(b *testing.B) {
	storetest.EachBench(b, func(b *testing.B, url string) {
		s := storetest.Open(b, url)
		d := directory.New(s, time.Now)
		for i := range pbx.PoolSize {
			user := pbx.NewUser{Name: fmt.Sprintf("User %d", i), Email: fmt.Sprintf("user%d@example.com", i)}
			if _, err := d.Create(b.Context(), pbx.DefaultTenant, user); err != nil {
				b.Fatal(err)
			}
		}
		a, token := newAuth(b, s, pbx.FactorOffered, time.Now)
		handler, err := httpapi.New(httpapi.Config{
			Auth: a, Directory: d, Apply: apply.New(apply.Config{Store: s, Now: time.Now}), // no applies here
			Audit:   audit.New(s, time.Now, b.TempDir()),
			Keys:    idempotency.New(s, time.Now),
			Routing: routing.New(s, time.Now),
			Health:  func(context.Context) pbx.Health { return pbx.Health{} },
			Ready:   func(context.Context) (time.Time, error) { return time.Now(), nil },
			Log:     slog.New(slog.DiscardHandler), Now: time.Now,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			answer := &discard{header: http.Header{}}
			handler.ServeHTTP(answer, local(http.MethodGet, "/users", token))
			if answer.status != http.StatusOK || answer.bytes < 100*pbx.PoolSize {
				b.Fatalf("status %d, %d bytes", answer.status, answer.bytes)
			}
		}
	})
}

// discard is a ResponseWriter that only counts, so that a recorder's growing buffer is not measured.
type discard struct {
	header        http.Header
	status, bytes int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { d.bytes += len(p); return len(p), nil }
