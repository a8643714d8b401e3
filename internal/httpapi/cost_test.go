//go:build !race

// It measures time and memory, of which the race detector takes many times as much.

package httpapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

// What a request of a stranger, or of an admitted caller, may cost the portal before it has done anything for it.
const (
	bytesEach, bytesPerByte = 64 << 10, 20
	timeEach, timePerByte   = 200 * time.Microsecond, time.Microsecond
)

// No body, query or header costs more than in proportion to its length, whatever is in it: 100,000 requests, and a million in the long form.
func TestNoRequestCostsMoreThanItsLengthAllowsAtLength(t *testing.T) { //nolint:paralleltest // it measures
	p := newUnserved(t, func(c *httpapi.Config) {
		c.Log = slog.New(slog.DiscardHandler)
		c.Edge.Limits.SignIns = httpapi.Pace{PerSecond: 1e9, Burst: 1e9} // the pace of tries is not what is measured
	})
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // the collector is not what is measured
	runtime.LockOSThread()                            // whose time is measured
	defer runtime.UnlockOSThread()
	random := rand.New(rand.NewPCG(1, 2))
	var targets, public []target
	for _, r := range routes(t) {
		if r.body != "" && r.method == "POST" && !strings.HasPrefix(r.path, "/apply") && r.prefix == "" { // of the others an empty object is taken, and acted upon
			targets = append(targets, target{r.method, r.path, ""})
			targets = append(targets, target{r.method, r.path, p.token})
			if a := p.as("").request(here, r.method, "http://localhost"+r.path, "{}"); a.code() == "invalid_input" {
				public = append(public, target{r.method, r.path, ""})
			}
		}
	}
	if len(targets) < 10 || len(public) < 3 {
		t.Fatalf("%d operations with a body, %d of them public", len(targets)/2, len(public))
	}
	ask := newAsker(p)
	base := map[target]float64{} // what it takes to find out who is calling is no cost of the body
	for _, to := range targets {
		least := math.Inf(1)
		for range 20 {
			_, took, _, _ := ask.cost(to.request(`[]`, "", "", false))
			least = min(least, took)
		}
		if to.token != "" {
			base[to] = least
		}
	}
	kinds := kindsOfCost()
	count := labtest.Soak(100_000, 1_000_000)
	var most, longest struct {
		share float64
		what  string
	}
	sent := 0
	for n := 0; n < count; n++ {
		k := kinds[n%len(kinds)]
		size := 1 + random.IntN(96)
		switch {
		case n%100_000 < len(kinds): // at the limit, each kind once
			size = 1 << 20
		case n%5_000 < len(kinds):
			size = 16 << 10
		}
		to := public[random.IntN(len(public))]
		if random.IntN(20) == 0 {
			to = targets[random.IntN(len(targets))]
		}
		request := k.make(to, size, random)
		sent += len(request)
		bytesLimit := float64(bytesEach + bytesPerByte*len(request))
		timeLimit := (timeEach + time.Duration(len(request))*timePerByte).Seconds() + base[to]
		allocated, took, status, length := ask.cost(request)
		if status == http.StatusCreated { // the name was valid, and a user without an address was stored
			timeLimit += time.Second.Seconds()
		}
		for try := 0; try < 200 && (allocated > bytesLimit || took > timeLimit); try++ { // others work on this machine too
			again, tookAgain, _, _ := ask.cost(request)
			allocated, took = min(allocated, again), min(took, tookAgain)
		}
		what := fmt.Sprintf("%s of %d bytes to %s %s: %.0f bytes, %.0f µs, answered %d with %d bytes", k.name, len(request), to.method, to.path, allocated, took*1e6, status, length)
		if share := allocated / bytesLimit; share > most.share {
			most.share, most.what = share, what
		}
		if share := took / timeLimit; share > longest.share {
			longest.share, longest.what = share, what
		}
		if allocated > bytesLimit || took > timeLimit {
			t.Errorf("%s; allowed are %.0f bytes and %.0f µs", what, bytesLimit, timeLimit*1e6)
		}
		if length > 128<<10 || status >= 500 {
			t.Errorf("%s", what)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d requests with %d bytes; nearest to the limits: %.0f %% %s; %.0f %% %s", count, sent, 100*most.share, most.what, 100*longest.share, longest.what)
}

// target is where a request goes, and the token it brings.
type target struct{ method, path, token string }

// request returns a request as received; a body can be chunked.
func (to target) request(body, query, headers string, chunked bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s", to.method, to.path, query, headers)
	if to.token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", to.token)
	}
	if chunked {
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	} else {
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	return b.Bytes()
}

// asker sends requests through the handler and measures them.
type asker struct {
	p       *portal
	samples []metrics.Sample
	answer  measured
}

func newAsker(p *portal) *asker {
	return &asker{p: p, samples: []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}}
}

// measured is an answer of which only the length counts.
type measured struct {
	header http.Header
	status int
	length int
}

func (d *measured) Header() http.Header         { return d.header }
func (d *measured) WriteHeader(status int)      { d.status = status }
func (d *measured) Write(b []byte) (int, error) { d.length += len(b); return len(b), nil }

// cost returns the bytes that one request allocated, and its processor time in seconds, including reading its head.
func (a *asker) cost(text []byte) (allocated, took float64, status, length int) {
	a.answer = measured{header: http.Header{}, status: http.StatusOK}
	in := bufio.NewReader(bytes.NewReader(text))
	before, began := a.allocated(), cpu()
	r, err := http.ReadRequest(in)
	if err == nil {
		r.RemoteAddr = here
		a.p.handler.ServeHTTP(&a.answer, r.WithContext(a.p.t.Context()))
	}
	took, allocated = (cpu() - began).Seconds(), a.allocated()-before
	if err != nil {
		a.answer.status = http.StatusBadRequest // the server answers so
	}
	return allocated, took, a.answer.status, a.answer.length
}

func (a *asker) allocated() float64 {
	metrics.Read(a.samples)
	return float64(a.samples[0].Value.Uint64())
}

// cpu is the time that this thread had of a processor.
func cpu() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		panic(err)
	}
	return time.Duration(now.Nano())
}

