package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// examineFactors says who may change everything with a password alone. That is a choice and no fault.
func (p *portal) examineFactors(ctx context.Context) node.Finding {
	f := node.Finding{Subject: "second factor", Grade: node.Good, Detail: "SECOND_FACTOR=" + p.config.SecondFactor}
	accounts, err := p.auth.Accounts(ctx)
	if err != nil { // the database was examined before, and is away or has no tables yet
		return f
	}
	var alone []string
	for _, a := range accounts {
		if pbx.FactorOwners.DemandedOf(a.Role) && !a.TOTP && !a.Disabled && !a.Invited {
			alone = append(alone, a.Email)
		}
	}
	switch {
	case len(accounts) == 0:
		f.Detail = "there are no accounts yet, so nobody can sign in to the pages"
		f.Cure = "pbxportal admin setup-link prints a link to create the first account"
	case len(alone) == 0:
		f.Detail += "; every owner and admin has one"
	case pbx.SecondFactor(p.config.SecondFactor).DemandedOf(pbx.Owner):
		f.Detail += "; these set theirs up when they sign in next: " + strings.Join(alone, ", ")
	default:
		f.Detail += fmt.Sprintf("; %d of those who may change everything have none here: %s", len(alone), strings.Join(alone, ", "))
		f.Cure = "set SECOND_FACTOR=owners, and they are led to set one up when they sign in next; an OpenID provider answers for those it signs in"
	}
	return f
}
