package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type migrateCommand struct {
	AcceptUsers bool `name:"accept-users" help:"Accept all users of a damaged database as they are, after you have examined and corrected them. Recorded in the audit trail."`
}

// Run migrates.
func (c *migrateCommand) Run(ctx context.Context, a *app) error {
	p, err := a.open()
	if err != nil {
		return err
	}
	defer p.close()
	applied, err := p.migrate(ctx)
	if err != nil {
		return err
	}
	if err := p.unlock(ctx); err != nil {
		return err
	}
	covered, err := p.cover(ctx, c.AcceptUsers)
	if err != nil {
		return err
	}
	derived, err := p.store.Derive(ctx)
	if err != nil {
		return err
	}
	did, err := p.sealAll(ctx)
	if err != nil {
		return err
	}
	forgotten, err := p.engine.ForgetPasswords(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(openapi.MigrationReport{
			Database: p.store.Describe(), Applied: append([]int64{}, applied...), Sealed: did.Rows, Hashed: covered, Derived: derived, LeftOpen: append(openapi.LeftOpen{}, did.Left...),
			ForgottenRevisions: forgotten,
		})
	}
	if len(applied) == 0 && did.Rows == 0 && forgotten == 0 && covered == 0 && derived == 0 {
		fmt.Fprintf(a.stdout, "%s is up to date.\n", p.store.Describe())
	}
	if len(applied) > 0 {
		fmt.Fprintf(a.stdout, "%s: applied migrations %v.\n", p.store.Describe(), applied)
	}
	if covered > 0 {
		fmt.Fprintf(a.stdout, "Added hashes to %d users: damage to their rows is now noticed.\n", covered)
	}
	if derived > 0 {
		fmt.Fprintf(a.stdout, "Wrote %d rows of references and numbers again, which were not those of the users and other objects.\n", derived)
	}
	if did.Rows > 0 {
		fmt.Fprintf(a.stdout, "Encrypted plaintext secrets in %d rows.\n", did.Rows)
	}
	if forgotten > 0 {
		fmt.Fprintf(a.stdout, "Dropped %d revisions that held passwords: SECRET_MODE is digest.\n", forgotten)
	}
	if left := leftOpen(did); left != "" {
		fmt.Fprintln(a.stdout, "But "+left+".")
	}
	return nil
}

// cover adds hashes to the users without one; to all of them, damaged or not, if accept is set.
func (p *portal) cover(ctx context.Context, accept bool) (int, error) {
	if !accept {
		return p.store.CoverUsers(ctx, nil)
	}
	e := pbx.NewAuditEvent(ctx, time.Now(), pbx.ActionUsersAccept, pbx.AuditObject{Type: "database", Name: p.store.Describe()})
	return p.store.CoverUsers(ctx, &e)
}
