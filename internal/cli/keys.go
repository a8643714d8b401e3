package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/synergycall/pbxportal/internal/config"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
	"github.com/synergycall/pbxportal/internal/store"
)

// unlock reads the encryption keys. The first start on a machine creates one, but never if the database contains secrets encrypted with another key, or
// is in use with another: that key is then lost, or elsewhere.
func (p *portal) unlock(ctx context.Context) error {
	at, err := p.store.AtRest(ctx)
	if err != nil {
		return err
	}
	keys, err := p.keySource.Load()
	if errors.Is(err, keyring.ErrNoKey) && len(needed(at)) == 0 {
		keys, err = p.keySource.LoadOrMake()
	}
	if err == nil && missing(at, keys) != nil { // a key may have been replaced, and forgotten, since AtRest
		if at, err = p.store.AtRest(ctx); err != nil {
			return err
		}
		err = missing(at, keys)
	} else if errors.Is(err, keyring.ErrNoKey) {
		err = fmt.Errorf("%w, and the database holds secrets that are encrypted with %s: %s", err, keyList(needed(at)), restoreKey)
	}
	if _, system := errors.AsType[syscall.Errno](err); system {
		err = fmt.Errorf("%w: the user the portal runs as must own the key file and its folder; check also whether STATE_DIR, or SECRET_KEY_FILE if it is set, is correct", err)
	}
	if err != nil {
		return usage(err)
	}
	p.useKeys(keys)
	if at.Key == keys.Current() {
		return nil
	}
	return p.noteKey(ctx)
}

func (p *portal) useKeys(keys *keyring.Ring) {
	p.keys = keys
	p.store.UseKeys(keys, p.config.SecretStorage == config.Plain)
	p.directory = p.directory.WithFingerprints(func(s pbx.Secret) (string, error) { return keys.Fingerprint("sip secret", s.Reveal()) })
}

// noteKey records in the database which key encrypts from now on, before it is used. If a process was killed between the key file and this, the next one
// does it.
func (p *portal) noteKey(ctx context.Context) error {
	err := p.store.NoteKey(ctx, p.keys, func(was string) pbx.AuditEvent {
		if was == "" {
			return p.keyEvent(ctx, pbx.ActionKeyUse, nil, pbx.Facts{"key": p.keys.Current()})
		}
		return p.keyEvent(ctx, pbx.ActionKeyRotate, pbx.Facts{"key": was}, pbx.Facts{"key": p.keys.Current()})
	})
	if other, ok := errors.AsType[*store.OtherKeyError](err); ok { // changed since AtRest
		return usage(missing(store.AtRest{Key: other.ID}, p.keys))
	}
	return err
}

func (p *portal) keyEvent(ctx context.Context, action string, before, after pbx.Facts) pbx.AuditEvent {
	e := pbx.NewAuditEvent(ctx, time.Now(), action, pbx.AuditObject{Type: "key", ID: p.keys.Current()})
	e.Before, e.After = before, after
	return e
}

// needed returns the ids of the keys that the database needs, and how many rows each has encrypted.
func needed(at store.AtRest) map[string]int {
	all := maps.Clone(at.Sealed)
	if all == nil {
		all = map[string]int{}
	}
	if at.Key != "" {
		all[at.Key] += 0
	}
	return all
}

// notAmong returns those of the needed keys that are not among these; keys may be nil.
func notAmong(keys *keyring.Ring, at store.AtRest) map[string]int {
	lost := needed(at)
	if keys != nil {
		maps.DeleteFunc(lost, func(id string, _ int) bool { return keys.Has(id) })
	}
	return lost
}

// missing returns an error for what cannot be decrypted with the keys, nil if everything can.
func missing(at store.AtRest, keys *keyring.Ring) error {
	lost := notAmong(keys, at)
	switch {
	case len(lost) == 0:
		return nil
	case len(lost) == len(needed(at)):
		return fmt.Errorf("the database holds secrets that are encrypted with %s, which is not in %s; key %s, which is there, has encrypted nothing: %s",
			keyList(lost), keys.Where(), keys.Current(), copyKey)
	}
	return fmt.Errorf("the database holds secrets that are encrypted with %s, which is not in %s: %s", keyList(lost), keys.Where(), restoreKey)
}

const (
	restoreKey = "add it there again, as a line of its own after the others, from another host that has it or from the copy that is kept apart from the database; " + elsewhere
	copyKey    = "replace this key file by that of the host that has used this database before, or by its copy that is kept apart from the database; " + elsewhere
	elsewhere  = "without it these secrets cannot be read, and the portal does not start with another. If no copy is left, pbxportal replace-lost-key reports the consequences"
)

