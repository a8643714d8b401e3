package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/config"
	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// unlock reads the keys for what is sealed in the database. The first start on a machine makes one; it never does so when the database
// holds what another key has sealed, for then that key is lost, or elsewhere.
func (p *portal) unlock(ctx context.Context) error {
	at, err := p.store.AtRest(ctx)
	if err != nil {
		return err
	}
	keys, err := p.keySource.Load()
	if errors.Is(err, keyring.ErrNoKey) && len(at.Sealed) == 0 {
		keys, err = p.keySource.LoadOrMake()
	}
	if err != nil && len(at.Sealed) > 0 && errors.Is(err, keyring.ErrNoKey) {
		return usage(fmt.Errorf("%w, and the database holds secrets that are sealed with %s: %s", err, keyList(at.Sealed), restoreKey))
	}
	if err != nil {
		return usage(err)
	}
	maps.DeleteFunc(at.Sealed, func(id string, _ int) bool { return keys.Has(id) })
	if len(at.Sealed) > 0 {
		return usage(fmt.Errorf("the database holds secrets that are sealed with %s, which is not in %s: %s", keyList(at.Sealed), keys.Where(), restoreKey))
	}
	p.keys = keys
	p.store.UseKeys(keys, p.config.SecretStorage == config.Plain)
	p.directory = p.directory.WithFingerprints(func(s pbx.Secret) (string, error) { return keys.Fingerprint("sip secret", s.Reveal()) })
	return nil
}

const restoreKey = "put it there again, as a line of its own, from the copy that is kept apart from the database; " +
	"without it nobody can read these secrets, and the portal does not start with another"

// keyList names keys with what they have sealed.
func keyList(rows map[string]int) string {
	var all []string
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		all = append(all, fmt.Sprintf("key %s (%d)", id, rows[id]))
	}
	return strings.Join(all, ", ")
}

type rotateKeyCommand struct {
	Forget bool `help:"Afterwards take the older keys out of the key file. Older backups of the database can then no longer be read."`
}

// Run makes a new key and seals everything with it, or goes on with that where an earlier run was cut off.
func (c *rotateKeyCommand) Run(ctx context.Context, a *app, p *portal) error {
	plain := p.config.SecretStorage == config.Plain
	before, err := p.store.AtRest(ctx)
	if err != nil {
		return err
	}
	old := p.keys.Current()
	if !plain && !p.unfinished(before) {
		if _, err := p.keys.Turn(); errors.Is(err, keyring.ErrForeign) {
			return usage(fmt.Errorf("%w: put a new key before the present one there (openssl rand -base64 32), restart every portal that uses it, "+
				"and run this again: it then seals everything with the new one", err))
		} else if err != nil {
			return err
		}
	}
	did, err := p.store.Reseal(ctx)
	if err == nil && c.Forget {
		err = p.forget(ctx)
	}
	if err == nil {
		event := pbx.NewAuditEvent(ctx, time.Now(), "key.rotate", pbx.AuditObject{Type: "key", ID: p.keys.Current()})
		event.Before, event.After = pbx.Facts{"key": old}, pbx.Facts{"key": p.keys.Current(), "keys": strings.Join(p.keys.IDs(), " "), "storage": p.config.SecretStorage}
		err = p.store.AppendEvent(ctx, event)
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"key": p.keys.Current(), "keys": p.keys.IDs(), "rows": did.Rows, "left_open": append([]string{}, did.Left...)})
	}
	if plain {
		fmt.Fprintf(a.stdout, "SECRET_STORAGE is plain: %d rows were opened, and there is no new key.\n", did.Rows)
		return nil
	}
	fmt.Fprintf(a.stdout, "Everything is sealed with key %s, %d rows anew.\n", p.keys.Current(), did.Rows)
	if others := p.keys.IDs()[1:]; len(others) > 0 {
		fmt.Fprintf(a.stdout, "Nothing needs key %s any more but older backups; rotate-key --forget takes it out of the file.\n", strings.Join(others, ", "))
	}
	fmt.Fprintf(a.stdout, "Keep a copy of %s, apart from the database's backups.\n", p.keys.Where())
	if left := leftOpen(did); left != "" {
		fmt.Fprintln(a.stdout, "But "+left+".")
	}
	return nil
}

