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

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/live"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// scrapePatience bounds a scrape's wait for the database.
const scrapePatience = 2 * time.Second

// metrics are the metrics of one API, in their own registry, so that two APIs in one process do not mix.
type metrics struct {
	handler     http.Handler
	requests    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	refused     *prometheus.CounterVec
	applies     *prometheus.CounterVec
	results     *prometheus.CounterVec
	applyTime   prometheus.Histogram
	extensions  prometheus.Gauge
	capacity    prometheus.Gauge
	filesAhead  prometheus.Gauge
	drift       prometheus.Gauge
	revision    prometheus.Gauge
	registered  prometheus.Gauge
	calls       prometheus.Gauge
	connected   prometheus.Gauge
	methodNames map[string]bool
}

func newMetrics(version string) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pbxportal_http_requests_total", Help: "HTTP requests by route, method and status.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pbxportal_http_request_duration_seconds", Help: "Duration of HTTP requests by route, method and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15},
		}, []string{"route", "method", "status"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pbxportal_refused_total", Help: "Requests refused for authentication, authorization, origin or rate, by problem code.",
		}, []string{"reason"}),
		applies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pbxportal_applies_total", Help: "Recorded applies by outcome.",
		}, []string{"outcome"}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pbxportal_apply_results_total", Help: "Recorded applies by result.",
		}, []string{"result"}),
		applyTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pbxportal_apply_duration_seconds", Help: "Duration of applies.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 90},
		}),
		extensions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pbxportal_extensions_in_use", Help: "Extension numbers in use; NaN while the database is unavailable.",
		}),
		filesAhead: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pbxportal_files_ahead", Help: "1 while Asterisk is not known to run the current files, otherwise 0; NaN while they cannot be read.",
		}),
		drift: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pbxportal_drift", Help: "Managed paths that were modified outside the portal; NaN while the files cannot be read.",
		}),
		revision: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pbxportal_revision", Help: "The current revision, 0 before the first; NaN while the files cannot be read.",
		}),
		registered: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pbxportal_registrations", Help: "Registered phones of extensions; NaN while live state is unavailable.",
		}),
		calls: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pbxportal_calls", Help: "Ringing and established calls of extensions; NaN while live state is unavailable.",
		}),
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pbxportal_ami_connected", Help: "1 while the portal is connected to the Asterisk Manager Interface, otherwise 0.",
		}),
		methodNames: map[string]bool{
			http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true,
			http.MethodDelete: true, http.MethodOptions: true,
		},
	}
	m.applies.WithLabelValues(string(pbx.Success))
	m.applies.WithLabelValues(string(pbx.Failure))
	for _, result := range []pbx.Result{
		pbx.Applied, pbx.Unchanged, pbx.NotConfirmed, pbx.RolledBack, pbx.RollbackFailed, pbx.FilesAhead, pbx.DryRun, pbx.Refused, pbx.InDoubt, pbx.Interrupted,
	} {
		m.results.WithLabelValues(string(result))
	}
	m.capacity = prometheus.NewGauge(prometheus.GaugeOpts{Name: "pbxportal_extensions_capacity", Help: "Extension numbers in the pools of users; NaN if they cannot be read."})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pbxportal_build_info", Help: "Always 1; the version is in the label.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.requests, m.duration, m.refused, m.applies, m.results, m.applyTime, m.extensions, m.filesAhead, m.drift, m.revision, m.registered, m.calls, m.connected, m.capacity, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m
}

// served counts one exchange. Labels never contain text of the client.
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

// refuse counts a refusal by its problem code.
func (m *metrics) refuse(p openapi.Problem) {
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest, http.StatusTooManyRequests:
		m.refused.WithLabelValues(string(p.Code)).Inc()
	}
}

// applied counts one recorded apply.
func (m *metrics) applied(run pbx.Run) {
	m.applies.WithLabelValues(string(run.Log.Outcome)).Inc()
	m.results.WithLabelValues(string(run.Result)).Inc()
	m.applyTime.Observe(duration(run).Seconds())
}

// looked sets the metrics of the files.
func (m *metrics) looked(s pbx.Standing) {
	if s.Err != nil {
		m.filesAhead.Set(math.NaN())
		m.drift.Set(math.NaN())
		m.revision.Set(math.NaN())
		return
	}
	m.filesAhead.Set(0)
	if s.Site.Ahead() {
		m.filesAhead.Set(1)
	}
	m.drift.Set(float64(len(s.Site.Drift)))
	m.revision.Set(float64(s.Site.Current))
}

// lives sets the metrics of the live state.
func (m *metrics) lives(registrations, calls int, link live.LinkState) {
	m.registered.Set(float64(registrations))
	m.calls.Set(float64(calls))
	m.connected.Set(1)
	if link != live.Connected {
		m.registered.Set(math.NaN())
		m.calls.Set(math.NaN())
		m.connected.Set(0)
	}
}

// serveMetrics serves Prometheus. Users are counted and files checked on each scrape: other processes change them too.
func (a *api) serveMetrics(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), scrapePatience)
	defer cancel()
	page, err := a.directory.List(ctx, pbx.DefaultTenant, directory.Query{})
	if err != nil {
		a.metrics.extensions.Set(math.NaN())
	} else {
		a.metrics.extensions.Set(float64(len(page.Users)))
	}
	capacity := 0
	settings, err := a.routing.Settings(ctx, pbx.DefaultTenant)
	for _, p := range settings.PoolsFor(pbx.ForUsers) {
		capacity += p.Size()
	}
	a.metrics.capacity.Set(float64(capacity))
	if err != nil {
		a.metrics.capacity.Set(math.NaN())
	}
	a.metrics.looked(a.files(ctx))
	a.metrics.lives(a.live.Counts())
	a.metrics.handler.ServeHTTP(w, r)
}
