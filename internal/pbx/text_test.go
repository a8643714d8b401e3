package pbx_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestATextIsStoredAsItReads(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"":                                  "",
		" Anna  Example ":                   "Anna Example",
		"Seán O’Neill":                      "Seán O’Neill",
		"Sea\u0301n O’Neill":                "Seán O’Neill", // as a Mac writes it
		"\u200eAnna\u200f Example\u202c":    "Anna Example", // pasted from a mail
		"\u2067\u05d3\u05d5\u05d3\u2069":    "\u05d3\u05d5\u05d3",
		"\ufeffAnna":                        "Anna",
		"An\u00adna":                        "Anna",
		"An\u200bna":                        "Anna",
		"A\u034fn\u2060na":                  "Anna",
		"Jean\u00a0Luc \u202f\u2009 P":      "Jean Luc P",
		"山田\u3000太郎":                        "山田 太郎",
		"P\u200dQ":                          "PQ",
		"\u200dAnna\u200c":                  "Anna",
		"\u0645\u06cc\u200c\u062e\u0648":    "\u0645\u06cc\u200c\u062e\u0648", // Persian needs it
		"\u0915\u094d\u200d\u0937":          "\u0915\u094d\u200d\u0937",
		"👩\u200d💻":                          "👩\u200d💻",
		"❤\ufe0f\u200d🔥":                    "❤\ufe0f\u200d🔥",
		"Anna\ufe0f":                        "Anna",
		"葛\U000e0100城":                      "葛\U000e0100城", // the form of the letter that the person uses
		"A\U000e0041\U000e0042":             "A",
		"\u3164":                            "",
		"\u2800 x \u2800":                   "x",
		"e" + strings.Repeat("\u0301", 100): "é" + strings.Repeat("\u0301", 15),

		"Müller–Lüdenscheid · 20° № 5 …": "Müller–Lüdenscheid · 20° № 5 …",

		"a\nb":   "a\nb", // a name may not have it, a comment may
		"\u212b": "\u00c5",
		" \xff ": "\xff",
	} {
		if got := pbx.Normalize(given); got != want {
			t.Errorf("%+q became %+q, want %+q", given, got, want)
		}
	}
}

// checkText holds for any text whatever.
func checkText(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, text string,
) {
	t.Helper()
	once := pbx.Normalize(text)
	if again := pbx.Normalize(once); again != once {
		t.Fatalf("%+q becomes %+q, and that %+q", text, once, again)
	}
	if utf8.ValidString(text) {
		if composed := pbx.Normalize(norm.NFD.String(text)); len([]rune(norm.NFD.String(text))) < 30 && composed != once {
			t.Fatalf("%+q becomes %+q, decomposed %+q", text, once, composed)
		}
		if !norm.NFC.IsNormalString(once) || strings.TrimSpace(once) != once || strings.Contains(once, "  ") || strings.ContainsAny(once, "\u200e\u200f\u202a\u202e\u2066\u2069\ufeff\u00ad\u200b") {
			t.Fatalf("%+q became %+q", text, once)
		}
		if pbx.Fold(once) != pbx.Fold(text) || pbx.Fold(pbx.Fold(text)) != pbx.Fold(text) {
			t.Fatalf("%+q is searched as %+q, then %+q, and normal as %+q", text, pbx.Fold(text), pbx.Fold(pbx.Fold(text)), pbx.Fold(once))
		}
	}
	password := pbx.Password(text)
	if pbx.Password(password) != password {
		t.Fatalf("the password %+q becomes %+q, and that %+q", text, password, pbx.Password(password))
	}
	if opaque, err := precis.OpaqueString.String(text); err == nil && utf8.ValidString(text) && !strings.ContainsAny(text, "\u200c\u200d") && opaque != password {
		t.Fatalf("the password %+q becomes %+q, by RFC 8265 %+q", text, password, opaque)
	}
	if code := pbx.Code(text); pbx.Code(code) != code {
		t.Fatalf("the code %+q becomes %+q, and that %+q", text, code, pbx.Code(code))
	}
	shown := pbx.CallerName(text)
	if len(shown) > 72 || !utf8.ValidString(shown) || strings.ContainsAny(shown, "\"\\;<>[]{}$=%|^`~\n\r\t\ufffd") || strings.TrimSpace(shown) != shown {
		t.Fatalf("%+q is shown as %+q", text, shown)
	}
}

func TestNormalTextStaysAsItIs(t *testing.T) {
	t.Parallel()
	letters := rapid.SampledFrom([]rune("aé\u0301\u0323 \u00a0\u200d\u200c\u200e\ufe0f\u034f\u094d\u0915\u0645\u06cc\u0653\u0627👩💻❤♂葛\U000e0100\u3164\u2800ßıİſ\u212a\u1100\u1161\u11a8한ﬀ１２٣\u0345\u0307\u0f71\u0f72\u1e9e#\n\u180b\u1820\u0600\U0001f1e9\U0001f1ea\"\\;<’–"))
	rapid.Check(t, func(t *rapid.T) { checkText(t, string(rapid.SliceOfN(letters, 0, 20).Draw(t, "text"))) })
	rapid.Check(t, func(t *rapid.T) { checkText(t, rapid.String().Draw(t, "text")) })
}

