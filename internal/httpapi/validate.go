package httpapi

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// The maximum body size of a request, of an admitted caller and of anyone.
const (
	maxBody       = 1 << 20
	maxPublicBody = 16 << 10
)

// bodyPatience bounds the time for receiving a body.
const bodyPatience = 10 * time.Second

// mostParameters bounds the parameters of a query; the contract has operations with ten.
const mostParameters = 100

// mostFaults bounds the faults in one response.
const mostFaults = 50

// rules validate the content of some fields of a body. They are pbx's own, called here so that one response names every invalid field, by type and
// by content. All other fields are validated by the contract.
type rules struct {
	fields []string
	broken func(body map[string]any) error
}

// rulesOf returns the rules for the body of an operation.
func rulesOf(operationID string) rules {
	switch operationID {
	case "createUser":
		return rules{[]string{"name", "email"}, func(body map[string]any) error { return nameAndEmail(textOf(body["name"]), textOf(body["email"])) }}
	case "createUserV1", "updateUserV1":
		return rules{[]string{"name", "email"}, func(body map[string]any) error {
			name, named := body["name"].(string)
			if !named {
				name = "not given" // the contract reports where it has to be
			}
			email, addressed := body["email"].(string)
			if !addressed {
				email = "not-given@example.com"
			}
			return nameAndEmail(name, email)
		}}
	case "applyConfiguration", "restoreRevision":
		return rules{[]string{"triggered_by"}, func(body map[string]any) error {
			_, err := pbx.CleanTriggeredBy(textOf(body["triggered_by"]))
			return err
		}}
	case "setUp":
		return rules{[]string{"name", "email", "password"}, func(body map[string]any) error {
			first := pbx.NewAccount{Name: textOf(body["name"]), Email: textOf(body["email"]), Role: pbx.Owner}
			_, err := auth.CheckNew(first, pbx.SecretFrom(textOf(body["password"])))
			return err
		}}
	case "createAccount":
		return rules{[]string{"name", "email"}, func(body map[string]any) error {
			_, err := pbx.NewAccount{Name: textOf(body["name"]), Email: textOf(body["email"]), Role: pbx.Role(textOf(body["role"]))}.Clean()
			return err
		}}
	case "updateAccount":
		return rules{[]string{"name"}, func(body map[string]any) error {
			name, given := body["name"].(string)
			if !given {
				return nil
			}
			_, err := pbx.CleanName(name)
			return err
		}}
	case "createToken":
		return rules{[]string{"name"}, func(body map[string]any) error {
			n := pbx.NewToken{Name: textOf(body["name"]), Role: pbx.Role(textOf(body["role"]))}
			scopes, _ := body["scopes"].([]any)
			for _, s := range scopes {
				if p := pbx.Permission(textOf(s)); slices.Contains(pbx.Permissions(), p) { // the contract reports the others
					n.Scopes = append(n.Scopes, p)
				}
			}
			_, err := n.Clean()
			return err
		}}
	}
	return rules{broken: func(map[string]any) error { return nil }}
}

// nameAndEmail returns what is wrong with the name and the address of a user.
func nameAndEmail(name, email string) error {
	_, nameErr := pbx.CleanName(name)
	_, emailErr := pbx.CleanEmail(email)
	return pbx.Invalid(append(pbx.FieldsOf(nameErr), pbx.FieldsOf(emailErr)...)...)
}

// textOf returns a value that is text, "" for any other: the contract reports those.
func textOf(value any) string {
	text, _ := value.(string)
	return text
}

// checker validates the requests of one operation against the contract.
type checker struct {
	query  map[string]*openapi3.Schema // by parameter name
	header map[string]*openapi3.Schema // by header name
	body   *openapi3.Schema            // nil if the operation takes none
	rules  rules
}

func newChecker(op *openapi3.Operation) *checker {
	c := &checker{query: map[string]*openapi3.Schema{}, header: map[string]*openapi3.Schema{}, rules: rulesOf(op.OperationID)}
	for _, p := range op.Parameters {
		switch p.Value.In {
		case openapi3.ParameterInQuery:
			c.query[p.Value.Name] = p.Value.Schema.Value
		case openapi3.ParameterInHeader:
			c.header[p.Value.Name] = p.Value.Schema.Value
		}
	}
	if op.RequestBody != nil {
		c.body = op.RequestBody.Value.GetMediaType("application/json").Schema.Value
	}
	return c
}

