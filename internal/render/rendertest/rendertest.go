// Package rendertest writes generated files of kinds of things that only tests have: PJSIP objects of every type, and dialplan contexts with includes and
// hints. It knows the form of the files by itself, so that it cannot share a mistake with the package render.
package rendertest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Contexts of the dialplan file. The first includes the second.
const (
	Groups = "sc-gadget"
	Common = "sc-common"
)

// Types returns the types of the PJSIP objects of a trunk.
func Types() []string { return []string{"registration", "auth", "aor", "endpoint", "identify"} }

// Trunks returns the PJSIP file of these trunks, each with objects of every type and this secret.
func Trunks(secret string, keys ...string) pbx.File {
	var text strings.Builder
	text.WriteString("; Of a test.\n")
	for _, key := range keys {
		settings := map[string][]string{
			"registration": {"server_uri=sip:127.0.0.1:9", "client_uri=sip:" + key + "@127.0.0.1", "outbound_auth=" + key, "retry_interval=3600"},
			"auth":         {"auth_type=userpass", "username=" + key, "password=" + secret},
			"aor":          {"contact=sip:127.0.0.1:9"},
			"endpoint":     {"context=" + Groups, "disallow=all", "allow=ulaw", "aors=" + key, "outbound_auth=" + key},
			"identify":     {"endpoint=" + key, "match=192.0.2.1"},
		}
		for _, typ := range Types() {
			lines := strings.Join(append([]string{"type=" + typ}, settings[typ]...), "\n") + "\n"
			sum := sha256.Sum256([]byte(lines))
			fmt.Fprintf(&text, "\n[%s]\n%s@portal=%s\n", key, lines, hex.EncodeToString(sum[:6]))
		}
	}
	return pbx.File{Path: pbx.TrunksPath, Content: []byte(text.String())}
}

// Callflow returns the dialplan file of these groups, whose phones ring for that many seconds.
func Callflow(seconds int, keys ...string) pbx.File {
	var text strings.Builder
	fmt.Fprintf(&text, "; Of a test.\n\n[%s]\ninclude => %s\n", Groups, Common)
	for _, key := range keys {
		fmt.Fprintf(&text, "exten => %[1]s,hint,PJSIP/1000\nexten => %[1]s,1,Dial(PJSIP/1000&PJSIP/1001,%[2]d)\n same => n,Hangup()\n", key, seconds)
	}
	fmt.Fprintf(&text, "\n[%s]\nexten => busy,1,Hangup(17)\n", Common)
	return pbx.File{Path: pbx.CallflowPath, Content: []byte(text.String())}
}
