package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// examineHost lists what the host has under extension numbers beside the portal's objects. A clash with a user makes every apply fail.
func (p *portal) examineHost(ctx context.Context, ready bool) node.Finding {
	f := node.Finding{Subject: "numbers of the host", Grade: node.Good, Detail: "Asterisk's own configuration has no extension number of the portal"}
	host, clashes, err := p.engine.Host(ctx)
	switch {
	case err != nil && !ready:
		f.Detail = "not compared with the numbers of the portal: the database does not answer, or has no tables yet"
	case err != nil:
		f.Detail = "not compared with the numbers of the portal: " + oneLine(err.Error())
	case len(clashes) > 0:
		f.Grade, f.Detail = node.Bad, "these clash with numbers of the portal: "+names(clashes)
		f.Fix = "rename or remove them in Asterisk's own configuration, or give what has these numbers other ones: pbxportal " + setCommands()
	case len(host) > 0:
		f.Detail = "not the portal's, and no clash with its numbers: " + names(host)
	}
	return f
}

// names returns the names of the first of many objects.
func names(all []pbx.HostObject) string {
	const most = 10
	texts := make([]string, 0, most)
	for _, o := range all[:min(len(all), most)] {
		texts = append(texts, o.String())
	}
	if more := len(all) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more: pbxportal plan --json lists all", more))
	}
	return oneLine(strings.Join(texts, ", "))
}
