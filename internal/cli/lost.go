package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/pbx"
)

type replaceLostKeyCommand struct {
	GiveUp []string `name:"give-up" help:"The id of the lost key. What was encrypted with it can never be read again. Without this flag the command only reports what it would do." placeholder:"ID"`
}

// Run reissues what a lost key has encrypted. Without --give-up it changes nothing and reports what is lost; it never gives up an existing key.
func (c *replaceLostKeyCommand) Run(ctx context.Context, a *app) error {
	p, err := a.open()
	if err != nil {
		return err
	}
	defer p.close()
	if err = a.mayCreate(ctx, p); err != nil {
		return err
	}
	if _, err = p.migrate(ctx); err != nil {
		return err
	}
	at, err := p.store.AtRest(ctx)
	if err != nil {
		return err
	}
	keys, err := p.keySource.Load()
	if err != nil && !errors.Is(err, keyring.ErrNoKey) {
		return usage(fmt.Errorf("%w: if its keys are lost for good, put a new one there (openssl rand -base64 32), or move the file away, and run this again", err))
	}
	lost := notAmong(keys, at)
	if len(lost) == 0 {
		return usage(errors.New("no key is lost: everything in the database can be decrypted, and stays as it is"))
	}
	ids := slices.Sorted(maps.Keys(lost))
	slices.Sort(c.GiveUp)
	if !slices.Equal(ids, slices.Compact(c.GiveUp)) {
		return usage(fmt.Errorf(`%s lost: %s. Nothing was changed. Check again for: a copy of the key file, another host's, the service manager's credential. If there is none, giving up means:
  - every user whose secret was encrypted with it gets a new one: their phones register until the next apply, and after it only with the new secret
  - users with a second factor must sign in with a recovery code and set up a new one; without recovery codes the account must be reset (pbxportal admin reset)
  - the files of earlier revisions, and saved external changes, are dropped: these revisions cannot be restored
  - older backups of the database cannot be read either, and fingerprints of secrets in the audit trail change
To do so, run: pbxportal replace-lost-key --give-up %s`, isAre(ids), keyList(lost), strings.Join(ids, " --give-up ")))
	}
	lock, err := p.store.TryApplyLock(ctx)
	if err != nil {
		return err
	}
	if lock == nil {
		return &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeApplyRunning, Msg: "an apply is running: run this again when it has ended"}
	}
	defer lock.Release()
	if err = lock.Fence(ctx); err != nil {
		return err
	}
	if keys == nil {
		if keys, err = p.keySource.LoadOrMake(); err != nil {
			return usage(err)
		}
	}
	p.useKeys(keys)
	return p.replaceLost(ctx, a, ids)
}

func isAre(ids []string) string {
	if len(ids) == 1 {
		return "a key is"
	}
	return "keys are"
}

// replaceLost reissues what these keys have encrypted. The event is recorded first: giving up a key cannot be undone. An interrupted run continues when
// the command is run again, and until then the portal does not start.
func (p *portal) replaceLost(ctx context.Context, a *app, ids []string) error {
	event := p.keyEvent(ctx, pbx.ActionKeyLost, pbx.Facts{"keys": strings.Join(ids, " ")}, pbx.Facts{"key": p.keys.Current()})
	if err := p.store.SetKey(ctx, p.keys.Current(), event); err != nil {
		return err
	}
	var users []pbx.User
	var accounts []pbx.Account
	revisions := 0
	for _, id := range ids {
		renewed, err := p.directory.ReissueLostSecrets(ctx, id)
		users = append(users, renewed...)
		if err != nil {
			return err
		}
		replaced, err := p.auth.ReplaceLostFactors(ctx, id)
		accounts = append(accounts, replaced...)
		if err != nil {
			return err
		}
		dropped, err := p.store.DropRunsSealedBy(ctx, id)
		revisions += dropped
		if err != nil {
			return err
		}
	}
	numbers, emails := make([]int, len(users)), make([]string, len(accounts))
	for i, u := range users {
		numbers[i] = int(u.Extension.Number)
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	for i, account := range accounts {
		emails[i] = account.Email
	}
	if a.json {
		return a.printJSON(openapi.LostKeyReport{
			Key: p.keys.Current(), GivenUp: ids, NewSecrets: numbers, SecondFactorsLost: emails, RevisionsDropped: revisions,
		})
	}
	fmt.Fprintf(a.stdout, "Key %s encrypts from now on; %s given up.\n", p.keys.Current(), strings.Join(ids, ", "))
	if len(numbers) > 0 {
		fmt.Fprintf(a.stdout, "New secrets: %d users (%s). Run pbxportal apply when you can enter the new ones in the phones: pbxportal user list --json shows them, pbxportal device show those of further phones.\n", len(numbers), listed(numbers))
	}
	if len(emails) > 0 {
		fmt.Fprintf(a.stdout, "These users must sign in with a recovery code, then switch their second factor off and on again: %s.\n", strings.Join(emails, ", "))
	}
	if revisions > 0 {
		fmt.Fprintf(a.stdout, "Dropped the files of %d earlier applies.\n", revisions)
	}
	fmt.Fprintf(a.stdout, "Keep a copy of %s, apart from the database's backups.\n", p.keys.Where())
	return nil
}

// listed returns numbers as text, shortened if there are many.
func listed(numbers []int) string {
	var all []string
	for i, n := range numbers {
		if i == 20 {
			return strings.Join(all, ", ") + ", …"
		}
		all = append(all, fmt.Sprint(n))
	}
	return strings.Join(all, ", ")
}
