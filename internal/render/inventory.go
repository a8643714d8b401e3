package render

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Inventory is the content of a pair of generated files, read back from their bytes.
type Inventory struct {
	extensions map[pbx.Number]extension
	steps      []pbx.Step
}

// extension is the three PJSIP objects of a number, nil where one is missing.
type extension struct{ endpoint, auth, aor []setting }

// kinds returns the types of PJSIP objects of an extension.
func kinds() [3]string { return [3]string{"endpoint", "auth", "aor"} }

// of returns a pointer to the object of a type, nil for a type that an extension does not have.
func (x *extension) of(kind string) *[]setting {
	switch kind {
	case "endpoint":
		return &x.endpoint
	case "auth":
		return &x.auth
	case "aor":
		return &x.aor
	}
	return nil
}

// Read returns the inventory of files that Config made, now or long ago. Files of another origin (an administrator's, the Python portal's) are read as
// far as they have the same form; if they do not, the inventory is empty and the error gives the reason.
func Read(files []pbx.File) (Inventory, error) {
	inv := Inventory{extensions: map[pbx.Number]extension{}}
	for _, f := range files {
		switch f.Path {
		case pbx.PJSIPPath:
			sections, err := parse(f.Content)
			if err != nil {
				return Inventory{}, fmt.Errorf("%s: %w", f.Path, err)
			}
			for _, s := range sections {
				if err := inv.add(s); err != nil {
					return Inventory{}, fmt.Errorf("%s: %w", f.Path, err)
				}
			}
		case pbx.DialplanPath:
			steps, err := parseDialplan(f.Content)
			if err != nil {
				return Inventory{}, fmt.Errorf("%s: %w", f.Path, err)
			}
			inv.steps = steps
		}
	}
	return inv, nil
}

// add adds one section.
func (inv Inventory) add(s section) error {
	n, err := strconv.Atoi(s.name)
	if err != nil {
		return errors.New("a section is not of an extension")
	}
	x := inv.extensions[pbx.Number(n)]
	object := x.of(value(s.settings, "type"))
	if object == nil {
		return errors.New("a section is no endpoint, auth or AOR")
	}
	*object = s.settings
	inv.extensions[pbx.Number(n)] = x
	return nil
}

// IsEmpty reports whether a file means nothing to Asterisk: it holds only blank lines and comments.
func IsEmpty(file []byte) bool {
	for line := range strings.Lines(string(file)) {
		if line = trim(line); line != "" && line[0] != ';' {
			return false
		}
	}
	return true
}

// Numbers returns the extensions that have an endpoint, in order.
func (inv Inventory) Numbers() []pbx.Number {
	var all []pbx.Number
	for n, x := range inv.extensions {
		if x.endpoint != nil {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// AddNumbers adds the number of every object to all.
func (inv Inventory) AddNumbers(all map[pbx.Number]bool) {
	for n := range inv.extensions {
		all[n] = true
	}
}

// Live returns what Asterisk has loaded after it has read these files.
func (inv Inventory) Live() pbx.Live {
	live := pbx.Live{Steps: inv.steps, Context: inv.extensions != nil, Hashes: make(map[string]string, 3*len(inv.extensions))}
	for _, n := range slices.Sorted(maps.Keys(inv.extensions)) {
		id := strconv.Itoa(int(n))
		x := inv.extensions[n]
		for kind, ids := range map[string]*[]string{"endpoint": &live.Endpoints, "auth": &live.Auths, "aor": &live.AORs} {
			settings := *x.of(kind)
			if settings == nil {
				continue
			}
			*ids = append(*ids, id)
			if hash := value(settings, pbx.HashAttribute); hash != "" {
				live.Hashes[objectName(kind, n)] = hash
			}
		}
	}
	return live
}

// Changes returns the differences between two inventories, by number.
func Changes(from, to Inventory) []pbx.Change {
	var changes []pbx.Change
	for n := range from.extensions {
		if _, stays := to.extensions[n]; !stays {
			changes = append(changes, pbx.Change{Kind: pbx.Removed, Number: n, Name: from.name(n), Reregister: true})
		}
	}
	for n, after := range to.extensions {
		before, was := from.extensions[n]
		if !was {
			changes = append(changes, pbx.Change{Kind: pbx.Added, Number: n, Name: to.name(n)})
			continue
		}
		if what := alterations(before, after); len(what) > 0 {
			secret := slices.Contains(what, "secret")
			changes = append(changes, pbx.Change{Kind: pbx.Changed, Number: n, Name: to.name(n), What: what, Reregister: secret})
		}
	}
	slices.SortFunc(changes, func(a, b pbx.Change) int { return int(a.Number - b.Number) })
	return changes
}

// ChangedObjects returns the names ("auth/1000") of the objects that only one of the inventories has, or both with different content. named is false when an
// object of either does not name its content, and could be confused with another.
func ChangedObjects(from, to Inventory) (names []string, named bool) {
	named = true
	look := func(n pbx.Number, before, after extension) {
		for _, kind := range kinds() {
			old, fresh := *before.of(kind), *after.of(kind)
			was, is := value(old, pbx.HashAttribute), value(fresh, pbx.HashAttribute)
			named = named && (old == nil || was != "") && (fresh == nil || is != "")
			if was != is {
				names = append(names, objectName(kind, n))
			}
		}
	}
	for n, before := range from.extensions {
		look(n, before, to.extensions[n])
	}
	for n, after := range to.extensions {
		if _, was := from.extensions[n]; !was {
			look(n, extension{}, after)
		}
	}
	slices.Sort(names)
	return names, named
}

// Last returns the names of the last objects in the PJSIP file.
func (inv Inventory) Last() (names []string) {
	if len(inv.extensions) == 0 {
		return nil
	}
	last := slices.Max(slices.Collect(maps.Keys(inv.extensions)))
	for _, kind := range kinds() {
		names = append(names, objectName(kind, last))
	}
	return names
}

func objectName(kind string, n pbx.Number) string { return kind + "/" + strconv.Itoa(int(n)) }

// alterations returns in which respects the objects of one extension differ.
func alterations(from, to extension) (what []string) {
	if slices.Equal(from.endpoint, to.endpoint) && slices.Equal(from.auth, to.auth) && slices.Equal(from.aor, to.aor) {
		return nil
	}
	if value(from.endpoint, "callerid") != value(to.endpoint, "callerid") {
		what = append(what, "name")
	}
	if !sameSecret(from.auth, to.auth) {
		what = append(what, "secret")
	}
	other := func(s setting) bool {
		return s.key == "callerid" || s.key == "password" || s.key == "password_digest" || s.key == pbx.HashAttribute
	}
	for _, kind := range kinds() {
		a, b := slices.DeleteFunc(slices.Clone(*from.of(kind)), other), slices.DeleteFunc(slices.Clone(*to.of(kind)), other)
		if !slices.Equal(a, b) {
			return append(what, "settings")
		}
	}
	return what
}

// name returns the name that phones show for an extension, "" if the portal did not write it: the text may be anything.
func (inv Inventory) name(n pbx.Number) string {
	if !sealed(inv.extensions[n].endpoint) {
		return ""
	}
	name, _, _ := strings.Cut(value(inv.extensions[n].endpoint, "callerid"), " <")
	return strings.Trim(name, `"`)
}

// value returns the value of a setting, "" when it is missing.
func value(settings []setting, key string) string {
	for _, s := range settings {
		if s.key == key {
			return s.value
		}
	}
	return ""
}
