// Package apitest validates API responses against the contract. Tests send their requests through its client; a response that the contract does not
// allow fails the test.
package apitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/synergycall/pbxportal/contracts"
)

// Contract loads contracts/api.yaml once.
var Contract = sync.OnceValues(func() (*openapi3.T, error) { return openapi3.NewLoader().LoadFromData(contracts.JSON) })

// Client returns a client that validates every response. It follows no redirects: the API sends none.
func Client(t testing.TB) *http.Client {
	t.Helper()
	contract, err := Contract()
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{
		Transport:     &transport{t: t, contract: contract},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type transport struct {
	t        testing.TB
	contract *openapi3.T
}

// RoundTrip sends the request, and validates the response.
func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	var body []byte
	if resp.Header.Get("Content-Type") == "text/event-stream" { // it may not end before the test continues
		resp.Body = &eventStream{ReadCloser: resp.Body, transport: tr}
	} else {
		if body, err = io.ReadAll(resp.Body); err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
	}
	if err := Check(tr.contract, r, resp, body); err != nil {
		tr.t.Errorf("%s %s broke the contract: %v\nanswer: %d %s", r.Method, r.URL, err, resp.StatusCode, body)
	}
	return resp, nil
}

// eventStream validates what was read of a stream of events when it is closed.
type eventStream struct {
	io.ReadCloser
	*transport
	read bytes.Buffer
}

func (s *eventStream) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	s.read.Write(b[:n])
	return n, err
}

func (s *eventStream) Close() error {
	if err := CheckEvents(s.contract, s.read.String()); err != nil {
		s.t.Errorf("a stream of events broke the contract: %v\n%s", err, s.read.String())
	}
	return s.ReadCloser.Close()
}

// liveSchemas are the schemas of the events of live state; their ids grow, but not one by one.
var liveSchemas = map[string]string{"snapshot": "Live", "registration": "LiveRegistration", "call": "LiveCall", "asterisk": "LiveAsterisk"}

// CheckEvents returns how a stream of events violates the contract, nil if it does not. Its last event may be truncated.
func CheckEvents(contract *openapi3.T, text string) error {
	blocks := strings.Split(text, "\n\n")
	last, done := 0, false
	for _, block := range blocks[:len(blocks)-1] {
		if strings.HasPrefix(block, ": ") {
			continue
		}
		fields := map[string]string{}
		for line := range strings.SplitSeq(block, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			fields[name] = value
		}
		if done {
			return fmt.Errorf("something follows the end: %s", block)
		}
		schema := "Event"
		if fields["event"] == "changed" {
			schema = "LiveChanged" // it has no id: a stream that is taken up again begins with one
		} else if live := liveSchemas[fields["event"]]; live != "" {
			schema = live
			if id, err := strconv.Atoi(fields["id"]); err != nil || id <= last {
				return fmt.Errorf("after the event %d comes the event %q", last, fields["id"])
			} else {
				last = id
			}
		} else if done = fields["event"] == "done"; done {
			schema = "RunEnd"
		} else if id, err := strconv.Atoi(fields["id"]); err != nil || last != 0 && id != last+1 {
			return fmt.Errorf("after the event %d comes the event %q", last, fields["id"])
		} else {
			last = id
		}
		if err := checkBody(contract.Components.Schemas[schema].Value, []byte(fields["data"])); err != nil {
			return err
		}
	}
	return nil
}

// Check returns how a response violates the contract, nil if it does not.
func Check(contract *openapi3.T, r *http.Request, resp *http.Response, body []byte) error {
	if err := checkHeaders(resp); err != nil {
		return err
	}
	if page(r) && resp.StatusCode < http.StatusBadRequest { // the contract does not cover web pages
		return nil
	}
	op := Find(contract, r)
	if op == nil {
		return checkRefusal(contract, resp, r, body)
	}
	if resp.StatusCode == http.StatusNotModified {
		return nil
	}
	declared := op.Responses.Status(resp.StatusCode)
	if declared == nil {
		return fmt.Errorf("%s has no status %d", op.OperationID, resp.StatusCode)
	}
	for name, header := range declared.Value.Headers {
		if header.Value.Required && resp.Header.Get(name) == "" {
			return fmt.Errorf("the header %s is missing", name)
		}
	}
	if len(declared.Value.Content) == 0 && len(body) == 0 {
		return nil
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("Content-Type: %w", err)
	}
	content := declared.Value.Content[media]
	if content == nil {
		return fmt.Errorf("%s %d does not answer in %q", op.OperationID, resp.StatusCode, media)
	}
	if r.Method == http.MethodHead {
		return nil
	}
	if !strings.HasSuffix(media, "json") {
		return nil
	}
	return checkBody(content.Schema.Value, body)
}

// checkHeaders checks the headers of every response.
func checkHeaders(resp *http.Response) error {
	for _, name := range []string{"X-Request-Id", "X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Cache-Control", "Cross-Origin-Resource-Policy", "Permissions-Policy"} {
		if resp.Header.Get(name) == "" {
			return fmt.Errorf("the header %s is missing", name)
		}
	}
	return nil
}

// checkRefusal checks the response to a request that is no operation of the contract.
func checkRefusal(contract *openapi3.T, resp *http.Response, r *http.Request, body []byte) error {
	switch resp.StatusCode {
	case http.StatusNoContent:
		if r.Method == http.MethodOptions && resp.Header.Get("Allow") != "" && len(body) == 0 {
			return nil
		}
	case http.StatusMethodNotAllowed, http.StatusNotFound, http.StatusForbidden, http.StatusMisdirectedRequest, http.StatusTooManyRequests:
		if resp.StatusCode == http.StatusMethodNotAllowed && resp.Header.Get("Allow") == "" {
			return fmt.Errorf("the header Allow is missing")
		}
		if resp.Header.Get("Content-Type") != "application/problem+json" {
			return fmt.Errorf("Content-Type %q", resp.Header.Get("Content-Type"))
		}
		if r.Method == http.MethodHead {
			return nil
		}
		return checkBody(contract.Components.Schemas["Problem"].Value, body)
	}
	return fmt.Errorf("the contract has no such operation, and the response does not report it")
}

