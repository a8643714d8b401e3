package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/audit"
	"github.com/synergycall/pbxportal/internal/config"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
)

type doctorCommand struct{}

// Run examines everything and prints the findings.
func (*doctorCommand) Run(ctx context.Context, a *app) error {
	p, err := a.open()
	if err != nil {
		return err
	}
	defer p.close()
	if keys, err := p.keySource.Load(); err == nil { // examineKeys reports faults of the keys
		p.useKeys(keys)
	}
	database, ready := a.examineDatabase(ctx, p)
	findings := append([]node.Finding{database, p.examineKeys(ctx)}, p.node.Examine(ctx)...)
	findings = append(findings, p.examineHost(ctx, ready))
	findings = append(findings, p.rehearse(ctx, ready, findings)...)
	for _, f := range []node.Finding{
		p.examineState(), p.examineThings(ctx, ready), p.examinePools(ctx, ready), p.examinePhones(ctx, ready), p.examinePasswords(ctx), p.examineFactors(ctx), p.examineTrail(ctx), p.examineAddress(), a.examineSettings(), p.examineLive(ctx),
	} {
		f.Beside = true
		findings = append(findings, f)
	}
	broken, beside := 0, 0
	for _, f := range findings {
		if f.Grade == node.Bad {
			broken++
			if f.Beside {
				beside++
			}
		}
	}
	if a.json {
		report := openapi.DoctorReport{Findings: make([]openapi.Finding, len(findings)), Broken: broken, ApplyCanSucceed: broken == beside}
		for i, f := range findings {
			report.Findings[i] = openapi.Finding{Subject: f.Subject, Grade: openapi.FindingGrade(f.Grade), Detail: f.Detail, BesideApply: f.Beside}
			if f.Fix != "" {
				report.Findings[i].Cure = &f.Fix
			}
		}
		if err := a.printJSON(report); err != nil {
			return err
		}
	} else {
		a.printFindings(findings, broken, beside)
	}
	if broken > 0 {
		return quiet(exitFailed)
	}
	return nil
}

func (a *app) printFindings(findings []node.Finding, broken, beside int) {
	said := map[string]bool{}
	for _, f := range findings {
		fmt.Fprintf(a.stdout, "%-8s %s: %s\n", f.Grade, f.Subject, f.Detail)
		switch {
		case f.Fix == "":
		case said[f.Fix]:
			fmt.Fprintln(a.stdout, "         → as above")
		default:
			fmt.Fprintf(a.stdout, "         → %s\n", f.Fix)
		}
		said[f.Fix] = true
	}
	switch broken {
	case 0:
		fmt.Fprintln(a.stdout, "\nAn apply can succeed.")
	case beside:
		fmt.Fprintf(a.stdout, "\nAn apply can succeed, but not everything else works. Broken: %d. Fix them, and run doctor again.\n", broken)
	default:
		fmt.Fprintf(a.stdout, "\nAn apply would fail. Broken: %d. Fix them in this order, and run doctor again.\n", broken)
	}
}

// rehearse is doctor's last check of an apply: it does everything that an apply does, through the same code, and reverts it. It does not begin if an
// earlier check found something broken.
func (p *portal) rehearse(ctx context.Context, ready bool, before []node.Finding) []node.Finding {
	f := node.Finding{Subject: "rehearsal of an apply", Grade: node.Good, Detail: "locks, record, files and queries of Asterisk all succeeded, and were reverted"}
	if !ready {
		f.Detail = "files and queries of Asterisk all succeeded, and were reverted; the database has no tables to try yet"
	}
	if slices.ContainsFunc(before, func(f node.Finding) bool { return f.Grade == node.Bad && !f.Beside }) {
		f.Grade, f.Detail, f.Fix = node.Warning, "not started, because it would fail", "fix what is broken above, and run doctor again"
		return []node.Finding{f}
	}
	behind, err := p.engine.Rehearse(ctx, apply.Rehearsal{Host: p.node.Rehearse, Unready: !ready})
	if host, ok := errors.AsType[*node.RehearsalError](err); ok {
		f.Grade, f.Detail, f.Fix = node.Bad, host.Detail, host.Fix
		return []node.Finding{f}
	}
	if err != nil {
		f.Grade, f.Detail = node.Bad, oneLine(err.Error())
		if e, ok := errors.AsType[*pbx.Error](err); ok {
			f.Detail = oneLine(e.Msg)
		}
		f.Fix = "an apply would fail with this: fix the cause, and run doctor again"
		return []node.Finding{f}
	}
	all := []node.Finding{f}
	if behind != "" {
		all = append(all, node.Finding{Subject: "what Asterisk runs", Grade: node.Warning, Detail: behind, Fix: "pbxportal apply makes it reload the files"})
	}
	return all
}