// request validates the query, the headers and the received body. The error names all faults.
func (c *checker) request(r *http.Request) error {
	faults := append(c.queryFaults(r.URL.RawQuery), c.headerFaults(r.Header)...)
	if c.body != nil {
		value, body, err := parseJSON(bodyOf(r))
		if err != nil {
			return err
		}
		r.Body = newReceived(body)
		faults = append(faults, c.bodyFaults(value)...)
	}
	slices.SortStableFunc(faults, func(a, b pbx.FieldError) int { return cmp.Compare(a.Field, b.Field) })
	if more := len(faults) - mostFaults; more > 0 {
		faults = append(faults[:mostFaults], pbx.FieldError{Field: "…", Code: pbx.FieldMore, Message: fmt.Sprintf("and %d more", more)})
	}
	return pbx.Invalid(faults...)
}

// queryFaults returns the faults of the query parameters.
func (c *checker) queryFaults(raw string) (faults []pbx.FieldError) {
	if strings.Count(raw, "&") >= mostParameters {
		return []pbx.FieldError{{Field: "query", Code: pbx.FieldMalformed, Message: fmt.Sprintf("has more than %d parameters", mostParameters)}}
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return []pbx.FieldError{{Field: "query", Code: pbx.FieldMalformed, Message: "is malformed: write special characters as %XX"}}
	}
	for name, given := range values {
		schema, known := c.query[name]
		var fault pbx.FieldError
		switch {
		case !known && len(c.query) == 0:
			fault = pbx.FieldError{Code: pbx.FieldUnknown, Message: "is not a parameter of this call, which takes none"}
		case !known:
			fault = pbx.FieldError{Code: pbx.FieldUnknown, Message: "is not a parameter of this call: remove it"}
		case len(given) > 1:
			fault = pbx.FieldError{Code: pbx.FieldTwice, Message: "is given more than once"}
		default:
			fault = queryFault(schema, given[0])
		}
		if fault.Code != "" {
			fault.Field = shown(name)
			faults = append(faults, fault)
		}
	}
	return faults
}

// headerFaults returns the faults of the headers that the contract has for this operation. Other headers are ignored.
func (c *checker) headerFaults(header http.Header) (faults []pbx.FieldError) {
	for name, schema := range c.header {
		given := header.Values(name)
		if len(given) > 1 {
			faults = append(faults, pbx.FieldError{Field: name, Code: pbx.FieldTwice, Message: "is given more than once"})
		} else if len(given) == 1 {
			if fault := queryFault(schema, given[0]); fault.Code != "" {
				fault.Field = name
				faults = append(faults, fault)
			}
		}
	}
	return faults
}

// queryFault returns what is wrong with the value of a parameter; its code is empty if nothing is.
func queryFault(schema *openapi3.Schema, text string) pbx.FieldError {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return pbx.FieldError{Code: pbx.FieldEncoding, Message: "must be valid UTF-8 without NUL"}
	}
	if schema.Format == "date-time" { // the pattern alone would accept days such as February 30
		if _, err := parseTime(text); err != nil || schema.VisitJSONString(text) != nil {
			return pbx.FieldError{Code: pbx.FieldMalformed, Message: "must be an existing time, such as 2026-01-15T00:00:00Z, with + written as %2B"}
		}
		return pbx.FieldError{}
	}
	if schema.Type.Is(openapi3.TypeBoolean) {
		if text != "true" && text != "false" {
			return pbx.FieldError{Code: pbx.FieldChoice, Message: "must be true or false"}
		}
		return pbx.FieldError{}
	}
	if !schema.Type.Is(openapi3.TypeInteger) {
		if err := schema.VisitJSONString(text); err != nil {
			if e, ok := errors.AsType[*openapi3.SchemaError](err); ok {
				return reason(e)
			}
			return pbx.FieldError{Code: pbx.FieldMalformed, Message: "is not valid"}
		}
		return pbx.FieldError{}
	}
	n, err := strconv.Atoi(text)
	if err != nil || strconv.Itoa(n) != text || float64(n) < *schema.Min || float64(n) > *schema.Max {
		return pbx.FieldError{Code: pbx.FieldRange, Message: fmt.Sprintf("must be a whole number from %g to %g", *schema.Min, *schema.Max), Least: int(*schema.Min), Most: int(*schema.Max)}
	}
	return pbx.FieldError{}
}

