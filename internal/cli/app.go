package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/audit"
	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/config"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/idempotency"
	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store"
)

// app is the environment of the commands.
type app struct {
	config         config.Config
	stateDir       string // the default
	json           bool
	creates        bool // whether a missing database is created
	from           *origins
	waits          bool // for a database that does not answer yet, as serve does
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) (string, bool)
}

// portal is the assembled program: the services over one database and one Asterisk.
type portal struct {
	config    config.Config
	log       *slog.Logger
	store     *store.Store
	directory *directory.Directory
	auth      *auth.Auth
	control   *asterisk.Control
	node      *node.Local
	engine    *apply.Engine
	keySource keyring.Source
	keys      *keyring.Ring // once the database is ready
	trail     *audit.Trail
	requests  *idempotency.Keys
	routing   *routing.Routing
	watch     audit.Watch  // over the trail, while a server runs
	looks     *healthLooks // likewise
	getenv    func(string) (string, bool)
	insecure  bool // serve does not authenticate requests
	stderr    io.Writer
}

// open assembles the program. It does not access the database or Asterisk yet.
func (a *app) open() (*portal, error) {
	c, err := a.config.CompleteWith(a.stateDir)
	if err != nil {
		return nil, usage(err)
	}
	control, err := asterisk.NewControl(c.AsteriskControl)
	if err != nil {
		return nil, usage(err)
	}
	s, err := store.Open(c.DatabaseURL)
	if err != nil {
		return nil, usage(err)
	}
	level, _ := c.Level() // checked by Complete
	local, err := node.New(c.AsteriskConfigDir, control)
	if err != nil {
		return nil, errors.Join(usage(err), s.Close())
	}
	credentials, _ := a.getenv("CREDENTIALS_DIRECTORY")
	engine := apply.New(apply.Config{Store: s, Target: local, Now: time.Now, Keep: int(c.KeepRevisions), Render: renderOptions(c)})
	return &portal{
		config:    c,
		keySource: keyring.Source{Value: c.SecretKey, File: c.SecretKeyFile, Credentials: credentials, StateDir: c.StateDir},
		log:       slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level})),
		store:     s,
		getenv:    a.getenv,
		stderr:    a.stderr,
		directory: directory.New(s, time.Now).WithQuarantine(c.NumberQuarantine).WithHost(engine.LookAtHost),
		auth:      auth.New(auth.Config{Store: s, Now: time.Now, SecondFactor: pbx.SecondFactor(c.SecondFactor)}),
		control:   control,
		node:      local,
		engine:    engine,
		trail:     audit.New(s, time.Now, c.StateDir),
		requests:  idempotency.New(s, time.Now),
		routing:   routing.New(s, time.Now).WithQuarantine(c.NumberQuarantine).WithHost(engine.LookAtHost).WithCodecs(local.Codecs),
	}, nil
}

// ready assembles the program, migrates the database and reads the keys. A command whose Run takes a portal gets one that is ready; it is closed when
// the command has ended.
func (a *app) ready(ctx context.Context) (*portal, error) {
	p, err := a.open()
	if err != nil {
		return nil, err
	}
	if err = a.mayCreate(ctx, p); err == nil {
		err = p.prepare(ctx)
	}
	for pause := time.Second; a.waits && p.store.MayAnswerLater(err); pause = min(2*pause, longestPause) {
		p.log.Warn("waiting for the database", "database", p.store.Describe(), "again_in", pause, "error", err)
		again := time.NewTimer(pause)
		select {
		case <-again.C:
			err = p.prepare(ctx)
		case <-ctx.Done():
			again.Stop()
			err = errStopped
		}
	}
	if err != nil {
		_ = p.store.Close()
		return nil, err
	}
	return p, nil
}

// longestPause is the maximum pause between two attempts of a server that waits for its database.
const longestPause = 10 * time.Second

// errStopped means that a server was asked to end while it waited for its database.
var errStopped = errors.New("stopped while waiting for the database")

// prepare migrates the database and reads the keys.
func (p *portal) prepare(ctx context.Context) error {
	if _, err := p.migrate(ctx); err != nil {
		return err
	}
	return p.unlock(ctx)
}

// migrate migrates the database schema, and records an event if migrations were applied.
func (p *portal) migrate(ctx context.Context) (applied []int64, err error) {
	if applied, err = p.store.Migrate(ctx); err != nil || len(applied) == 0 {
		return applied, err
	}
	e := pbx.NewAuditEvent(ctx, time.Now(), pbx.ActionMigrate, pbx.AuditObject{Type: "database", Name: p.store.Describe()})
	e.After = pbx.Facts{"versions": strings.Trim(fmt.Sprint(applied), "[]"), "program": version()}
	return applied, p.store.AppendEvent(ctx, e)
}

// ami returns the address of Asterisk's Manager Interface; without a user it is not configured.
func ami(c config.Config) (asterisk.AMITarget, error) {
	if c.AMIUser == "" {
		return asterisk.AMITarget{}, nil
	}
	secret, err := c.ReadAMISecret()
	if err != nil {
		return asterisk.AMITarget{}, usage(err)
	}
	return asterisk.AMITarget{Addr: c.AMIAddr, User: c.AMIUser, Secret: secret}, nil
}

func (p *portal) close() { _ = p.store.Close() } // the program ends; acknowledged writes are safe already

// printJSON prints one value as indented JSON.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return nil
}

// printJSONOf prints a value unless there is an error.
func (a *app) printJSONOf(v any, err error) error {
	if err != nil {
		return err
	}
	return a.printJSON(v)
}

// renderOptions returns the options for the files for Asterisk.
func renderOptions(c config.Config) render.Options {
	return render.Options{
		DigestRealm: c.DigestRealm(), DigestAlgorithms: c.Algorithms,
		RingTimeout: int(c.RingTimeout), RTPTimeout: int(c.RTPTimeout), RTPTimeoutHold: int(c.RTPTimeoutHold),
		FeatureCodes: bool(c.FeatureCodes),
	}
}