// keyList returns the ids of keys with the number of rows each has encrypted.
func keyList(rows map[string]int) string {
	var all []string
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		name := "key " + id
		if rows[id] > 0 {
			name += fmt.Sprintf(" (%d)", rows[id])
		}
		all = append(all, name)
	}
	return strings.Join(all, ", ")
}

type rotateKeyCommand struct {
	Forget bool `help:"Remove the older keys from the key file afterwards. Older backups of the database can then no longer be read."`
}

// Run creates a new key and encrypts everything with it, or continues an interrupted run.
func (c *rotateKeyCommand) Run(ctx context.Context, a *app, p *portal) error {
	plain := p.config.SecretStorage == config.Plain
	before, err := p.store.AtRest(ctx)
	if err != nil {
		return err
	}
	if !plain && !p.unfinished(before) {
		if _, err = p.keys.Rotate(); errors.Is(err, keyring.ErrExternal) {
			return usage(fmt.Errorf("%w: put a new key before the current one there (openssl rand -base64 32), restart every portal that uses it, "+
				"and run this again: it then encrypts everything with the new one", err))
		} else if err == nil {
			err = p.noteKey(ctx)
		}
		if err != nil {
			return err
		}
	}
	did, err := p.reseal(ctx)
	if err == nil && c.Forget {
		err = p.forget(ctx)
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(openapi.KeyRotationReport{Key: p.keys.Current(), Keys: p.keys.IDs(), Rows: did.Rows, LeftOpen: append(openapi.LeftOpen{}, did.Left...)})
	}
	if plain {
		fmt.Fprintf(a.stdout, "SECRET_STORAGE is plain: %d rows were decrypted, and there is no new key.\n", did.Rows)
		return nil
	}
	fmt.Fprintf(a.stdout, "Everything is encrypted with key %s; %d rows were re-encrypted.\n", p.keys.Current(), did.Rows)
	if others := p.keys.IDs()[1:]; len(others) > 0 {
		fmt.Fprintf(a.stdout, "Only older backups still need key %s; rotate-key --forget removes it from the file.\n", strings.Join(others, ", "))
	}
	fmt.Fprintf(a.stdout, "Keep a copy of %s, apart from the database's backups.\n", p.keys.Where())
	if left := leftOpen(did); left != "" {
		fmt.Fprintln(a.stdout, "But "+left+".")
	}
	return nil
}

// unfinished reports whether anything is encrypted with another key than the current one, as after an interrupted rotation.
func (p *portal) unfinished(at store.AtRest) bool {
	others := len(at.Sealed)
	if at.Sealed[p.keys.Current()] > 0 {
		others--
	}
	return others > 0
}

// forget removes all keys except the first from the key file, if they are not needed. No apply may run: its final record could still be encrypted with
// an older one.
func (p *portal) forget(ctx context.Context) error {
	lock, err := p.store.TryApplyLock(ctx)
	if err != nil {
		return err
	}
	if lock == nil {
		return &pbx.Error{
			Kind: pbx.KindConflict, Code: pbx.CodeApplyRunning,
			Msg: "everything is encrypted with the new key, but the older ones are still in the file, because an apply is running: run rotate-key --forget again when it has ended",
		}
	}
	defer lock.Release()
	if err = lock.Fence(ctx); err != nil {
		return err
	}
	at, err := p.store.AtRest(ctx)
	if err == nil && p.unfinished(at) {
		_, err = p.reseal(ctx) // what an apply wrote meanwhile
	}
	if err != nil {
		return err
	}
	if p.keys.External() {
		return usage(fmt.Errorf("%w, they come from %s: remove the older ones there yourself, they are no longer needed", keyring.ErrExternal, p.keys.Where()))
	}
	if ids := p.keys.IDs(); len(ids) > 1 {
		before, after := pbx.Facts{"keys": strings.Join(ids, " ")}, pbx.Facts{"keys": ids[0]}
		if err = p.store.AppendEvent(ctx, p.keyEvent(ctx, pbx.ActionKeyForget, before, after)); err != nil { // first, because forgetting cannot be undone
			return err
		}
	}
	return p.keys.Forget()
}

