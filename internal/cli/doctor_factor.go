package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// examineFactors lists accounts that can change everything with only a password. That is a choice and not a fault.
func (p *portal) examineFactors(ctx context.Context) node.Finding {
	f := node.Finding{Subject: "second factor", Grade: node.Good, Detail: "SECOND_FACTOR=" + p.config.SecondFactor}
	accounts, err := p.auth.Accounts(ctx)
	if err != nil { // the database was examined before, and is unavailable or has no tables yet
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
		f.Detail = "there are no accounts yet, so no user can sign in to the pages"
		f.Fix = "pbxportal admin setup-link prints a link to create the first account"
	case len(alone) == 0:
		f.Detail += "; every owner and admin has one"
	case pbx.SecondFactor(p.config.SecondFactor).DemandedOf(pbx.Owner):
		f.Detail += "; these must set one up at the next sign-in: " + strings.Join(alone, ", ")
	default:
		some := "1 account that can change everything has none"
		if len(alone) > 1 {
			some = fmt.Sprintf("%d accounts that can change everything have none", len(alone))
		}
		f.Detail += "; " + some + " in the portal: " + strings.Join(alone, ", ")
		f.Fix = "set SECOND_FACTOR=owners: they must then set one up at the next sign-in. Accounts that sign in with an OpenID provider can have theirs there"
	}
	return f
}
