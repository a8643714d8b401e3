package config

import (
	"strings"
	"testing"
)

// Whatever a file .env holds, reading it ends, and either every line of it is read or one is named. And any text can be written as a value.
func FuzzDotenv(f *testing.F) {
	for _, seed := range []string{
		"", "A='b'\nexport C=\"d\" # e\n", "\ufeffA=b\r\nC=d\r\n", "A=${HOME}/x\nB=${A}/y${NONE:-z}\n", "A=\"two\nlines\\\"\"\nB=c # d", "'A=b\n", "'A B'=c\n", "A='C:\\'\nB='x'\n", "A='it\\'s'", "my-key\nA.b==2 #\n",
	} {
		f.Add(seed)
	}
	nothing := func(string) (string, bool) { return "", false }
	f.Fuzz(func(t *testing.T, text string) {
		values, wrong := parseDotenv(text, nothing)
		if (values == nil) != (wrong != 0) || wrong < 0 || wrong > 1+strings.Count(text, "\n") {
			t.Errorf("%q gave %q, and line %d is wrong", text, values, wrong)
		}
		for name, value := range values {
			bare := !strings.Contains(text, "'"+name+"'")
			if name == "" || strings.Contains(name, "\n") || bare && strings.ContainsAny(name, "=# ") || !strings.Contains(text, name) {
				t.Errorf("%q gave the name %q with %q", text, name, value)
			}
		}
		if strings.Contains(text, "${") {
			return // which stands for something else
		}
		written := "A='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'\n"
		if values, wrong := parseDotenv(written, nothing); wrong != 0 || len(values) != 1 || values["A"] != text {
			t.Errorf("%q, written as %q, is read as %q, and line %d is wrong", text, written, values, wrong)
		}
	})
}