// reseal encrypts everything with the current key, or decrypts it, as configured. Its event is recorded before it begins.
func (p *portal) reseal(ctx context.Context) (did store.Resealed, err error) {
	at, err := p.store.AtRest(ctx)
	if err != nil {
		return did, err
	}
	rows := at.Open
	for id, n := range at.Sealed {
		if id != p.keys.Current() {
			rows += n
		}
	}
	if p.config.SecretStorage == config.Plain {
		rows = 0
		for _, n := range at.Sealed {
			rows += n
		}
	}
	if rows > 0 {
		facts := pbx.Facts{"key": p.keys.Current(), "rows": strconv.Itoa(rows), "storage": p.config.SecretStorage}
		if err = p.store.AppendEvent(ctx, p.keyEvent(ctx, pbx.ActionKeyReseal, nil, facts)); err != nil {
			return did, err
		}
	}
	return p.store.Reseal(ctx)
}

// sealAll encrypts what is still in plaintext: the rows of an adopted database, and those of versions that did not encrypt.
func (p *portal) sealAll(ctx context.Context) (did store.Resealed, err error) {
	if p.config.SecretStorage == config.Plain {
		return did, nil
	}
	at, err := p.store.AtRest(ctx)
	if err != nil || at.Open == 0 {
		return did, err
	}
	return p.reseal(ctx)
}

// leftOpen returns which secrets could not be encrypted; "" if there are none.
func leftOpen(did store.Resealed) string {
	if len(did.Left) == 0 {
		return ""
	}
	return fmt.Sprintf("the secrets of extensions %v are too long to be encrypted and stay in plaintext: delete these users and create them again", did.Left)
}

// examinePasswords lists revisions that are kept with passwords although digests are configured.
func (p *portal) examinePasswords(ctx context.Context) node.Finding {
	f := node.Finding{Subject: "kept revisions", Grade: node.Good, Detail: "none holds a password that SECRET_MODE=" + p.config.SecretMode + " would not write"}
	keys, err := p.keySource.Load()
	if err != nil {
		f.Detail = "without the key it cannot be checked whether they hold passwords"
		return f
	}
	p.useKeys(keys)
	switch numbers, err := p.engine.WithPasswords(ctx); {
	case err != nil:
		f.Grade, f.Detail = node.Warning, "it could not be checked whether they hold passwords: "+oneLine(err.Error())
	case len(numbers) > 0:
		f.Grade, f.Detail = node.Warning, fmt.Sprintf("revisions %v still hold passwords, on the disk and in the database, although SECRET_MODE is digest", numbers)
		f.Fix = "apply, so that Asterisk runs digests, then run pbxportal migrate, which drops them; they cannot be restored afterwards"
	}
	return f
}

// examineKeys checks whether encrypted data can be decrypted.
func (p *portal) examineKeys(ctx context.Context) node.Finding {
	f := node.Finding{Subject: "secrets at rest", Grade: node.Good}
	at, _ := p.store.AtRest(ctx) // the database was examined before, and is unavailable or has no tables yet
	keys, err := p.keySource.Load()
	switch {
	case errors.Is(err, keyring.ErrNoKey) && len(needed(at)) == 0:
		f.Detail = "no key yet; the first command creates one"
		if existing, err := regular.Writable(p.config.StateDir); err != nil {
			f.Grade, f.Detail = node.Bad, "no key yet, and the first command cannot create one: "+existing+" is not writable: "+err.Error()
			f.Fix = "make the portal's user the owner of that folder, or set STATE_DIR, or SECRET_KEY_FILE"
		}
		return f
	case errors.Is(err, keyring.ErrNoKey):
		f.Grade, f.Detail, f.Fix = node.Bad, fmt.Sprintf("encrypted with %s; %v", keyList(needed(at)), err), restoreKey
		return f
	case err != nil:
		f.Grade, f.Detail, f.Fix = node.Bad, err.Error(), "repair the key file, or restore it from its copy"
		return f
	}
	f.Detail = fmt.Sprintf("key %s from %s", keys.Current(), keys.Where())
	switch lost := missing(at, keys); {
	case lost != nil:
		f.Grade = node.Bad
		f.Detail, f.Fix, _ = strings.Cut(lost.Error(), ": ")
	case p.config.SecretStorage == config.Plain:
		f.Grade, f.Detail, f.Fix = node.Warning, "SIP secrets are stored in plaintext in the database", "set SECRET_STORAGE=sealed when no other program reads them, and run pbxportal migrate"
	case at.Open > 0:
		f.Grade, f.Detail, f.Fix = node.Warning, fmt.Sprintf("%s; %d rows are still in plaintext", f.Detail, at.Open), "run pbxportal migrate"
	}
	return f
}
