package httpapi

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// scrapePatience is how long a scrape waits for the database.
const scrapePatience = 2 * time.Second

// metrics are the figures of one API. They have their own registry: two APIs in one process do not mix.
type metrics struct {
	handler     http.Handler
	requests    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	applies     *prometheus.CounterVec
	applyTime   prometheus.Histogram
	extensions  prometheus.Gauge
	methodNames map[string]bool
}

func newMetrics(version string) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pbxportal_http_requests_total", Help: "Requests, by path of the contract, method and status.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pbxportal_http_request_duration_seconds", Help: "Time from request to answer, by path of the contract, method and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15},
		}, []string{"route", "method", "status"}),
		applies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pbxportal_applies_total", Help: "Applies that left a record, by outcome.",
		}, []string{"outcome"}),
		applyTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pbxportal_apply_duration_seconds", Help: "Time from the start of an apply to its end.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 90},
		}),
		extensions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pbxportal_extensions_in_use", Help: "Extension numbers that users have; NaN while the database does not answer.",
		}),
		methodNames: map[string]bool{
			http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true,
			http.MethodDelete: true, http.MethodOptions: true,
		},
	}
	m.applies.WithLabelValues(string(pbx.Success))
	m.applies.WithLabelValues(string(pbx.Failure))
	pool := prometheus.NewGauge(prometheus.GaugeOpts{Name: "pbxportal_extensions_total", Help: "Extension numbers of the pool."})
	pool.Set(float64(pbx.PoolSize))
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pbxportal_build_info", Help: "Always 1; the version is in the label.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.requests, m.duration, m.applies, m.applyTime, m.extensions, pool, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m
}

// served counts one exchange. Labels are never the client's own words.
func (m *metrics) served(route, method string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	if !m.methodNames[method] {
		method = "other"
	}
	code := strconv.Itoa(status)
	m.requests.WithLabelValues(route, method, code).Inc()
	m.duration.WithLabelValues(route, method, code).Observe(took.Seconds())
}

// applied counts one apply that left a record.
func (m *metrics) applied(r apply.Report) {
	if r.Log.ID == "" {
		return
	}
	m.applies.WithLabelValues(string(r.Log.Outcome)).Inc()
	m.applyTime.Observe(r.Duration.Seconds())
}

// serveMetrics answers Prometheus. The users are counted when it asks, and not kept count of: other processes change them too.
func (a *api) serveMetrics(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), scrapePatience)
	defer cancel()
	page, err := a.directory.List(ctx, pbx.DefaultTenant, directory.Query{})
	if err != nil {
		a.metrics.extensions.Set(math.NaN())
	} else {
		a.metrics.extensions.Set(float64(len(page.Users)))
	}
	a.metrics.handler.ServeHTTP(w, r)
}