func FuzzNormalize(f *testing.F) {
	for _, text := range []string{"Seán O’Neill", "e\u0301\u0323", "\u0915\u094d\u200d\u0937", "👩\u200d💻", strings.Repeat("\u0301", 80), "\xff", "\u1100\u1161\u11a8"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkText(t, text) })
}

func TestSearchFindsEquivalentSpellings(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"Seán O’Neill", "sean o'neill", "SEÁN O`NEILL", "Sea\u0301n  O\u2018Neill", "ｓｅａｎ ｏ'ｎｅｉｌｌ"},
		{"Müller–Lüdenscheid", "muller-ludenscheid", "MÜLLER\u2011LÜDENSCHEID"},
		{"Weiß", "WEISS", "weiss"},
		{"Łukasz Østergård", "lukasz ostergard"},
		{"İstanbul", "istanbul"},
		{"Ёлкина", "елкина"},
		{"ΣΟΦΟΣ", "σοφος", "σοφοσ"},
		{"\u05d3\u05b8\u05d5\u05b4\u05d3", "\u05d3\u05d5\u05d3"},
		{"Zimmer ½", "zimmer 1/2", "Zimmer 1\u22152"},
		{"", "\u200e"},
	} {
		for _, text := range same[1:] {
			if a, b := pbx.Fold(same[0]), pbx.Fold(text); a != b {
				t.Errorf("%q and %q are searched as %q and %q", same[0], text, a, b)
			}
		}
	}
	for _, other := range [][2]string{{"かき", "がき"}, {"कि", "का"}, {"Anna", "Anne"}} {
		if pbx.Fold(other[0]) == pbx.Fold(other[1]) {
			t.Errorf("%q is found as %q", other[0], other[1])
		}
	}
}

func TestAPasswordAndACodeDoNotDependOnTheKeyboard(t *testing.T) {
	t.Parallel()
	for _, same := range [][2]string{
		{"fünf grüne Bäume", "fu\u0308nf gru\u0308ne Ba\u0308ume"},
		{"fünf grüne Bäume", "fünf\u00a0grüne\u3000Bäume"},
		{"four words", "four words\u200b"},
		{"four words", "\u200efour words"},
	} {
		if a, b := pbx.Password(same[0]), pbx.Password(same[1]); a != b {
			t.Errorf("the passwords %q and %q are hashed as %q and %q", same[0], same[1], a, b)
		}
	}
	for _, other := range [][2]string{{"a b", "a  b"}, {"a ", "a"}, {"A", "a"}, {"’", "'"}, {"é", "e"}} {
		if pbx.Password(other[0]) == pbx.Password(other[1]) {
			t.Errorf("the passwords %q and %q are the same", other[0], other[1])
		}
	}
	for _, code := range []string{"123456", "123 456", "123-456", "123\u00a0456\n", "１２３４５６", "١٢٣٤٥٦", "۱۲۳ ۴۵۶", "१२३४५६", "\u200e123456", "123–456"} {
		if got := pbx.Code(code); got != "123456" {
			t.Errorf("the code %q is compared as %q", code, got)
		}
	}
	if got := pbx.Code("abCd-2345"); got != "ABCD2345" {
		t.Errorf("a recovery code is compared as %q", got)
	}
	for r := rune(0); r <= unicode.MaxRune; r++ { // digits of a script follow each other, 0 first
		if v := pbx.Code(string(r)); unicode.IsDigit(r) && (len(v) != 1 || v != "0" && pbx.Code(string(r-1)) != string(v[0]-1)) {
			t.Fatalf("%U has the value %q", r, v)
		}
	}
}

func TestPhonesShowEveryHarmlessCharacter(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Seán O’Neill":                      "Seán O’Neill",
		"Müller–Lüdenscheid":                "Müller–Lüdenscheid",
		"Gal·la":                            "Gal·la",
		"20°":                               "20°",
		"Каб. № 5":                          "Каб. № 5",
		"R & D … ½ «Bar» €3 ©":              "R & D … ½ «Bar» €3 ©",
		"🙂":                                 "",
		"نور\u200cالدین":                    "نور\u200cالدین",
		`Bob "Bobby" <1999>; x\y`:           "Bob Bobby 1999 x y",
		"${SHELL} `id` $[1] a=b%c|d^e~":     "SHELL id 1 a b c d e",
		"\u202eevil":                        "evil",
		"\u0301":                            "\u0301",
		strings.Repeat("é", 40):             strings.Repeat("é", 36),
		strings.Repeat("a", 70) + "e\u0301": strings.Repeat("a", 70) + "é",
		strings.Repeat("a", 71) + "é":       strings.Repeat("a", 71),
		"👩\u200d💻 Anna ❤\ufe0f\u200d🔥":      "Anna ❤",
		strings.Repeat("a", 68) + "क्षि":    strings.Repeat("a", 68),
		strings.Repeat("a", 70) + " né":     strings.Repeat("a", 70) + " n",
		"":                                  "", "\"": "",
	} {
		if got := pbx.CallerName(name); got != want {
			t.Errorf("%q is shown as %q, want %q", name, got, want)
		}
		if uniseg.GraphemeClusterCount(pbx.CallerName(name)) > uniseg.GraphemeClusterCount(name) {
			t.Errorf("%q was cut within a character", name)
		}
	}
}
