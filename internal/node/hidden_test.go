package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// handWritten has lines as administrators write them into generated files, each with C, a secret. They are inserted after the named line of
// the first user, or replace it.
func handWritten() map[string][]string {
	lines := map[string][]string{
		pbx.PJSIPPath: {
			"md5_cred=C", ";oldpass: C", "oauth_secret=C", "oauth_clientid=C", "refresh_token=C", "; password=C", ";password=C", ";-- C --;", ";--\nC\n--;",
			"Password=C", "PASSWORD=C", "password = C", " password=C", "password =C", "password=>C", "password+=C", "secret=C", "password\t=C", "pass\\word=C",
			"password_digest=C", "password_digest=MD5:C", "password_digest = MD5:C", "password_digest=C:MD5", "password:C", "password C", "C", "C=1", "C=",
			"context=C", "context=synergy-internal;C", "context=synergy-internal ; C", "context=synergy-internal\\;C", "disallow=C", "allow=ulaw,alaw,C",
			"allow=ulaw,alaw\x00C", "auth=C", "aors=C", `callerid="C" <1000>`, "callerid=C", `callerid=C <sip:C@example.com>`, "realm=C", "username=C",
			"auth_type=C", "type=C", "type=endpoint ;C", "max_contacts=1 C", "@portal=C", "@portal=000000000000C", "set_var=PASSWORD=C",
			"[1000]C", "[1000](C)", "[1000] ;C", "[C]", "[C]\ntype=endpoint\ncallerid=C", "[trunk]\ntype=auth\npassword=C", "[1900]\ntype=endpoint\ncontext=C",
			"[12345678]\ntype=auth\nusername=C", "#include C.conf", "#exec curl http://C", "#tryinclude C", "include => C", "rtp_timeout=120\rC", "rtp_timeout=120\r;C",
			"\r\npassword=C\r", "\ufeffpassword=C", "ｐassword=C", "passwоrd=C", "disallow=all" + strings.Repeat(" ", 8192) + "C", strings.Repeat("x", 9000) + "C",
			"\xff\xfeC\x00\x01", "force_rport=yes\u2028C", "rewrite_contact=yes C", "rtp_timeout_hold=600 ;; C", "… 1 line not written by the portal, hidden C",
			"; Made by the PBX Control Portal. C", "--- C", "+++ C", "@@ -1 +1 @@ C", "\x1b[2JC", "identify_by=auth_username,username\\\nC",
		},
		pbx.DialplanPath: {
			"exten => 1000,1,System(curl -u C http://x)", "exten => 1000,1,Dial(PJSIP/1000,25,C)", "exten => 1000,1,Dial(PJSIP/1000,25) ; C", "exten => C,1,NoOp()",
			"exten => C,1,Dial(PJSIP/1000,25)", "exten=>1000,1,Set(PASSWORD=C)", " same => n,Set(X=C)", " same => n,Hangup(C)", " same => n,Hangup() ;C", " same => n(C),Hangup()",
			"exten => 1000/C,1,Hangup()", "exten => 1000,hint,C", "exten => 1000,C,Hangup()", "exten => 1000,1,C", "exten => _X.,1,Authenticate(C)", "include => C", "switch => Realtime/C",
			"ignorepat => C", "; C", ";-- C --;", "[C]", "[C]\nexten => 1000,1,Dial(PJSIP/1000,25)", "[synergy-internal](+)\nC", "[globals]\nTRUNK_PASSWORD=C", "#exec C", "#include C",
			"same => n,Hangup()\x00C", "exten => 1000,2,AGI(agi://user:C@host)", "exten => 1000,2,Dial(PJSIP/C,25)", "\xffC", strings.Repeat("y", 9000) + "C",
		},
	}
	return lines
}

func TestOnlyLinesThatThePortalWroteAreShownOfAnEditedFile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const canary = "hunter2x"
	tried := 0
	for file, lines := range handWritten() {
		path := filepath.Join(b.dir, file)
		ours, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		own := slices.DeleteFunc(strings.Split(string(ours), "\n"), func(line string) bool { return line == "" || line[0] == ';' })
		for _, line := range lines {
			line = strings.ReplaceAll(line, "C", canary)
			edits := map[string][]byte{
				"at the top":   append([]byte(line+"\n"), ours...),
				"at the end":   append(bytes.Clone(ours), line...),
				"alone":        []byte(line),
				"line by line": []byte(strings.Join(own, "\n"+line+"\n")),
			}
			key, _, _ := strings.Cut(line, "=")
			for _, text := range own {
				if strings.HasPrefix(text, key+"=") {
					edits["in the place of "+text] = bytes.Replace(ours, []byte(text), []byte(line), 1)
				}
			}
			for where, text := range edits {
				tried++
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
				b.reads(text, file)
				plan, err := b.engine.Plan(t.Context())
				all := fmt.Sprint(err, asJSON(t, plan))
				if tried%10 == 0 { // it takes longer, and shows the same plan
					run, err := b.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
					if pbx.CodeOf(err) != pbx.CodeDrift {
						t.Errorf("%q %s: an apply says %v", line, where, err)
					}
					said, recoverErr := b.engine.Recover(t.Context())
					all += fmt.Sprint(err, asJSON(t, run), said, recoverErr)
				}
				if strings.Contains(all, canary) {
					at := strings.Index(all, canary)
					t.Errorf("%q %s is shown: …%s…", line, where, all[max(0, at-120):min(len(all), at+40)])
				}
			}
		}
		if err := os.WriteFile(path, ours, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d lines, %d edits", len(handWritten()[pbx.PJSIPPath])+len(handWritten()[pbx.DialplanPath]), tried)
	if tried < 500 {
		t.Error("too few")
	}
}

// reads makes Asterisk run an edited file, if it is a dialplan that we can read, so that it is compared.
func (b *bench) reads(text []byte, file string) {
	running := slices.Clone(b.running)
	for i, f := range running {
		if f.Path == file {
			running[i].Content = text
		}
	}
	if _, err := render.Read(running); err == nil {
		b.running = running
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDialplanStepsThatThePortalDidNotWriteAreNotQuoted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const canary = "hunter2x"
	for _, step := range []string{"exten => 1001,1,System(hunter2x)", "exten => 1900,1,Dial(SIP/hunter2x@provider,25)", "exten => hunter2x,1,NoOp()"} {
		running := slices.Clone(b.running)
		running[1].Content = append(bytes.Clone(running[1].Content), step+"\n"...)
		b.running = running
		plan, err := b.engine.Plan(t.Context())
		run, applyErr := b.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", OnFailure: apply.Keep})
		if all := fmt.Sprint(err, applyErr, asJSON(t, plan), asJSON(t, run)); strings.Contains(all, canary) {
			t.Errorf("%s is shown: %s", step, all)
		}
	}
}

func TestTheNameOfAForeignFileIsShownWithoutControlCharacters(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	foreign := filepath.Join(b.dir, filepath.Dir(pbx.PJSIPPath), "theirs\x1b[2J\n\u202e.conf")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := b.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if pbx.CodeOf(err) != pbx.CodeDrift || strings.ContainsAny(err.Error(), "\x1b\n\u202e") || !strings.Contains(err.Error(), `theirs\x1b[2J\n\u202e.conf`) {
		t.Errorf("an apply says %q", err)
	}
}
