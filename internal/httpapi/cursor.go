package httpapi

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
)

// defaultPage is the number of items in a page without a limit.
const defaultPage = 100

// cursor is a position in a list of version 1. Clients get it as one opaque text, which only the same list in the same order accepts.
type cursor struct {
	List  string `json:"l"`
	Sort  string `json:"s,omitempty"` // as in the request
	After string `json:"a"`           // the position, as the service of the list has it
}

// String returns the cursor as clients get it.
func (c cursor) String() string {
	text, _ := json.Marshal(c) //nolint:errchkjson // texts
	return base64.RawURLEncoding.EncodeToString(text)
}

// position returns the position of a cursor of this list in this order, "" for no cursor.
func position(text *string, list, sort string) (after string, err error) {
	if text == nil {
		return "", nil
	}
	var c cursor
	plain, err := base64.RawURLEncoding.DecodeString(*text)
	if err == nil {
		err = json.Unmarshal(plain, &c)
	}
	if err != nil || c.List != list || c.Sort != sort || c.After == "" {
		return "", badCursor()
	}
	return c.After, nil
}

// next returns the cursor of the page after a position, nil for "".
func next(after, list, sort string) *string {
	if after == "" {
		return nil
	}
	text := cursor{list, sort, after}.String()
	return &text
}

// page returns a page of a list of version 1 that has one order. fetch returns the page after a position, and the position of the next one, "" for none.
func page[T any](list string, limit *int, at *string, fetch func(after string, limit int) ([]T, string, error)) (items []T, nextCursor *string, err error) {
	after, err := position(at, list, "")
	if err != nil {
		return nil, nil, err
	}
	items, end, err := fetch(after, cmp.Or(value(limit), defaultPage))
	return items, next(end, list, ""), err
}

// place returns the position of an item with a key and a number as text.
func place(key string, number int) string { return strconv.Itoa(number) + " " + key }

// placed reads what place returned; ok is false for anything else. The key can contain spaces.
func placed(text string) (key string, number int, ok bool) {
	digits, key, found := strings.Cut(text, " ")
	number, err := strconv.Atoi(digits)
	return key, number, found && err == nil && number > 0
}
