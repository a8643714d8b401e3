package render

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Inventory is what a pair of generated files holds, read back from their bytes.
type Inventory struct {
	objects map[pbx.Number]map[string][]setting // by number and type
	steps   []pbx.Step
}

// Read gives the inventory of files that Config made, now or long ago. Files of another origin (an administrator's, the Python
// portal's) are read as far as they follow the same form; where they do not, the error says so and the inventory is empty.
func Read(files []pbx.File) (Inventory, error) {
	inv := newInventory()
	for _, f := range files {
		switch f.Path {
		case pbx.PJSIPPath:
			sections, err := parse(f.Content)
			if err != nil {
				return newInventory(), fmt.Errorf("%s: %w", f.Path, err)
			}
			for _, s := range sections {
				n, err := strconv.Atoi(s.name)
				if err != nil {
					return newInventory(), fmt.Errorf("%s: section %q is not an extension", f.Path, s.name)
				}
				inv.add(pbx.Number(n), s.settings)
			}
		case pbx.DialplanPath:
			steps, err := parseDialplan(f.Content)
			if err != nil {
				return newInventory(), fmt.Errorf("%s: %w", f.Path, err)
			}
			inv.steps = steps
		}
	}
	return inv, nil
}

func newInventory() Inventory { return Inventory{objects: map[pbx.Number]map[string][]setting{}} }

// Blank reports whether a file says nothing to Asterisk: it holds blank lines and comments alone.
func Blank(file []byte) bool {
	for line := range strings.Lines(string(file)) {
		if line = trim(line); line != "" && line[0] != ';' {
			return false
		}
	}
	return true
}

// add takes in one object; its type is among its settings.
func (inv Inventory) add(n pbx.Number, settings []setting) {
	if inv.objects[n] == nil {
		inv.objects[n] = make(map[string][]setting, 3)
	}
	inv.objects[n][value(settings, "type")] = settings
}

// Numbers gives the extensions that have an endpoint, in order.
func (inv Inventory) Numbers() []pbx.Number {
	var all []pbx.Number
	for n, types := range inv.objects {
		if types["endpoint"] != nil {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// Live gives what a live Asterisk has loaded once it has taken these files.
func (inv Inventory) Live() pbx.Live {
	live := pbx.Live{Steps: inv.steps, Hashes: map[string]string{}}
	for _, n := range slices.Sorted(maps.Keys(inv.objects)) {
		id := strconv.Itoa(int(n))
		for kind, settings := range inv.objects[n] {
			switch kind {
			case "endpoint":
				live.Endpoints = append(live.Endpoints, id)
			case "auth":
				live.Auths = append(live.Auths, id)
			case "aor":
				live.AORs = append(live.AORs, id)
			}
			if hash := value(settings, pbx.HashAttribute); hash != "" {
				live.Hashes[kind+"/"+id] = hash
			}
		}
	}
	return live
}

// Changes names what differs between two inventories, by number.
func Changes(from, to Inventory) []pbx.Change {
	var changes []pbx.Change
	for _, n := range slices.Sorted(maps.Keys(from.objects)) {
		if to.objects[n] == nil {
			changes = append(changes, pbx.Change{Kind: pbx.Removed, Number: n, Name: from.name(n), Reregister: true})
		}
	}
	for _, n := range slices.Sorted(maps.Keys(to.objects)) {
		if from.objects[n] == nil {
			changes = append(changes, pbx.Change{Kind: pbx.Added, Number: n, Name: to.name(n)})
			continue
		}
		if what := alterations(from.objects[n], to.objects[n]); len(what) > 0 {
			secret := slices.Contains(what, "secret")
			changes = append(changes, pbx.Change{Kind: pbx.Changed, Number: n, Name: to.name(n), What: what, Reregister: secret})
		}
	}
	slices.SortStableFunc(changes, func(a, b pbx.Change) int { return int(a.Number - b.Number) })
	return changes
}

// alterations says in which respects the objects of one extension differ.
func alterations(from, to map[string][]setting) (what []string) {
	for _, part := range []struct{ name, kind, key string }{{"name", "endpoint", "callerid"}, {"secret", "auth", "password"}} {
		if value(from[part.kind], part.key) != value(to[part.kind], part.key) {
			what = append(what, part.name)
		}
	}
	for _, kind := range []string{"endpoint", "auth", "aor"} {
		other := func(s setting) bool { return s.key == "callerid" || s.key == "password" || s.key == pbx.HashAttribute }
		a, b := slices.DeleteFunc(slices.Clone(from[kind]), other), slices.DeleteFunc(slices.Clone(to[kind]), other)
		if !slices.Equal(a, b) {
			return append(what, "settings")
		}
	}
	return what
}

// name gives the name phones show for an extension.
func (inv Inventory) name(n pbx.Number) string {
	name, _, _ := strings.Cut(value(inv.objects[n]["endpoint"], "callerid"), " <")
	return strings.Trim(name, `"`)
}

// value gives the value of a setting, "" when it is not there.
func value(settings []setting, key string) string {
	for _, s := range settings {
		if s.key == key {
			return s.value
		}
	}
	return ""
}

// Diff shows how each file changes from one pair to the other, as a unified diff in which no secret and no hash stands: a secret that
// stays is "[hidden]" on both sides, one that changes is "[hidden]" before and "[hidden, new]" after. The two pairs are called by their
// names.
func Diff(fromName string, from []pbx.File, toName string, to []pbx.File) []pbx.FileDiff {
	var diffs []pbx.FileDiff
	secrets := map[string]string{}
	for _, f := range to {
		var before []byte
		for _, old := range from {
			if old.Path == f.Path {
				before = old.Content
			}
		}
		a, b := mask(before, secrets, false), mask(f.Content, secrets, true)
		text := ""
		if !bytes.Equal(a, b) {
			text = string(diff.Diff(fromName+": "+f.Path, a, toName+": "+f.Path, b))
		}
		diffs = append(diffs, pbx.FileDiff{Path: f.Path, Text: text})
	}
	return diffs
}

// mask hides what must not be seen in a file. The first call, for what is in place, notes the secrets; the second tells from them
// which are new.
func mask(file []byte, secrets map[string]string, compare bool) []byte {
	var b bytes.Buffer
	section := ""
	for line := range strings.Lines(string(file)) {
		key, secret, _ := strings.Cut(line, "=")
		switch key = strings.TrimSpace(key); {
		case strings.HasPrefix(key, "["):
			section = strings.TrimSpace(line)
			b.WriteString(line)
		case key == pbx.HashAttribute:
		case key == "password":
			b.WriteString("password=[hidden")
			if old, known := secrets[section]; compare && known && old != secret {
				b.WriteString(", new")
			}
			b.WriteString("]\n")
			if !compare {
				secrets[section] = secret
			}
		case strings.Contains(strings.ToLower(key), "password"):
			b.WriteString(key + "=[hidden]\n") // a hand edit, perhaps
		default:
			b.WriteString(line)
		}
	}
	return b.Bytes()
}
