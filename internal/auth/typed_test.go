package auth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// wide returns the digits of a code in full width, as a Japanese keyboard types them, with a blank in the middle.
func wide(code string) string {
	text := strings.Map(func(r rune) rune { return r - '0' + '０' }, code)
	half := len(text) / 2
	return text[:half] + "\u3000" + text[half:]
}

func TestWhatIsTypedToSignInDoesNotDependOnTheKeyboard(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	anna, err := d.Create(local(t), pbx.NewAccount{Name: "\u200eAnna\u00a0Example", Email: "anna@example.com", Role: pbx.Owner}, pbx.SecretFrom("fünf grüne Bäume rauschen"))
	if err != nil || anna.Name != "Anna Example" {
		t.Fatalf("%+v, %v", anna, err)
	}
	for what, in := range map[string]auth.SignIn{
		"as it was set":                 {Email: "anna@example.com", Password: pbx.SecretFrom("fünf grüne Bäume rauschen")},
		"decomposed, as a Mac types it": {Email: "anna@example.com", Password: pbx.SecretFrom("fu\u0308nf gru\u0308ne Ba\u0308ume rauschen")},
		"with other blanks":             {Email: "anna@example.com", Password: pbx.SecretFrom("fünf\u00a0grüne Bäume\u3000rauschen")},
		"pasted with marks":             {Email: "\u200eANNA@example.com\u200b", Password: pbx.SecretFrom("\ufefffünf grüne Bäume rauschen")},
		"an address of full width":      {Email: "ａｎｎａ＠example.com", Password: pbx.SecretFrom("fünf grüne Bäume rauschen")},
	} {
		if _, err := d.SignIn(from(t, home), in); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, wrong := range []string{"funf grune Baume rauschen", "Fünf grüne Bäume rauschen", "fünf  grüne Bäume rauschen", ""} {
		if _, err := d.SignIn(from(t, home), auth.SignIn{Email: "anna@example.com", Password: pbx.SecretFrom(wrong)}); err == nil {
			t.Errorf("%q opens as well", wrong)
		}
		d.move(time.Hour)
	}
	opened, err := d.SignIn(from(t, home), auth.SignIn{Email: "anna@example.com", Password: pbx.SecretFrom("fünf grüne Bäume rauschen")})
	if err != nil {
		t.Fatal(err)
	}
	ctx := as(t, opened.Principal)
	started, err := d.StartTOTP(ctx, pbx.SecretFrom("fünf gru\u0308ne Bäume rauschen"))
	if err != nil {
		t.Fatal(err)
	}
	codes, err := d.ConfirmTOTP(ctx, wide(shown(t, started.Secret, d.read())))
	if err != nil {
		t.Fatal(err)
	}
	for what, typed := range map[string]func() string{
		"a code of full width": func() string {
			d.move(time.Hour)
			return wide(shown(t, started.Secret, d.read()))
		},
		"a recovery code in lower case with blanks": func() string {
			return " " + strings.ToLower(strings.ReplaceAll(codes[0].Reveal(), "-", "\u00a0– ")) + "\n"
		},
	} {
		if _, err := d.SignIn(from(t, home), auth.SignIn{Email: "anna@example.com", Password: pbx.SecretFrom("fünf grüne Bäume rauschen"), OTP: typed()}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// People mistype, providers do not: an address of theirs that only looks like ASCII is another mailbox.
func TestAnAddressOfAProviderThatOnlyLooksLikeAnAccountsOpensNothing(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	d.account(t, "Anna", pbx.Owner)
	for _, email := range []string{"ａnna@example.com", "anna@example.com\u200b", "a\u00adnna@example.com", "anna＠example.com", "anna@e\u212bample.com"} {
		for _, role := range []pbx.Role{"", pbx.Auditor} {
			if opened, err := d.SignInFederated(from(t, home), auth.FederatedLogin{Identity: at("x"), Email: email, Name: "Anna", Role: role}); err == nil {
				t.Errorf("%+q opens %+v", email, opened.Principal)
			}
		}
	}
}
