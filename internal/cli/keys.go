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
	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
	"github.com/synergycall/pbxportal/internal/store"
)

// unlock reads the keys for what is sealed in the database. The first start on a machine makes one; it never does so when the database
// holds what another key has sealed, or is in use with another: for then that key is lost, or elsewhere.
func (p *portal) unlock(ctx context.Context) error {
	at, err := p.store.AtRest(ctx)
	if err != nil {
		return err
	}
	keys, err := p.keySource.Load()
	if errors.Is(err, keyring.ErrNoKey) && len(needed(at)) == 0 {
		keys, err = p.keySource.LoadOrMake()
	}
	if err == nil && missing(at, keys) != nil { // perhaps a key was replaced, and forgotten, since we looked
		if at, err = p.store.AtRest(ctx); err != nil {
			return err
		}
		err = missing(at, keys)
	} else if errors.Is(err, keyring.ErrNoKey) {
		err = fmt.Errorf("%w, and the database holds secrets that are sealed with %s: %s", err, keyList(needed(at)), restoreKey)
	}
	if _, system := errors.AsType[syscall.Errno](err); system {
		err = fmt.Errorf("%w: the user the portal runs as must own the key file and its folder; see also whether STATE_DIR, or SECRET_KEY_FILE where that is set, names the right place", err)
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

// noteKey notes in the database which key seals from now on, before it does. Where a process was killed between the key file and this, the
// next one does it.
func (p *portal) noteKey(ctx context.Context) error {
	err := p.store.NoteKey(ctx, p.keys, func(was string) pbx.AuditEvent {
		if was == "" {
			return p.keyEvent(ctx, pbx.ActionKeyUse, nil, pbx.Facts{"key": p.keys.Current()})
		}
		return p.keyEvent(ctx, pbx.ActionKeyRotate, pbx.Facts{"key": was}, pbx.Facts{"key": p.keys.Current()})
	})
	if other, ok := errors.AsType[*store.OtherKeyError](err); ok { // since we looked
		return usage(missing(store.AtRest{Key: other.ID}, p.keys))
	}
	return err
}

func (p *portal) keyEvent(ctx context.Context, action string, before, after pbx.Facts) pbx.AuditEvent {
	e := pbx.NewAuditEvent(ctx, time.Now(), action, pbx.AuditObject{Type: "key", ID: p.keys.Current()})
	e.Before, e.After = before, after
	return e
}

// needed gives the keys without which the database is of no use, and how many rows each has sealed.
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

// notAmong gives those of the needed keys that are not among these, of which there may be none (nil).
func notAmong(keys *keyring.Ring, at store.AtRest) map[string]int {
	lost := needed(at)
	if keys != nil {
		maps.DeleteFunc(lost, func(id string, _ int) bool { return keys.Has(id) })
	}
	return lost
}

// missing is the error for what the keys do not open, nil where they open all.
func missing(at store.AtRest, keys *keyring.Ring) error {
	lost := notAmong(keys, at)
	switch {
	case len(lost) == 0:
		return nil
	case len(lost) == len(needed(at)):
		return fmt.Errorf("the database holds secrets that are sealed with %s, which is not in %s; key %s, which is there, has sealed nothing: %s",
			keyList(lost), keys.Where(), keys.Current(), copyKey)
	}
	return fmt.Errorf("the database holds secrets that are sealed with %s, which is not in %s: %s", keyList(lost), keys.Where(), restoreKey)
}

const (
	restoreKey = "put it there again, as a line of its own behind any other, from another host that has it or from the copy that is kept apart from the database; " + elsewhere
	copyKey    = "put the key file of the host that has used this database before, or its copy that is kept apart from the database, in the place of this one; " + elsewhere
	elsewhere  = "without it nobody can read these secrets, and the portal does not start with another. If no copy is left anywhere, pbxportal replace-lost-key says what that costs"
)

// keyList names keys with what they have sealed.
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
	Forget bool `help:"Afterwards take the older keys out of the key file. Older backups of the database can then no longer be read."`
}

// Run makes a new key and seals everything with it, or goes on with that where an earlier run was cut off.
func (c *rotateKeyCommand) Run(ctx context.Context, a *app, p *portal) error {
	plain := p.config.SecretStorage == config.Plain
	before, err := p.store.AtRest(ctx)
	if err != nil {
		return err
	}
	if !plain && !p.unfinished(before) {
		if _, err = p.keys.Rotate(); errors.Is(err, keyring.ErrExternal) {
			return usage(fmt.Errorf("%w: put a new key before the present one there (openssl rand -base64 32), restart every portal that uses it, "+
				"and run this again: it then seals everything with the new one", err))
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
		return usage(fmt.Errorf("%w, they come from %s: take the older ones out there yourself, nothing needs them any more", keyring.ErrExternal, p.keys.Where()))
	}
	if ids := p.keys.IDs(); len(ids) > 1 {
		before, after := pbx.Facts{"keys": strings.Join(ids, " ")}, pbx.Facts{"keys": ids[0]}
		if err = p.store.AppendEvent(ctx, p.keyEvent(ctx, pbx.ActionKeyForget, before, after)); err != nil { // first, for what is forgotten stays so
			return err
		}
	}
	return p.keys.Forget()
}

// reseal gives all that is sealed the form it should have. The event of it is written before it begins.
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

// sealAll seals what still lies open: the rows of an adopted database, and those of versions that did not seal.
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

// leftOpen says which secrets could not be sealed; it is empty when there are none.
func leftOpen(did store.Resealed) string {
	if len(did.Left) == 0 {
		return ""
	}
	return fmt.Sprintf("the secrets of extensions %v are too long to be sealed and stay as they are: delete these users and create them again", did.Left)
}

// examinePasswords tells of revisions that are kept with passwords although the files hold digests now.
func (p *portal) examinePasswords(ctx context.Context) node.Finding {
	f := node.Finding{Subject: "kept revisions", Grade: node.Good, Detail: "none holds a password that SECRET_MODE=" + p.config.SecretMode + " would not write"}
	keys, err := p.keySource.Load()
	if err != nil {
		f.Detail = "without the key it cannot be seen whether they hold passwords"
		return f
	}
	p.useKeys(keys)
	switch numbers, err := p.engine.WithPasswords(ctx); {
	case err != nil:
		f.Grade, f.Detail = node.Odd, "it cannot be seen whether they hold passwords: "+oneLine(err.Error())
	case len(numbers) > 0:
		f.Grade, f.Detail = node.Odd, fmt.Sprintf("revisions %v still hold passwords, on the disk and in the database, although SECRET_MODE is digest", numbers)
		f.Cure = "apply, so that Asterisk runs digests, then run pbxportal migrate, which forgets them; one cannot go back to them afterwards"
	}
	return f
}

// examineKeys asks whether what is sealed can be opened.
func (p *portal) examineKeys(ctx context.Context) node.Finding {
	f := node.Finding{Subject: "secrets at rest", Grade: node.Good}
	at, _ := p.store.AtRest(ctx) // the database was examined before, and is away or has no tables yet
	keys, err := p.keySource.Load()
	switch {
	case errors.Is(err, keyring.ErrNoKey) && len(needed(at)) == 0:
		f.Detail = "no key yet; the first command makes one"
		if existing, err := regular.Writable(p.config.StateDir); err != nil {
			f.Grade, f.Detail = node.Bad, "no key yet, and the first command cannot make one: "+existing+" may not be written: "+err.Error()
			f.Cure = "give that folder to the portal's user, or set STATE_DIR, or SECRET_KEY_FILE"
		}
		return f
	case errors.Is(err, keyring.ErrNoKey):
		f.Grade, f.Detail, f.Cure = node.Bad, fmt.Sprintf("sealed with %s; %v", keyList(needed(at)), err), restoreKey
		return f
	case err != nil:
		f.Grade, f.Detail, f.Cure = node.Bad, err.Error(), "mend the key file, or put it back from its copy"
		return f
	}
	f.Detail = fmt.Sprintf("key %s from %s", keys.Current(), keys.Where())
	switch lost := missing(at, keys); {
	case lost != nil:
		f.Grade = node.Bad
		f.Detail, f.Cure, _ = strings.Cut(lost.Error(), ": ")
	case p.config.SecretStorage == config.Plain:
		f.Grade, f.Detail, f.Cure = node.Odd, "SIP secrets lie open in the database", "set SECRET_STORAGE=sealed when no other program reads them, and run pbxportal migrate"
	case at.Open > 0:
		f.Grade, f.Detail, f.Cure = node.Odd, fmt.Sprintf("%s; %d rows still lie open", f.Detail, at.Open), "run pbxportal migrate"
	}
	return f
}