// kindOfCost makes requests of a size that try to cost more than that.
type kindOfCost struct {
	name string
	make func(to target, size int, random *rand.Rand) []byte
}

// repeated makes a JSON body of a size from a beginning, a part that is repeated, which may hold the number of the repetition, and an end.
func repeated(begin, part, end string) func(target, int, *rand.Rand) []byte {
	numbered := strings.Contains(part, "%d")
	separated := strings.HasPrefix(part, `"`) && strings.Contains(part, `":`) // members of an object
	return func(to target, size int, random *rand.Rand) []byte {
		var b strings.Builder
		b.WriteString(begin)
		for i := 0; b.Len() < size; i++ {
			if i > 0 && separated {
				b.WriteByte(',')
			}
			if numbered {
				fmt.Fprintf(&b, part, i)
			} else {
				b.WriteString(part)
			}
		}
		b.WriteString(end)
		return to.request(b.String(), "", "", random.IntN(4) == 0)
	}
}

// inHead makes a request whose query or headers have a size, up to what a server takes.
func inHead(query, header string) func(target, int, *rand.Rand) []byte {
	return func(to target, size int, _ *rand.Rand) []byte {
		size = min(size, 16<<10)
		if query != "" {
			query := "?" + strings.Repeat(query, 1+size/len(query))
			return to.request("{}", query, "", false)
		}
		name, value, _ := strings.Cut(header, "=")
		return to.request("{}", "", name+": "+strings.Repeat(value, 1+size/len(value))+"\r\n", false)
	}
}

