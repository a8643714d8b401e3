package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

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