// examineDatabase checks whether the database answers, is writable, and is or can be migrated. ready reports whether it has all tables.
func (a *app) examineDatabase(ctx context.Context, p *portal) (f node.Finding, ready bool) {
	f = node.Finding{Subject: "database", Grade: node.Good, Detail: p.store.Describe()}
	err := p.store.Ping(ctx)
	missing := errors.Is(err, os.ErrNotExist)
	if err != nil && !missing {
		f.Grade, f.Detail = node.Bad, f.Detail+": "+oneLine(err.Error())
		f.Fix = remedy(err, "start the database, or correct DATABASE_URL; without that setting the portal uses a SQLite file of its own")
		return f, false
	}
	if err := a.mayCreate(ctx, p); err != nil {
		f.Grade, f.Detail, f.Fix = node.Bad, oneLine(err.Error()), "set DATABASE_URL to the intended database, or create this one: pbxportal migrate"
		return f, false
	}
	has, known := int64(0), int64(1)
	if !missing {
		if has, known, err = p.store.Versions(ctx); err != nil {
			f.Grade, f.Detail, f.Fix = node.Bad, f.Detail+"; but "+oneLine(err.Error()), "no command works with this database as it is: start the newer program, or set DATABASE_URL to another one"
			if pbx.CodeOf(err) != pbx.CodeDatabaseNewer {
				f.Fix = damagedFix
			}
			return f, false
		}
		if err = p.store.Pooled(ctx); err == nil {
			err = p.store.Placed(ctx)
		}
		if err != nil {
			f.Grade, f.Detail = node.Bad, f.Detail+"; but "+oneLine(err.Error())
			f.Fix = remedy(err, "connect to PostgreSQL directly")
			return f, false
		}
		if err := p.store.Probe(ctx); err != nil {
			f.Grade, f.Detail = node.Bad, f.Detail+": it answers, but a test write failed: "+oneLine(err.Error())
			f.Fix = remedy(err, "free space on its disk, or give the portal's user write permission")
			return f, false
		}
	}
	if has < known {
		if err := p.store.TryMigrate(ctx); err != nil {
			f.Grade, f.Detail = node.Bad, f.Detail+": its tables cannot be created: "+oneLine(err.Error())
			f.Fix = "give the portal's user, or its role in PostgreSQL, the permission to create them (GRANT CREATE ON SCHEMA public), and free space on the disk; or set DATABASE_URL"
			return f, false
		}
	}
	switch {
	case missing:
		f.Detail += ", which the first command creates"
		return f, false
	case has == 0:
		f.Detail += "; the first command creates its tables"
		return f, false
	case has < known:
		f.Detail += fmt.Sprintf("; its tables are at version %d, and the next command brings them to %d", has, known)
		return f, false
	}
	f.Detail += "; a test write succeeded, and was rolled back"
	without, err := p.store.Intact(ctx)
	uncovered := 0
	if err == nil {
		uncovered, err = p.store.Uncovered(ctx)
	}
	if uncovered > 0 {
		f.Detail += fmt.Sprintf("; %d users were written by another program and have no hash, so damage to them would not be noticed: restart the portal, or run pbxportal migrate, to add one", uncovered)
	}
	switch {
	case err != nil: // the rehearsal shows whether an apply is affected by the damage
		f.Grade, f.Detail, f.Beside = node.Bad, f.Detail+"; but "+oneLine(err.Error()), true
		f.Fix = damagedFix
		if pbx.CodeOf(err) == pbx.CodeDatabaseDamaged {
			f.Fix += "; without a backup examine and correct the rows, then run pbxportal migrate --accept-users"
		}
	case without:
		f.Grade, f.Detail = node.Warning, f.Detail+"; this PostgreSQL keeps no checksums of its pages, so damage by the disk would not be noticed"
		f.Fix = "stop PostgreSQL, and run pg_checksums --enable on its data folder"
	}
	return f, true
}

// remedy returns the advice in the message of an error of the database, or else something general.
func remedy(err error, general string) string {
	if e, ok := errors.AsType[*pbx.Error](err); ok {
		if _, what, ok := strings.Cut(e.Msg, "nothing was changed: "); ok && !strings.HasPrefix(what, "try again") {
			return what
		}
	}
	return general
}

const damagedFix = "stop the portal, restore the backup of the database, and start again; check the disk as well"

