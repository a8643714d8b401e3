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
	applied, err := p.store.Migrate(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"database": p.store.Describe(), "applied": append([]int64{}, applied...)})
	}
	if len(applied) == 0 {
		fmt.Fprintf(a.stdout, "%s is up to date.\n", p.store.Describe())
		return nil
	}
	fmt.Fprintf(a.stdout, "%s: applied migrations %v.\n", p.store.Describe(), applied)
	return nil
}
