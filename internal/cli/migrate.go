package cli

import (
	"context"
	"fmt"
)

type migrateCommand struct{}

// Run migrates.
func (*migrateCommand) Run(ctx context.Context, a *app) error {
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
	did, err := p.sealAll(ctx)
	if err != nil {
		return err
	}
	forgotten, err := p.engine.ForgetPasswords(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{
			"database": p.store.Describe(), "applied": append([]int64{}, applied...), "sealed": did.Rows, "left_open": append([]string{}, did.Left...),
			"forgotten_revisions": forgotten,
		})
	}
	if len(applied) == 0 && did.Rows == 0 && forgotten == 0 {
		fmt.Fprintf(a.stdout, "%s is up to date.\n", p.store.Describe())
	}
	if len(applied) > 0 {
		fmt.Fprintf(a.stdout, "%s: applied migrations %v.\n", p.store.Describe(), applied)
	}
	if did.Rows > 0 {
		fmt.Fprintf(a.stdout, "Sealed what lay open in %d rows.\n", did.Rows)
	}
	if forgotten > 0 {
		fmt.Fprintf(a.stdout, "Forgot %d revisions that held passwords: SECRET_MODE is digest.\n", forgotten)
	}
	if left := leftOpen(did); left != "" {
		fmt.Fprintln(a.stdout, "But "+left+".")
	}
	return nil
}