// examineTrail compares the audit trail with the signed heads in the state folder. It signs nothing.
func (p *portal) examineTrail(ctx context.Context) node.Finding {
	f := node.Finding{Subject: "audit trail", Grade: node.Good}
	newest, heads, err := p.trail.Compare(ctx)
	alarm, is := errors.AsType[*audit.AlarmError](err)
	switch {
	case is:
		f.Grade, f.Detail, f.Fix = node.Bad, alarm.State+": "+oneLine(alarm.Why), alarm.Do()
	case err != nil: // the database was examined before
		f.Detail = "not compared with its signed heads: the database does not answer, or has no tables yet"
	case heads.Len() == 0:
		f.Detail = fmt.Sprintf("%d events; no signed head yet, a running portal signs one", newest.Seq)
	default:
		f.Detail = fmt.Sprintf("%d events; %d signed heads agree", newest.Seq, heads.Len())
	}
	return f
}

// examineThings compares the references and numbers in the database with the users and things that they follow from.
func (p *portal) examineThings(ctx context.Context, ready bool) node.Finding {
	f := node.Finding{Subject: "references and numbers", Grade: node.Good, Detail: "those of all users and other objects"}
	if !ready {
		f.Detail = "not examined: the database does not answer, or has no tables yet"
		return f
	}
	rows, contradictions, err := p.store.Discrepancies(ctx)
	if pbx.CodeOf(err) == pbx.CodeDatabaseDamaged {
		f.Detail = "not examined: the database is damaged, as reported above"
		return f
	}
	switch {
	case err != nil:
		f.Grade, f.Detail, f.Fix = node.Bad, "not examined: "+oneLine(err.Error()), remedy(err, "run doctor again")
	case len(contradictions) > 0:
		f.Grade, f.Detail = node.Bad, fewOf(contradictions)
		f.Fix = "change one of them: pbxportal " + setCommands() + "; then run pbxportal migrate"
	case len(rows) > 0:
		f.Grade, f.Detail = node.Bad, "not as the users and other objects have them: "+fewOf(rows)
		f.Fix = "run pbxportal migrate, which writes them again from the users and other objects"
	}
	return f
}

// examinePools reports pools that are nearly exhausted.
func (p *portal) examinePools(ctx context.Context, ready bool) node.Finding {
	f := node.Finding{Subject: "number pools", Grade: node.Good}
	if !ready {
		f.Detail = "not examined: the database does not answer, or has no tables yet"
		return f
	}
	settings, err := p.store.Settings(ctx, pbx.DefaultTenant)
	var used, warnings []string
	for _, pool := range settings.Pools {
		var status pbx.PoolStatus
		if err == nil {
			status, err = p.routing.PoolStatus(ctx, pool)
		}
		used = append(used, fmt.Sprintf("%s %d of %d", oneLine(pool.Name), status.Used+status.Host, status.Size))
		if warning := status.Warning(pool); err == nil && warning != "" {
			warnings = append(warnings, warning)
		}
	}
	switch f.Detail = "in use: " + fewOf(used); {
	case pbx.CodeOf(err) == pbx.CodeDatabaseDamaged:
		f.Detail = "not examined: the database is damaged, as reported above"
	case err != nil:
		f.Grade, f.Detail, f.Fix = node.Bad, "not examined: "+oneLine(err.Error()), remedy(err, "run doctor again")
	case warnings != nil:
		f.Grade, f.Detail, f.Fix = node.Warning, fewOf(warnings), "pbxportal pool set NAME --to NUMBER extends a pool, pbxportal pool add creates one"
	}
	return f
}

// examinePhones compares how phones are to reach Asterisk, by the organisation, with what Asterisk has.
func (p *portal) examinePhones(ctx context.Context, ready bool) node.Finding {
	f := node.Finding{Subject: "phones", Grade: node.Good}
	if !ready {
		f.Detail = "not examined: the database does not answer, or has no tables yet"
		return f
	}
	settings, err := p.store.Settings(ctx, pbx.DefaultTenant)
	transports := p.node.Transports(ctx)
	phones, _ := settings.Organisation.Phones.Within(transports)
	f.Detail = fmt.Sprintf("%s, port %d, codecs %s", phones.Transport, phones.ServerPort, phones.Codecs)
	modules, unknown := p.control.Modules(ctx)
	switch {
	case err != nil:
		f.Detail = "not examined: the database cannot be read, as reported above"
	case len(transports) > 0 && !slices.ContainsFunc(transports, func(t pbx.Transport) bool { return t.Protocol == phones.Transport }):
		f.Grade, f.Detail = node.Warning, fmt.Sprintf("phones are to use %s, and Asterisk has no such transport", phones.Transport)
		f.Fix = "add one to pjsip.conf and restart Asterisk, or choose another: pbxportal organisation set --transport"
	case phones.SRTP != pbx.SRTPOff && unknown == nil && !slices.Contains(modules, "res_srtp.so"):
		f.Grade, f.Detail = node.Bad, "calls of phones are to be encrypted (SRTP), and Asterisk has not loaded res_srtp.so: they fail"
		f.Fix = "load it in modules.conf and restart Asterisk, or run pbxportal organisation set --srtp off"
	}
	return f
}

