package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/node"
)

// managerUser explains how to create a Manager Interface user that can read the live state and change nothing.
const managerUser = `to see registrations and calls, create a user of Asterisk's Manager Interface in manager.conf, with a secret of your own (openssl rand -hex 24). Put the lines for [general] into the existing section [general]; a second one is not read:
             [general]
             enabled = yes
             bindaddr = 127.0.0.1
             [%s]
             secret = …
             deny = 0.0.0.0/0.0.0.0
             permit = 127.0.0.1/255.255.255.255
             read = system,call,user
             write = reporting
             eventfilter(action(exclude),name(VoicemailPasswordChange)) =
           then run "manager reload" in Asterisk's console, write the secret alone into a file of mode 0640, and set
             AMI_USER=%s
             AMI_SECRET_FILE=that file`

// rightsNeeded returns the permissions of that user. Without feature codes the last one to read can be missing.
func rightsNeeded() asterisk.Rights {
	return asterisk.Rights{Read: []string{"system", "call", "user"}, Write: []string{"reporting"}}
}

// examineLive signs in at the Manager Interface, and checks that its user has the necessary permissions, and no others. An apply does not need it.
func (p *portal) examineLive(ctx context.Context) node.Finding {
	f := node.Finding{Subject: "live state", Grade: node.Good}
	if p.config.AMIUser == "" {
		f.Detail, f.Fix = "off", fmt.Sprintf(managerUser, "pbxportal", "pbxportal")
		return f
	}
	f.Detail = "signed in as " + p.config.AMIUser + " at " + p.config.AMIAddr
	target, err := ami(p.config)
	if err == nil {
		err = tryAMI(ctx, target)
	}
	if err != nil {
		f.Grade, f.Detail, f.Fix = node.Warning, oneLine(err.Error()), fmt.Sprintf(managerUser, p.config.AMIUser, p.config.AMIUser)
		return f
	}
	if !onLoopback(p.config.AMIAddr) {
		f.Grade, f.Fix = node.Warning, "the traffic of the Manager Interface is not encrypted: reach it on loopback, or through a tunnel"
		return f
	}
	rights, err := p.control.Patient().ManagerRights(ctx, p.config.AMIUser)
	switch {
	case err != nil:
		f.Grade, f.Detail, f.Fix = node.Warning, f.Detail+"; its permissions could not be read: "+oneLine(err.Error()), "run in Asterisk's console: manager show user "+p.config.AMIUser
	case rights == nil:
		f.Grade, f.Detail = node.Warning, f.Detail+", but the Asterisk at "+p.control.Target()+" has no such user"
		f.Fix = "set AMI_ADDR and ASTERISK_CONTROL to the same Asterisk"
	default:
		if fault := rightsFault(*rights, bool(p.config.FeatureCodes)); fault != "" {
			f.Grade, f.Detail, f.Fix = node.Warning, f.Detail+", "+fault, "set its permissions in manager.conf to read = system,call,user and write = reporting, and run in Asterisk's console: manager reload"
		} else {
			f.Detail += ", with minimal permissions"
		}
	}
	return f
}

// tryAMI signs in and makes the queries of live state.
func tryAMI(ctx context.Context, target asterisk.AMITarget) error {
	a, err := asterisk.DialAMI(ctx, target)
	if err != nil {
		return err
	}
	defer a.Close()
	if _, _, err := a.Registrations(ctx); err != nil {
		return err
	}
	_, _, err = a.Channels(ctx)
	return err
}

// rightsFault returns which permissions are missing or too wide, "" if none.
func rightsFault(have asterisk.Rights, codes bool) string {
	var faults []string
	need := rightsNeeded()
	for _, side := range []struct {
		name       string
		need, have []string
	}{{"read", need.Read, have.Read}, {"write", need.Write, have.Write}} {
		have := slices.DeleteFunc(slices.Clone(side.have), func(r string) bool { return r == "none" })
		missing := slices.DeleteFunc(slices.Clone(side.need), func(r string) bool {
			return slices.Contains(have, r) || slices.Contains(have, "all") || r == "user" && !codes
		})
		wide := slices.DeleteFunc(have, func(r string) bool { return slices.Contains(side.need, r) })
		if len(missing) > 0 {
			faults = append(faults, "lacks "+side.name+"="+strings.Join(missing, ","))
		}
		if len(wide) > 0 {
			faults = append(faults, "has more permissions than necessary: "+side.name+"="+strings.Join(wide, ","))
		}
	}
	return strings.Join(faults, "; ")
}