func kindsOfCost() []kindOfCost {
	return []kindOfCost{
		{"unknown keys", repeated(`{`, `"k%d":1`, `}`)},
		{"unknown keys with objects", repeated(`{`, `"k%d":{"a":[1]}`, `}`)},
		{"the same key", repeated(`{`, `"email":"a@example.com"`, `}`)},
		{"keys that differ in case", repeated(`{`, `"eMail%d":""`, `}`)},
		{"empty keys", repeated(`{`, `"":0`, `}`)},
		{"keys in escapes", repeated(`{`, `"\u006b\u0000%d":0`, `}`)},
		{"one long key", repeated(`{"`, `k`, `":1}`)},
		{"a long text", repeated(`{"email":"`, `x`, `"}`)},
		{"a long text in two fields", repeated(`{"password":"x","name":"`, `ä`, `"}`)},
		{"a long address", repeated(`{"email":"`, `a.`, `"}`)},
		{"an address of many parts", repeated(`{"email":"`, `@`, `"}`)},
		{"an address with comments", repeated(`{"email":"`, `(`, `"}`)},
		{"escapes", repeated(`{"name":"`, `\u0041`, `"}`)},
		{"pairs of surrogates", repeated(`{"name":"`, `\ud83d\ude00`, `"}`)},
		{"halves of pairs", repeated(`{"name":"`, `\ud83d`, `"}`)},
		{"combining characters", repeated(`{"name":"a`, "\u0301", `"}`)},
		{"backslashes", repeated(`{"name":"`, `\\`, `"}`)},
		{"control characters", repeated(`{"code":"`, `\u0001`, `"}`)},
		{"a long number", repeated(`{"email":`, `9`, `}`)},
		{"a number with a long exponent", repeated(`{"email":1e`, `9`, `}`)},
		{"a long fraction", repeated(`{"email":0.`, `0`, `}`)},
		{"a large exponent", repeated(`{"email":1e999999999,"a":"`, `x`, `"}`)},
		{"deep arrays", repeated(``, `[`, ``)},
		{"deep objects", repeated(``, `{"a":`, ``)},
		{"deep and closed", func(to target, size int, _ *rand.Rand) []byte {
			return to.request(`{"name":`+strings.Repeat("[", size/2)+strings.Repeat("]", size/2)+`}`, "", "", false)
		}},
		{"a long array", repeated(`{"scopes":[0`, `,0`, `]}`)},
		{"an array of objects", repeated(`{"scopes":[{}`, `,{"a":{}}`, `]}`)},
		{"an array of texts", repeated(`{"scopes":[""`, `,"users:read"`, `]}`)},
		{"white space", repeated(`{`, " \n", `}`)},
		{"white space alone", repeated(``, "\t", ``)},
		{"values after the value", repeated(`{}`, ` {}`, ``)},
		{"nonsense", func(to target, size int, random *rand.Rand) []byte {
			b := make([]byte, size)
			for i := range b {
				b[i] = `{}[]",:\u0123 e-+.tfn`[random.IntN(21)]
			}
			return to.request(string(b), "", "", random.IntN(4) == 0)
		}},
		{"bytes", func(to target, size int, random *rand.Rand) []byte {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(random.IntN(256))
			}
			return to.request(string(b), "", "", false)
		}},
		{"chunks of a byte", func(to target, size int, _ *rand.Rand) []byte {
			head := to.request("", "", "", true)
			head = head[:bytes.Index(head, []byte("\r\n\r\n"))+4]
			return append(head, strings.Repeat("1\r\n{\r\n", size)+"0\r\n\r\n"...)
		}},
		{"parameters", inHead("a&", "")},
		{"parameters of the contract", inHead("limit=1&", "")},
		{"escapes in a query", inHead("%2e", "")},
		{"semicolons in a query", inHead(";", "")},
		{"a long path", func(to target, size int, _ *rand.Rand) []byte {
			to.path += strings.Repeat("/.", 1+min(size, 16<<10)/2)
			return to.request("{}", "", "", false)
		}},
		{"cookies", inHead("", "Cookie=pbxportal=x;")},
		{"forwarded addresses", inHead("", "X-Forwarded-For=,")},
		{"a long token", inHead("", "Authorization=Bearer pbx_x_")},
		{"conditions", inHead("", "If-Match=W/\"x\",")},
		{"preferences", inHead("", "Prefer=respond-async,")},
		{"a long key of a request", inHead("", "Idempotency-Key=k")},
		{"parameters of a type", inHead("", "Content-Type=application/json;")},
		{"codings", inHead("", "Accept-Encoding=gzip;q=0,")},
		{"headers", func(to target, size int, _ *rand.Rand) []byte {
			var b strings.Builder
			for i := 0; b.Len() < min(size, 8<<10); i++ {
				fmt.Fprintf(&b, "X-Nothing-Of-Ours-%d: 1\r\n", i)
			}
			return to.request("{}", "", b.String(), false)
		}},
	}
}