// setCommands returns the commands that change a user or an item.
func setCommands() string {
	all := []string{"user set"}
	for _, kind := range pbx.Kinds() {
		all = append(all, noun(kind)+" set")
	}
	return strings.Join(all, ", ")
}

// fewOf joins the first few texts, and says how many more there are.
func fewOf(texts []string) string {
	const most = 5
	few := strings.Join(texts[:min(most, len(texts))], "; ")
	if more := len(texts) - most; more > 0 {
		few += fmt.Sprintf("; and %d more", more)
	}
	return few
}

// examineState checks whether the state folder is or can be made writable. An apply needs it only for the key, which examineKeys checks.
func (p *portal) examineState() node.Finding {
	f := node.Finding{Subject: "state folder", Grade: node.Good, Detail: p.config.StateDir}
	existing, err := regular.Writable(p.config.StateDir)
	if err != nil {
		f.Grade, f.Detail, f.Fix = node.Bad, existing+" is not writable: "+err.Error(), "make the portal's user its owner, or set STATE_DIR"
	} else if existing != p.config.StateDir {
		f.Detail += ", which the first command creates"
	}
	return f
}

// examineSettings checks for settings files that are readable for all users although they contain a secret.
func (a *app) examineSettings() node.Finding {
	f := node.Finding{Subject: "settings", Grade: node.Good, Detail: "from flags and the environment"}
	if a.from.files.Closed != nil {
		f.Grade, f.Detail, f.Fix = node.Warning, "not all of them could be read: "+a.from.files.Closed.Error(), "run doctor as the service's user: runuser -u pbxportal -- pbxportal doctor"
	}
	var from, open, names []string
	for _, file := range a.from.files.Read {
		named := file.Path
		if abs, err := filepath.Abs(config.FolderFile); err == nil && abs == named {
			named = config.FolderFile + " in this folder"
		}
		from = append(from, named)
		if info, err := os.Stat(file.Path); err == nil && info.Mode().Perm()&0o007 != 0 && len(secretsIn(file)) > 0 {
			open, names = append(open, file.Path), append(names, secretsIn(file)...)
		}
	}
	if len(from) > 0 {
		f.Detail = "from " + strings.Join(from, " and ") + " as well"
	}
	if len(open) > 0 {
		f.Grade, f.Detail = node.Warning, f.Detail+", which all users of this machine can read, with "+strings.Join(names, ", ")
		f.Fix = "chmod 640 " + strings.Join(open, " ") + ", and give it to the portal's group"
	}
	return f
}

// secretsIn returns the names of the secrets in a settings file.
func secretsIn(file config.File) (names []string) {
	for _, name := range []string{"SECRET_KEY", "AMI_SECRET", "OIDC_CLIENT_SECRET"} {
		if file.Values[name] != "" {
			names = append(names, name)
		}
	}
	if u, err := url.Parse(file.Values["DATABASE_URL"]); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			names = append(names, "the password in DATABASE_URL")
		}
	}
	return names
}

// examineAddress checks for an address, reachable from other machines, that serve refuses.
func (p *portal) examineAddress() node.Finding {
	f := node.Finding{Subject: "listen address", Grade: node.Good, Detail: p.config.ListenAddr}
	if !onLoopback(p.config.ListenAddr) && !p.config.TLS() && p.config.TrustedProxies == "" {
		f.Grade, f.Fix = node.Bad, "passwords would cross the network in plaintext: set TLS_CERT and TLS_KEY, or ACME_HOSTS; or TRUSTED_PROXIES to the "+
			"proxy that provides TLS; or LISTEN_ADDR=127.0.0.1:8000"
	}
	return f
}

// onLoopback reports whether an address in settings, host:port, is reachable only from this machine.
func onLoopback(setting string) bool {
	host, _, _ := net.SplitHostPort(setting) // checked by Complete
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
