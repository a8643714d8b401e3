// Command sbom prints the bill of materials of a program in CycloneDX JSON: the modules linked into it, as recorded in the program itself, and the npm
// packages of the web interface. The same program gives the same bytes.
//
//	usage: sbom PROGRAM [PACKAGE-LOCK.JSON]
package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) < 1 || len(args) > 2 {
		return errors.New("usage: sbom PROGRAM [PACKAGE-LOCK.JSON]")
	}
	bill, err := describe(args[0])
	if err != nil {
		return err
	}
	if len(args) == 2 {
		packages, err := npm(args[1])
		if err != nil {
			return err
		}
		bill.Components = append(bill.Components, packages...)
	}
	slices.SortFunc(bill.Components, func(a, b component) int { return cmp.Compare(a.Ref, b.Ref) })
	bill.Components = slices.CompactFunc(bill.Components, func(a, b component) bool { return a.Ref == b.Ref })
	var unknown []string
	uses := dependency{Ref: bill.Metadata.Component.Ref}
	for _, c := range bill.Components {
		uses.DependsOn = append(uses.DependsOn, c.Ref)
		if len(c.Licenses) == 0 && strings.HasPrefix(c.PURL, "pkg:golang/") { // a lock file may lack it; a module can be examined
			unknown = append(unknown, c.Name)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("no known licence in %s: check it, and add it to this tool", strings.Join(unknown, ", "))
	}
	bill.Dependencies = []dependency{uses}
	if err := bill.number(); err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(bill)
}

// The part of CycloneDX 1.6 (ECMA-424) that is used here.
type (
	billOfMaterials struct {
		Schema       string       `json:"$schema"`
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Serial       string       `json:"serialNumber,omitempty"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		Scope      string     `json:"scope,omitempty"`
		Hashes     []hash     `json:"hashes,omitempty"`
		Licenses   []licence  `json:"licenses,omitempty"`
		PURL       string     `json:"purl"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	// licence is an SPDX identifier or expression.
	licence struct {
		License    *identifier `json:"license,omitempty"`
		Expression string      `json:"expression,omitempty"`
	}
	identifier struct {
		ID string `json:"id"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

// describe reads a program.
func describe(program string) (bill billOfMaterials, err error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return bill, fmt.Errorf("cannot read what %s is made of: %w", program, err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return bill, err
	}
	sum := sha256.Sum256(content)
	bill = billOfMaterials{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", Spec: "1.6", Version: 1,
		Metadata: metadata{component{
			Type: "application", Ref: purl(info.Main.Path, info.Main.Version), Name: filepath.Base(info.Path), Version: info.Main.Version,
			Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}, Licenses: []licence{{License: &identifier{"Apache-2.0"}}},
			PURL: purl(info.Main.Path, info.Main.Version),
		}},
	}
	for _, s := range info.Settings {
		bill.Metadata.Component.Properties = append(bill.Metadata.Component.Properties, property{"build:" + s.Key, s.Value})
	}
	release := strings.TrimPrefix(info.GoVersion, "go")
	bill.Components = []component{{
		Type: "library", Ref: purl("std", release), Name: "std", Version: release, PURL: purl("std", release),
		Licenses: []licence{{License: &identifier{"BSD-3-Clause"}}},
	}}
	var modules []debug.Module
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		modules = append(modules, *dep)
	}
	folders, err := download(modules)
	if err != nil {
		return bill, err
	}
	for _, m := range modules {
		found, err := licencesIn(folders[m.Path])
		if err != nil {
			return bill, err
		}
		bill.Components = append(bill.Components, component{
			Type: "library", Ref: purl(m.Path, m.Version), Name: m.Path, Version: m.Version, Licenses: found,
			PURL: purl(m.Path, m.Version), Properties: []property{{"go:sum", m.Sum}},
		})
	}
	return bill, nil
}

// purl returns the package URL of a module.
func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}

// download returns the folder of each module, by its path; the Go tools check each against its sum.
func download(modules []debug.Module) (map[string]string, error) {
	args := []string{"mod", "download", "-json"}
	for _, m := range modules {
		args = append(args, m.Path+"@"+m.Version)
	}
	var said bytes.Buffer
	cmd := exec.Command("go", args...)
	cmd.Stdout, cmd.Stderr = &said, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("cannot get the modules: %w", err)
	}
	folders := map[string]string{}
	for dec := json.NewDecoder(&said); dec.More(); {
		var m struct{ Path, Version, Dir, Sum string }
		if err := dec.Decode(&m); err != nil {
			return nil, err
		}
		folders[m.Path] = m.Dir
	}
	return folders, nil
}

// licencesIn recognises the licence files of a module.
func licencesIn(folder string) (found []licence, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.IsDir() || !strings.HasPrefix(name, "LICENSE") && !strings.HasPrefix(name, "LICENCE") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		if id := recognise(string(text)); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		found = append(found, licence{License: &identifier{id}})
	}
	return found, nil
}

// recognise returns the SPDX identifier of a licence's text, "" if it is unknown.
func recognise(text string) string {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	for _, known := range []struct {
		id    string
		signs []string
	}{
		{"Apache-2.0", []string{"apache license version 2.0, january 2004"}},
		{"MPL-2.0", []string{"mozilla public license version 2.0"}},
		{"MPL-2.0", []string{"mozilla public license, version 2.0"}},
		{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "neither the name"}},
		{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "names of its contributors"}},
		{"BSD-2-Clause", []string{"redistribution and use in source and binary forms"}},
		{"MIT", []string{"permission is hereby granted, free of charge", "the above copyright notice and this permission notice"}},
		{"ISC", []string{"permission to use, copy, modify, and/or distribute this software for any purpose"}},
	} {
		if !slices.ContainsFunc(known.signs, func(sign string) bool { return !strings.Contains(text, sign) }) {
			return known.id
		}
	}
	return ""
}

// npm reads the packages of an npm lock file. A development dependency builds the web interface, and parts of it may end up there: its scope is
// optional.
func npm(lock string) ([]component, error) {
	text, err := os.ReadFile(lock)
	if err != nil {
		return nil, err
	}
	var file struct {
		Packages map[string]struct {
			Version, License string
			Dev, Link        bool
		} `json:"packages"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", lock, err)
	}
	var all []component
	for path, p := range file.Packages {
		i := strings.LastIndex(path, "node_modules/")
		if i < 0 || p.Link {
			continue // the project itself
		}
		name := path[i+len("node_modules/"):]
		c := component{Type: "library", Name: name, Version: p.Version, Scope: "required"}
		if p.Dev {
			c.Scope = "optional"
		}
		c.PURL = "pkg:npm/" + strings.ReplaceAll(name, "@", "%40") + "@" + p.Version
		c.Ref = c.PURL
		if strings.Contains(p.License, " ") {
			c.Licenses = []licence{{Expression: p.License}}
		} else if p.License != "" {
			c.Licenses = []licence{{License: &identifier{p.License}}}
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b component) int { return cmp.Or(cmp.Compare(a.Ref, b.Ref), -cmp.Compare(a.Scope, b.Scope)) }) // required before optional
	return all, nil
}

// number gives the bill a serial number derived from its content.
func (b *billOfMaterials) number() error {
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	sum[6] = sum[6]&0x0f | 0x80 // version 8 of RFC 9562: custom
	sum[8] = sum[8]&0x3f | 0x80
	b.Serial = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	return nil
}
