package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func bill(t *testing.T, args ...string) (b billOfMaterials, text string) {
	t.Helper()
	var out bytes.Buffer
	if err := run(args, &out); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	return b, out.String()
}

// The real program: the bill of materials has every module that `go version -m` lists, and nothing else.
func TestTheBillHasEveryModuleOfTheProgramWithItsLicence(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "pbxportal")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./cmd/pbxportal")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said, err := exec.Command("go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"std"}
	for line := range strings.Lines(string(said)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "dep" {
			want = append(want, fields[1])
		}
	}

	b, text := bill(t, program)
	var got []string
	for _, c := range b.Components {
		got = append(got, c.Name)
		if c.Type != "library" || c.Ref != c.PURL || c.Version == "" || len(c.Licenses) == 0 || !strings.HasPrefix(c.PURL, "pkg:golang/"+c.Name+"@") {
			t.Errorf("%+v", c)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) < 20 || !slices.Equal(got, want) {
		t.Errorf("the bill has\n%q\nand the program\n%q", got, want)
	}
	if deps := b.Dependencies; len(deps) != 1 || deps[0].Ref != b.Metadata.Component.Ref || len(deps[0].DependsOn) != len(b.Components) {
		t.Errorf("dependencies %+v", deps)
	}
	if main := b.Metadata.Component; main.Type != "application" || main.Name != "pbxportal" || len(main.Hashes) != 1 || len(main.Hashes[0].Content) != 64 {
		t.Errorf("%+v", main)
	}
	if b.Format != "CycloneDX" || b.Spec != "1.6" || b.Version != 1 || !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(b.Serial) {
		t.Errorf("%s %s %d %s", b.Format, b.Spec, b.Version, b.Serial)
	}
	if _, again := bill(t, program); again != text {
		t.Error("the same program gave another bill")
	}
}

func TestThePackagesOfTheWebInterfaceAreInTheBill(t *testing.T) {
	t.Parallel()
	lock := filepath.Join(t.TempDir(), "package-lock.json")
	if err := os.WriteFile(lock, []byte(`{"packages": {
		"": {"version": "1.0.0"},
		"node_modules/plain": {"version": "2.0.0", "license": "MIT"},
		"node_modules/@of/someone": {"version": "1.2.3", "license": "(MIT OR Apache-2.0)"},
		"node_modules/builder": {"version": "3.0.0", "license": "ISC", "dev": true},
		"node_modules/builder/node_modules/plain": {"version": "2.0.0", "license": "MIT", "dev": true}
	}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	packages, err := npm(lock)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range packages {
		got = append(got, c.PURL+" "+c.Scope)
	}
	want := []string{"pkg:npm/%40of/someone@1.2.3 required", "pkg:npm/builder@3.0.0 optional", "pkg:npm/plain@2.0.0 required", "pkg:npm/plain@2.0.0 optional"}
	if !slices.Equal(got, want) { // of two with one name and version the first stays
		t.Errorf("got %q", got)
	}
	if packages[0].Licenses[0].Expression == "" || packages[1].Licenses[0].License.ID != "ISC" {
		t.Errorf("%+v", packages)
	}
}

func TestAnUnknownLicenceIsNotAccepted(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Do what you like.": "",
		"Permission is hereby granted, free of charge, … The above copyright notice and this\n permission notice shall": "MIT",
		"Redistribution and use in source and binary forms, … Neither the name of":                                      "BSD-3-Clause",
		"Redistribution and use in source and binary forms, with or without":                                            "BSD-2-Clause",
	} {
		if got := recognise(text); got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
}