// unfinished reports whether something is sealed with another key than the present one, as when a rotation was cut off.
func (p *portal) unfinished(at store.AtRest) bool {
	others := len(at.Sealed)
	if at.Sealed[p.keys.Current()] > 0 {
		others--
	}
	return others > 0
}

// forget takes all keys but the first out of the key file, when nothing needs them. No apply may run: the record of its end could still
// be sealed with an older one.
func (p *portal) forget(ctx context.Context) error {
	lock, err := p.store.TryApplyLock(ctx)
	if err != nil {
		return err
	}
	if lock == nil {
		return &pbx.Error{
			Kind: pbx.KindConflict, Code: pbx.CodeApplyRunning,
			Msg: "everything is sealed with the new key, but the older ones are still in the file, because an apply is running: run rotate-key --forget again when it has ended",
		}
	}
	defer lock.Release()
	at, err := p.store.AtRest(ctx)
	if err == nil && p.unfinished(at) {
		_, err = p.store.Reseal(ctx) // what an apply wrote meanwhile
	}
	if err != nil {
		return err
	}
	if err = p.keys.Forget(); errors.Is(err, keyring.ErrForeign) {
		return usage(fmt.Errorf("%w: take the older ones out there yourself, nothing needs them any more", err))
	}
	return err
}

// sealAll seals what still lies open: the rows of an adopted database, and those of versions that did not seal.
func (p *portal) sealAll(ctx context.Context) (did store.Resealed, err error) {
	if p.config.SecretStorage == config.Plain {
		return did, nil
	}
	at, err := p.store.AtRest(ctx)
	if err != nil || at.Open == 0 {
		return did, err
	}
	return p.store.Reseal(ctx)
}

// leftOpen says which secrets could not be sealed; it is empty when there are none.
func leftOpen(did store.Resealed) string {
	if len(did.Left) == 0 {
		return ""
	}
	return fmt.Sprintf("the secrets of extensions %v are too long to be sealed and stay as they are: delete these users and create them again", did.Left)
}

// examineKeys asks whether what is sealed can be opened.
func (p *portal) examineKeys(ctx context.Context) node.Finding {
	f := node.Finding{Subject: "secrets at rest", Grade: node.Good}
	at, err := p.store.AtRest(ctx)
	if err != nil { // the database was examined before, and is away or has no tables yet
		at = store.AtRest{}
	}
	keys, err := p.keySource.Load()
	switch {
	case errors.Is(err, keyring.ErrNoKey) && len(at.Sealed) == 0:
		f.Detail = "no key yet; the first command makes one"
		return f
	case errors.Is(err, keyring.ErrNoKey):
		f.Grade, f.Detail, f.Cure = node.Bad, fmt.Sprintf("sealed with %s; %v", keyList(at.Sealed), err), restoreKey
		return f
	case err != nil:
		f.Grade, f.Detail, f.Cure = node.Bad, err.Error(), "mend the key file, or put it back from its copy"
		return f
	}
	f.Detail = fmt.Sprintf("key %s from %s", keys.Current(), keys.Where())
	maps.DeleteFunc(at.Sealed, func(id string, _ int) bool { return keys.Has(id) })
	switch {
	case len(at.Sealed) > 0:
		f.Grade, f.Detail, f.Cure = node.Bad, f.Detail+"; the database is sealed with "+keyList(at.Sealed), restoreKey
	case p.config.SecretStorage == config.Plain:
		f.Grade, f.Detail, f.Cure = node.Odd, "SIP secrets lie open in the database", "set SECRET_STORAGE=sealed when no other program reads them, and run pbxportal migrate"
	case at.Open > 0:
		f.Grade, f.Detail, f.Cure = node.Odd, fmt.Sprintf("%s; %d rows still lie open", f.Detail, at.Open), "run pbxportal migrate"
	}
	return f
}
