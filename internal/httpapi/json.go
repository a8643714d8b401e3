package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
)

// maxValues bounds the values in a body, including objects and arrays, an empty one counted twice. The contract needs some hundred.
const maxValues = 128

// maxDigits bounds the length of a number; the contract has none of more than ten digits.
const maxDigits = 64

// maxDepth bounds the nesting of arrays and objects in a body; the contract needs one level.
const maxDepth = 32

// parseJSON parses exactly one JSON value, strictly: it refuses what encoding/json silently accepts or repairs, as parsers could disagree on it:
// duplicate keys, unpaired surrogates, invalid UTF-8. It returns the body as it can be decoded: whole numbers, which JSON can write as 20.0 or 2e1, are in
// decimal digits.
func parseJSON(body []byte) (value any, decodable []byte, err error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil, invalidJSON("it is empty: send a JSON object")
	}
	if i := firstInvalid(body); i >= 0 {
		return nil, nil, invalidAt(body, i, "not valid UTF-8")
	}
	if err := withinBounds(body); err != nil {
		return nil, nil, err
	}
	if bytes.HasPrefix(body, []byte("\ufeff")) {
		return nil, nil, invalidAt(body, 0, "a byte order mark (U+FEFF), which JSON does not have: send the body without it")
	}
	var raw json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, nil, invalidAt(body, int(e.Offset)-1, e.Error())
		}
		return nil, nil, invalidJSON(err.Error())
	}
	if i := loneSurrogate(body); i >= 0 {
		return nil, nil, invalidAt(body, i, "an unpaired surrogate")
	}
	p := jsonParser{body: body, dec: json.NewDecoder(bytes.NewReader(body))}
	p.dec.UseNumber()
	if value, err = p.value(); err == nil && p.rewritten {
		body, err = json.Marshal(value)
	}
	return value, body, err
}

// withinBounds refuses a body with too much nesting or too many values before it is parsed: it counts brackets and commas outside of strings. The
// cost is linear in the length of the body.
func withinBounds(body []byte) error {
	depth, values, text := 0, 1, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			text = !text
		case text && c == '\\':
			i++ // the escaped character
		case text:
		case c == '[', c == '{':
			if depth++; depth > maxDepth {
				return invalidAt(body, i, fmt.Sprintf("nested deeper than %d levels", maxDepth))
			}
			values++
		case c == ']', c == '}':
			depth--
		case c == ',':
			values++
		}
		if values > maxValues {
			return invalidAt(body, i, fmt.Sprintf("more than %d values", maxValues))
		}
	}
	return nil
}

type jsonParser struct {
	body      []byte
	dec       *json.Decoder
	rewritten bool // a number is returned in another form than in the body
}

// value parses the next value. The syntax has been checked: only long numbers and duplicate keys are left to find.
func (p *jsonParser) value() (any, error) {
	token, err := p.dec.Token()
	if err != nil {
		return nil, invalidJSON(err.Error())
	}
	if n, ok := token.(json.Number); ok {
		if len(n) > maxDigits {
			return nil, p.fault(fmt.Sprintf("a number of more than %d characters", maxDigits))
		}
		whole := plain(n)
		p.rewritten = p.rewritten || whole != n
		return whole, nil
	}
	open, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	object, array := map[string]any{}, []any{}
	for p.dec.More() {
		var key string
		if open == '{' {
			token, err := p.dec.Token()
			if err != nil {
				return nil, invalidJSON(err.Error())
			}
			key, _ = token.(string)
			if _, twice := object[key]; twice {
				return nil, p.fault("the key " + strconv.Quote(short(key)) + " occurs twice in one object")
			}
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if open == '{' {
			object[key] = v
		} else {
			array = append(array, v)
		}
	}
	if _, err := p.dec.Token(); err != nil { // the closing bracket
		return nil, invalidJSON(err.Error())
	}
	if open == '{' {
		return object, nil
	}
	return array, nil
}

// plain returns a whole number in decimal digits alone, as the contract's integers are decoded; any other number as it is.
func plain(n json.Number) json.Number {
	const exact = 1 << 53 // above, a float64 is not every integer
	if f, err := n.Float64(); err == nil && f == math.Trunc(f) && math.Abs(f) < exact {
		return json.Number(strconv.FormatInt(int64(f), 10))
	}
	return n
}

func (p *jsonParser) fault(what string) error {
	return invalidAt(p.body, int(p.dec.InputOffset())-1, what)
}

func invalidJSON(what string) error {
	return &refusal{http.StatusBadRequest, openapi.ProblemCodeInvalidJSON, "the body is not valid JSON: " + what}
}

// invalidAt returns an error with the position of the fault: line and column in characters, both from 1.
func invalidAt(body []byte, offset int, what string) error {
	before := body[:max(0, min(offset, len(body)))]
	line := bytes.Count(before, []byte{'\n'}) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return invalidJSON(fmt.Sprintf("line %d, column %d: %s", line, column, what))
}

// firstInvalid returns the offset of the first invalid UTF-8 byte, -1 if there is none.
func firstInvalid(body []byte) int {
	if utf8.Valid(body) {
		return -1
	}
	for i := 0; i < len(body); {
		r, n := utf8.DecodeRune(body[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// loneSurrogate returns the offset of the first \u escape in valid JSON that is an unpaired surrogate, -1 if there is none.
func loneSurrogate(body []byte) int {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		switch unit := escaped(body[i:]); {
		case unit >= 0xd800 && unit < 0xdc00:
			if low := escaped(body[i+6:]); low < 0xdc00 || low > 0xdfff {
				return i
			}
			i += 11
		case unit >= 0xdc00 && unit < 0xe000:
			return i
		default:
			i++ // the escaped character, which may be a backslash itself
		}
	}
	return -1
}

// escaped returns the UTF-16 unit of the \uXXXX at the beginning of the text, 0 if there is none.
func escaped(text []byte) uint64 {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	unit, _ := strconv.ParseUint(string(text[2:6]), 16, 16) // 0 if it is none
	return unit
}