// parseTime parses the time of a parameter.
func parseTime(text string) (time.Time, error) { return time.Parse(time.RFC3339, text) }

// bodyFaults returns the faults of a body: first its shape, by the contract; then the content of fields with the right shape.
func (c *checker) bodyFaults(value any) []pbx.FieldError {
	object, ok := value.(map[string]any)
	if !ok {
		return []pbx.FieldError{{Field: "body", Code: pbx.FieldType, Message: "must be a JSON object"}}
	}
	var found collector
	found.schema(c.body.VisitJSON(value, openapi3.VisitAsRequest(), openapi3.MultiErrors()), c.rules.fields)
	if e, ok := errors.AsType[*pbx.Error](c.rules.broken(object)); ok {
		for _, f := range e.Fields {
			found.add(f)
		}
	}
	return found.faults
}

// reason returns what is wrong with a value, in the contract's own text if it has one.
func reason(e *openapi3.SchemaError) pbx.FieldError {
	fault := pbx.FieldError{Code: pbx.FieldMalformed}
	switch e.SchemaField {
	case "enum":
		choices := make([]string, len(e.Schema.Enum))
		for i, c := range e.Schema.Enum {
			choices[i] = fmt.Sprint(c)
		}
		fault.Code, fault.Message = pbx.FieldChoice, "must be one of "+strings.Join(choices, ", ")
	case "minLength":
		fault.Code, fault.Least = pbx.FieldTooShort, int(min(e.Schema.MinLength, maxBody))
		fault.Message = fmt.Sprintf("must have at least %d characters", fault.Least)
		if fault.Least == 1 {
			fault.Message = "must not be empty"
		}
	case "maxLength":
		fault.Code, fault.Most = pbx.FieldTooLong, int(min(*e.Schema.MaxLength, maxBody))
		fault.Message = fmt.Sprintf("must have at most %d characters", fault.Most)
	case "minimum", "maximum":
		fault.Code = pbx.FieldRange
		var limits []string
		if e.Schema.Min != nil {
			fault.Least, limits = int(*e.Schema.Min), append(limits, fmt.Sprintf("at least %g", *e.Schema.Min))
		}
		if e.Schema.Max != nil {
			fault.Most, limits = int(*e.Schema.Max), append(limits, fmt.Sprintf("at most %g", *e.Schema.Max))
		}
		fault.Message = "must be " + strings.Join(limits, " and ")
	case "minItems":
		fault.Message = fmt.Sprintf("must have at least %d entries", e.Schema.MinItems)
	case "maxItems":
		fault.Message = fmt.Sprintf("must have at most %d entries", *e.Schema.MaxItems)
	case "uniqueItems":
		fault.Message = "must not have the same entry twice"
	case "format":
		fault.Message = "must be a " + e.Schema.Format
		if e.Schema.Format == "date-time" {
			fault.Message = "must be an existing time, such as 2026-01-15T00:00:00Z"
		}
	default:
		fault.Message = "does not have the form that the contract describes"
	}
	if text, ok := e.Schema.Extensions["x-fault"].(string); ok {
		fault.Message = text
	}
	return fault
}

// article returns the types of a schema as a text names them: "an array or a string".
func article(types []string) string {
	named := make([]string, len(types))
	for i, t := range types {
		named[i] = "a " + t
		if strings.ContainsAny(t[:1], "aio") {
			named[i] = "an " + t
		}
	}
	return strings.Join(named, " or ")
}

// collector keeps the first fault of every field.
type collector struct {
	faults []pbx.FieldError
	seen   map[string]bool
}

func (c *collector) add(fault pbx.FieldError) {
	if c.seen[fault.Field] {
		return
	}
	if c.seen == nil {
		c.seen = map[string]bool{}
	}
	c.seen[fault.Field] = true
	c.faults = append(c.faults, fault)
}

