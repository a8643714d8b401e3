package pbx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// clean brings the id into its canonical form, and returns what is wrong with the destination; the code is empty if nothing is.
func (d *Destination) clean(field string) FieldError {
	switch {
	case d.Kind == "":
		return FieldError{Field: field, Code: FieldMissing, Message: "must not be empty: say where the call goes, hangup to end it"}
	case d.Kind == Hangup && d.ID == "":
		return FieldError{}
	case d.Kind == Hangup:
		return FieldError{Field: field + ".id", Code: FieldUnknown, Message: "must be left out for hangup, or null in a merge patch"}
	case d.Kind != KindUser && !slices.Contains(Kinds(), d.Kind):
		return FieldError{Field: field + ".kind", Code: FieldChoice, Message: choice(append([]ThingKind{Hangup, KindUser}, Kinds()...))}
	}
	id, ok := CanonicalID(d.ID)
	if !ok {
		return FieldError{Field: field + ".id", Code: FieldMalformed, Message: "must be the id of a " + string(d.Kind)}
	}
	d.ID = id
	return FieldError{}
}

// choice returns the message of a field that must have one of some values.
func choice[T ~string](values []T) string {
	texts := make([]string, len(values))
	for n, v := range values {
		texts[n] = string(v)
	}
	last := len(texts) - 1
	return "must be " + strings.Join(texts[:last], ", ") + " or " + texts[last]
}

// reference returns what the destination refers to, if anything.
func (d Destination) reference(field string) []Reference {
	if d.Kind == Hangup {
		return nil
	}
	return []Reference{{Field: field, To: Ref(d)}}
}

// String returns the kind and the id.
func (d Destination) String() string {
	if d.ID == "" {
		return string(d.Kind)
	}
	return string(d.Kind) + " " + d.ID
}

// cleanMembers brings the ids of a list of users into their canonical form, and returns what is wrong with the list.
func cleanMembers(field string, users []UserID, most int) []FieldError {
	if len(users) == 0 || len(users) > most {
		return []FieldError{{Field: field, Code: FieldRange, Message: fmt.Sprintf("must have from 1 to %d users", most), Least: 1, Most: most}}
	}
	seen := map[UserID]bool{}
	for i := range users {
		id, ok := CanonicalID(users[i])
		switch {
		case !ok:
			return []FieldError{{Field: field, Code: FieldMalformed, Message: "must be ids of users"}}
		case seen[id]:
			return []FieldError{{Field: field, Code: FieldTwice, Message: "must not have the same user twice"}}
		}
		users[i], seen[id] = id, true
	}
	return nil
}

// userReferences returns the references of a list of users.
func userReferences(field string, users []UserID) []Reference {
	all := make([]Reference, len(users))
	for i, u := range users {
		all[i] = Reference{field, i, Ref{KindUser, string(u)}}
	}
	return all
}

// replaceUser returns a list of users with another in the place of one, unless the other is in it or is "".
func replaceUser(users []UserID, user, by UserID) []UserID {
	at := slices.Index(users, user)
	switch users = slices.Clone(users); {
	case at < 0:
	case by == "" || slices.Contains(users, by):
		users = slices.Delete(users, at, at+1)
	default:
		users[at] = by
	}
	return users
}

// numberFault returns what is wrong with a number that is given to a user or an item, and may be empty; the code is empty if nothing is.
func numberFault(field, number string) FieldError {
	_, ok := ParseNumber(number)
	switch {
	case (&Organisation{}).reserved(number):
		return FieldError{Field: field, Code: FieldTaken, Message: "is an emergency number somewhere: choose another one"}
	case number == "" || ok:
		return FieldError{}
	}
	return FieldError{
		Field: field, Code: FieldMalformed, Message: "must be a number of " + strconv.Itoa(int(MinNumber)) + " to " + strconv.Itoa(int(MaxNumber)) +
			" without leading zeros, or left out for the lowest free one",
	}
}
