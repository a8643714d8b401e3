package httpapi

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// patched returns an object, in its type of the contract, with a JSON merge patch (RFC 7396) that is valid for the contract. So the patch reaches
// exactly the fields that the contract has in it.
func patched[T any](object T, patch json.RawMessage) (T, error) {
	var result T
	text, err := json.Marshal(object)
	if err != nil {
		return result, err
	}
	before, err := decoded(text)
	if err != nil {
		return result, err
	}
	changes, err := decoded(patch)
	if err != nil {
		return result, err
	}
	if text, err = json.Marshal(merged(before, changes)); err != nil {
		return result, err
	}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	return result, strict.Decode(&result)
}

// decoded returns a JSON value with its numbers as written.
func decoded(text []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return value, d.Decode(&value)
}

// merged applies a merge patch, as RFC 7396 defines it: null removes a member, an object is merged, and any other value replaces what is there.
func merged(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	result := map[string]any{}
	if object, ok := target.(map[string]any); ok {
		result = object
	}
	for name, value := range changes {
		if value == nil {
			delete(result, name)
		} else {
			result[name] = merged(result[name], value)
		}
	}
	return result
}

// versionTag returns the ETag of a version.
func versionTag(version int64) string { return quoted(strconv.FormatInt(version, 10)) }

// anyVersion, as the version that a caller has read, allows a change whatever the version is.
const anyVersion = 0

// versionOf returns the version in the header If-Match: anyVersion if there is none, and -1, which no object has, for a tag that is not one of a version
// or is weak and thus never matches (RFC 9110).
func versionOf(ifMatch *string) int64 {
	tag := value(ifMatch)
	if tag == "" || tag == "*" {
		return anyVersion
	}
	n, err := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64)
	if err != nil || n < 1 || tag != versionTag(n) {
		return -1
	}
	return n
}

// has reports whether the client has a version, by its header If-None-Match.
func has(ifNoneMatch *string, version int64) bool {
	for tag := range strings.SplitSeq(value(ifNoneMatch), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == versionTag(version) {
			return true
		}
	}
	return false
}

// badCursor returns the error of a cursor that is not one of this list.
func badCursor() error {
	return pbx.Invalid(pbx.FieldError{Field: "cursor", Code: pbx.FieldCursor, Message: "is not a cursor: give the next_cursor of an earlier answer, or none"})
}