// schema adds the faults found by the contract; for fields with rules only those of their shape, as the rules describe the rest better.
func (c *collector) schema(err error, ruled []string) {
	switch e := err.(type) { //nolint:errorlint // walks the whole tree of errors
	case nil:
	case openapi3.MultiError:
		for _, err := range e {
			c.schema(err, ruled)
		}
	case *openapi3.SchemaError:
		field := shown(strings.Join(e.JSONPointer(), "."))
		switch {
		case e.SchemaField == "properties":
			c.unknown(e)
		case e.SchemaField == "required":
			c.add(pbx.FieldError{Field: field, Code: pbx.FieldMissing, Message: "is missing"})
		case e.SchemaField == "type", e.SchemaField == "nullable":
			c.add(pbx.FieldError{Field: field, Code: pbx.FieldType, Message: "must be " + article(e.Schema.Type.Slice())})
		case !slices.Contains(ruled, field):
			fault := reason(e)
			fault.Field = field
			c.add(fault)
		}
	default:
		c.add(pbx.FieldError{Field: "body", Code: pbx.FieldMalformed, Message: "is not valid"})
	}
}

// unknown adds the fields of an object that the contract does not have. The validator reports them one by one, without a path; one report suffices
// for all.
func (c *collector) unknown(e *openapi3.SchemaError) {
	at := e.JSONPointer()
	mark := "\x00" + strings.Join(at, "\x00")
	if c.seen[mark] {
		return
	}
	if c.seen == nil {
		c.seen = map[string]bool{}
	}
	c.seen[mark] = true
	object, _ := e.Value.(map[string]any)
	for key := range object {
		if e.Schema.Properties[key] == nil {
			c.add(pbx.FieldError{Field: shown(strings.Join(append(slices.Clone(at), key), ".")), Code: pbx.FieldUnknown, Message: "is not a field of this call: remove it"})
		}
	}
}

// shown limits a client's name to the length for a response.
func shown(name string) string {
	if name == "" {
		return "(empty)"
	}
	return strings.ToValidUTF8(short(name), "\ufffd")
}

// received is a completely received body.
type received struct {
	bytes.Reader
	body []byte
}

func newReceived(body []byte) *received {
	r := &received{body: body}
	r.Reset(body)
	return r
}

// Close does nothing.
func (*received) Close() error { return nil }

// bodyOf returns the received body of a request.
func bodyOf(r *http.Request) []byte {
	if b, ok := r.Body.(*received); ok {
		return b.body
	}
	return nil
}

// receive reads a JSON body, at the client's pace: the request has no slot meanwhile, a time limit, and is dropped when too many wait.
func (a *api) receive(w http.ResponseWriter, r *http.Request, d requirement, most int64) error {
	if err := mediaFault(r.Header, d.media); err != nil {
		return err
	}
	tooLarge := &refusal{http.StatusRequestEntityTooLarge, openapi.ProblemCodeBodyTooLarge, fmt.Sprintf("the body is larger than %d bytes", most)}
	if r.ContentLength > most {
		return tooLarge
	}
	x, control, waiting := exchangeOf(r), http.NewResponseController(w), a.edge.uploads
	if d.permission == pbx.Public {
		waiting = a.edge.bodies
	}
	_ = control.SetReadDeadline(a.now().Add(bodyPatience)) // a request without deadlines has its body already
	leave := waiting.enter(x.from, func() { _ = control.SetReadDeadline(time.Unix(1, 0)) }, nil)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	leave()
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return tooLarge
		}
		return &refusal{http.StatusBadRequest, openapi.ProblemCodeBodyUnreadable, "the body is incomplete: send it again"}
	}
	_ = control.SetReadDeadline(time.Time{})
	x.unread = false
	r.Body = newReceived(body)
	return nil
}

// mediaFault refuses a body that is declared as anything but plain JSON in UTF-8, of one of the media types.
func mediaFault(h http.Header, types []string) error {
	const cure = "send the body as JSON, with the header Content-Type: application/json"
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return &refusal{http.StatusUnsupportedMediaType, openapi.ProblemCodeUnsupportedMediaType, "send the body uncompressed, without Content-Encoding"}
	}
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || !slices.Contains(types, media) || len(h.Values("Content-Type")) > 1 {
		return &refusal{http.StatusUnsupportedMediaType, openapi.ProblemCodeUnsupportedMediaType, cure}
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return &refusal{http.StatusUnsupportedMediaType, openapi.ProblemCodeUnsupportedMediaType, cure + "; charset=utf-8"}
	}
	return nil
}