// page reports whether a request is for a page of the web interface.
func page(r *http.Request) bool {
	return r.URL.Path == "/" || r.URL.Path == "/app" || strings.HasPrefix(r.URL.Path, "/app/")
}

func checkBody(schema *openapi3.Schema, body []byte) error {
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	return errors.Join(schema.VisitJSON(value, Formats()...), undescribed(schema, value, "/"))
}

// Commands returns the schema that each command prints with --json, as the contract names them; "" for those that print no JSON.
func Commands(contract *openapi3.T) map[string]string {
	all := map[string]string{}
	listed, _ := contract.Extensions["x-commands"].(map[string]any)
	for command, schema := range listed {
		all[command], _ = schema.(string)
	}
	return all
}

// CheckPrinted returns how the output of a command violates the schema that the contract names for it, nil if it does not.
func CheckPrinted(contract *openapi3.T, command string, output []byte) error {
	schema := contract.Components.Schemas[Commands(contract)[command]]
	if schema == nil {
		return fmt.Errorf("the contract has no schema for the command %q: name one in x-commands", command)
	}
	return checkBody(schema.Value, output)
}

// undescribed returns an error for a field of a value that its schema does not describe, unless the schema says that there can be others.
func undescribed(schema *openapi3.Schema, value any, at string) (err error) {
	switch v := value.(type) {
	case []any:
		for i, e := range v {
			if schema.Items != nil {
				err = errors.Join(err, undescribed(schema.Items.Value, e, fmt.Sprintf("%s%d/", at, i)))
			}
		}
	case map[string]any:
		fields := described(schema)
		for name, e := range v {
			if of := fields[name]; of != nil {
				err = errors.Join(err, undescribed(of.Value, e, at+name+"/"))
			} else if open := schema.AdditionalProperties.Has; len(fields) > 0 && (open == nil || !*open) {
				err = errors.Join(err, fmt.Errorf("the schema does not describe %s%s", at, name))
			}
		}
	}
	return err
}

// described returns the fields that a schema describes, alone or by its parts.
func described(schema *openapi3.Schema) openapi3.Schemas {
	fields := maps.Clone(schema.Properties)
	for _, part := range slices.Concat(schema.AllOf, schema.OneOf, schema.AnyOf) {
		if fields == nil {
			fields = openapi3.Schemas{}
		}
		maps.Copy(fields, described(part.Value))
	}
	return fields
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Formats returns the options for validating a response value, with all formats that the contract uses. Any UUID is valid: the default tenant's has
// no version.
func Formats() []openapi3.SchemaValidationOption {
	return []openapi3.SchemaValidationOption{
		openapi3.VisitAsResponse(), openapi3.MultiErrors(), openapi3.EnableFormatValidation(),
		openapi3.WithStringFormatValidator("uuid", openapi3.NewCallbackValidator(func(text string) error {
			if !uuidForm.MatchString(text) {
				return fmt.Errorf("%q is no UUID", text)
			}
			return nil
		})),
		openapi3.WithStringFormatValidator("email", openapi3.NewCallbackValidator(func(text string) error {
			_, err := mail.ParseAddress(text)
			return err
		})),
		openapi3.WithStringFormatValidator("uri", openapi3.NewCallbackValidator(func(text string) error {
			u, err := url.Parse(text)
			if err == nil && u.Scheme == "" {
				err = fmt.Errorf("%q is no absolute URI", text)
			}
			return err
		})),
		openapi3.WithStringFormatValidator("date-time", openapi3.NewCallbackValidator(func(text string) error {
			if !strings.HasSuffix(text, "Z") {
				return fmt.Errorf("%q is not in UTC", text)
			}
			return nil
		})),
	}
}

// Find returns the operation of a request, nil if the contract has none. HEAD counts as GET.
func Find(contract *openapi3.T, r *http.Request) *openapi3.Operation {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var best *openapi3.Operation
	wildcards := -1
	for route, item := range contract.Paths.Map() {
		op := item.GetOperation(method)
		if op == nil {
			continue
		}
		for _, prefix := range Prefixes(contract, item, op) {
			if n, ok := matches(prefix+route, r.URL.EscapedPath()); ok && (best == nil || n < wildcards) {
				best, wildcards = op, n
			}
		}
	}
	return best
}

// Prefixes returns the prefixes under which an operation of the contract is served.
func Prefixes(contract *openapi3.T, item *openapi3.PathItem, op *openapi3.Operation) []string {
	servers := contract.Servers
	if len(item.Servers) > 0 {
		servers = item.Servers
	}
	if op.Servers != nil {
		servers = *op.Servers
	}
	var all []string
	for _, s := range servers {
		all = append(all, strings.TrimSuffix(s.URL, "/"))
	}
	return all
}

// matches reports whether a path matches a route of the contract, and how many of its segments are parameters.
func matches(route, path string) (wildcards int, ok bool) {
	want, have := strings.Split(route, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return 0, false
	}
	for i := range want {
		plain, err := url.PathUnescape(have[i])
		if err != nil {
			return 0, false
		}
		switch {
		case strings.HasPrefix(want[i], "{") && have[i] != "" && have[i] != "." && have[i] != "..":
			wildcards++
		case want[i] != plain:
			return 0, false
		}
	}
	return wildcards, true
}
