package render

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// phone is the part of a user that the files depend on.
type phone struct {
	number   pbx.Number
	name     string
	secret   pbx.Secret
	devices  []device // the further phones
	disabled bool
	object   bool // users are objects that others can refer to
	calls    userCalls
}

// device is the part of a further phone that the files depend on.
type device struct {
	suffix int
	secret pbx.Secret
}

// devicesOf returns the further phones of a user, nil for none.
func devicesOf(u pbx.User) (all []device) {
	for _, d := range u.Devices {
		all = append(all, device{d.Suffix, d.Secret})
	}
	return all
}

// same reports whether two users are written in the same way.
func (p phone) same(other phone) bool {
	return p.number == other.number && p.name == other.name && p.secret == other.secret && p.disabled == other.disabled && p.object == other.object &&
		p.calls == other.calls && slices.Equal(p.devices, other.devices)
}

// users returns the kind for users, with memory reserved for n of them. asObjects reports whether they are objects. usual is what the files have of the call
// settings of users who are not in own.
func (o Options) users(n int, asObjects bool, usual userCalls, own map[pbx.UserID]userCalls) kind[pbx.User, phone] {
	reachedAt := aor()
	objects, steps := make([]object, 0, 3*n), make([]pbx.Step, 0, 4*n) // of all pieces, one after the other
	return kind[pbx.User, phone]{
		take: func(u pbx.User) phone {
			calls, ok := own[u.ID]
			if !ok {
				calls = usual
			}
			return phone{u.Extension.Number, u.Name, u.Extension.Secret, devicesOf(u), u.Disabled, asObjects, calls}
		},
		order: func(a, b phone) int { return cmp.Compare(a.number, b.number) },
		same:  phone.same,
		piece: func(p phone) piece {
			id := strconv.Itoa(int(p.number))
			firstObject, firstStep := len(objects), len(steps)
			path := "" // of no objects
			if !p.disabled {
				path = pbx.PJSIPPath
				objects = append(objects, object{"endpoint", id, o.endpoint(p, id)}, object{"auth", id, o.auth(p, id)}, object{"aor", id, reachedAt})
				for _, d := range p.devices {
					further, id := p, pbx.DeviceName(p.number, d.suffix)
					further.secret = d.secret
					objects = append(objects, object{"endpoint", id, o.endpoint(p, id)}, object{"auth", id, o.auth(further, id)}, object{"aor", id, reachedAt})
				}
			}
			steps = appendStepsOf(steps, p, id)
			return piece{
				owner: pbx.Thing{Kind: pbx.KindUser, Key: id}, path: path,
				objects: slices.Clip(objects[firstObject:]), steps: slices.Clip(steps[firstStep:]),
			}
		},
	}
}

// userContexts returns the dialplan contexts of users: as objects or not, with limits or not, and with feature codes or not.
func userContexts(asObjects, withLimits, withCodes bool) []context {
	contexts := []context{{name: pbx.Context, path: pbx.DialplanPath}}
	if withCodes {
		contexts[0].includes = []string{hintsContext, codesContext}
		contexts = append(contexts, context{name: hintsContext, path: pbx.CallflowPath}, context{name: codesContext, path: pbx.CallflowPath})
	}
	if asObjects {
		contexts = append(contexts, context{name: userContext, path: pbx.CallflowPath}, context{name: phonesContext, path: pbx.CallflowPath})
	}
	if withLimits {
		contexts = append(contexts, context{name: limitContext, path: pbx.CallflowPath})
	}
	return contexts
}

// endpoint returns the settings of the endpoint of a phone: which numbers the phone can dial, and how Asterisk communicates with it.
func (o Options) endpoint(p phone, id string) []setting {
	settings := []setting{
		{"type", "endpoint"},
		{"context", pbx.Context},
		{"disallow", "all"},
		{"allow", string(cmp.Or(o.phones.Codecs, pbx.DefaultCodecs))},
		{"auth", id},
		{"aors", id},
		{"callerid", p.calls.callerID(p.name, strconv.Itoa(int(p.number)))},
		// A request is matched to this endpoint by its authentication user, never by its source address.
		{"identify_by", "auth_username,username"},
		// A dialled prefix of a number is an unknown number (404). Asterisk's default answers 484, and a phone then waits for more digits.
		{"allow_overlap", "no"},
		// Phones behind NAT: media stays with Asterisk, and is sent to where the phone's packets came from.
		{"direct_media", "no"},
		{"rtp_symmetric", "yes"},
		{"force_rport", "yes"},
		{"rewrite_contact", "yes"},
		// A call ends when its phone no longer sends audio; Asterisk's default is to keep it until one side hangs up.
		{"rtp_timeout", seconds(o.RTPTimeout, pbx.DefaultRTPTimeout)},
		{"rtp_timeout_hold", seconds(o.RTPTimeoutHold, pbx.DefaultRTPTimeoutHold)},
		{pbx.HashAttribute, ""},
	}
	last := len(settings) - 1
	return seal(slices.Insert(settings, last, append(o.mediaOptions(), p.calls.callOptions()...)...))
}

// passwordAuth returns the settings of an auth object with the secret as its password.
func passwordAuth(p phone, id string) []setting {
	return seal([]setting{
		{"type", "auth"},
		{"auth_type", "userpass"},
		{"username", id},
		{"password", p.secret.Reveal()},
		{pbx.HashAttribute, ""},
	})
}

// aor returns the settings of an AOR, which are the same for every phone.
func aor() []setting {
	return seal([]setting{
		{"type", "aor"},
		{"max_contacts", "1"},
		// The newest registration replaces the one before. Without it a phone that returns on another port is rejected with 403, and so is the new owner
		// of a number while the former owner's phone is registered.
		{"remove_existing", "yes"},
		{"qualify_frequency", "60"},
		// A phone that requests no expiry renews every five minutes, not every hour, which is Asterisk's default; the longest expiry is an hour.
		{"default_expiration", "300"},
		{"maximum_expiration", "3600"},
		{pbx.HashAttribute, ""},
	})
}

// The two steps between Dial and Hangup. The caller gets the cause of the failure: 19 is "no answer", 20 "not registered", and both reach a SIP phone as
// 480 Temporarily Unavailable. Hangup alone passes on the cause that Dial left, which is right for a busy phone (486); after an unanswered call there is
// none, and Asterisk sends 603 Decline; for a phone that is not registered it sends 404, as for a number that does not exist.
const (
	noAnswer    = `$["${DIALSTATUS}"="NOANSWER"]?Hangup(19)`
	unreachable = `$["${DIALSTATUS}"="CHANUNAVAIL"]?Hangup(20)`
)

// appendUserSteps appends the dialplan steps of a user to all. ring is how long the phone rings, in seconds.
func appendUserSteps(all []pbx.Step, exten string, ring int) []pbx.Step {
	return append(all,
		pbx.Step{Context: pbx.Context, Exten: exten, Priority: 1, App: "Dial", Args: "PJSIP/" + exten + "," + strconv.Itoa(ring)},
		pbx.Step{Context: pbx.Context, Exten: exten, Priority: 2, App: "ExecIf", Args: noAnswer},
		pbx.Step{Context: pbx.Context, Exten: exten, Priority: 3, App: "ExecIf", Args: unreachable},
		pbx.Step{Context: pbx.Context, Exten: exten, Priority: 4, App: "Hangup"},
	)
}

// appendStepsOf appends the dialplan steps of a user to all. Calls to a disabled user end, or go on to where calls to the user go that cannot be reached.
func appendStepsOf(all []pbx.Step, p phone, exten string) []pbx.Step {
	switch {
	case p.object && p.disabled && p.calls.unreachable == destination(hangupContext, causeUnreachable):
		return append(all, enter(exten, userContext, exten), disabledObject(exten))
	case p.object && p.disabled:
		return append(all, enter(exten, userContext, exten), userObject(exten, p.calls.dialling))
	case p.object:
		all = append(all, enter(exten, userContext, exten), userObject(exten, p.calls.dialling), phonesObject(p.number, p.devices))
		if p.calls.limit > 0 {
			all = append(all, limitObject(exten, p.calls.limit))
		}
		return all
	case p.disabled:
		return append(all, disabledNumber(exten))
	}
	return appendUserSteps(all, exten, p.calls.seconds)
}

// userObject returns the step of a user to which calls are led.
func userObject(exten string, d dialling) pbx.Step {
	return pbx.Step{Context: userContext, Exten: exten, Priority: 1, App: "Gosub", Args: call("user", exten, strconv.Itoa(d.seconds), d.busy, d.unanswered, d.unreachable)}
}

// limitObject returns the step that returns how many calls there can be to a user.
func limitObject(exten string, limit int) pbx.Step {
	return pbx.Step{Context: limitContext, Exten: exten, Priority: 1, App: "Return", Args: strconv.Itoa(limit)}
}

// phonesObject returns the step that returns the phones of a user, joined by "&".
func phonesObject(n pbx.Number, devices []device) pbx.Step {
	exten := pbx.DeviceName(n, pbx.FirstDevice)
	all := "PJSIP/" + exten
	for _, d := range devices {
		all += "&PJSIP/" + pbx.DeviceName(n, d.suffix)
	}
	return pbx.Step{Context: phonesContext, Exten: exten, Priority: 1, App: "Return", Args: all}
}

// isPhonesObject reports whether a step is one that phonesObject returns.
func isPhonesObject(s pbx.Step) bool {
	var devices []device
	for i, name := range strings.Split(s.Args, "&") {
		_, suffix, ok := pbx.ParseDeviceName(strings.TrimPrefix(name, "PJSIP/"))
		if i > 0 {
			if !ok || len(devices) > 0 && suffix <= devices[len(devices)-1].suffix {
				return false
			}
			devices = append(devices, device{suffix: suffix})
		}
	}
	n, _ := pbx.ParseNumber(s.Exten)
	return s == phonesObject(n, devices)
}

// disabledObject returns the step of a disabled user to which calls are led.
func disabledObject(exten string) pbx.Step {
	return pbx.Step{Context: userContext, Exten: exten, Priority: 1, App: "Goto", Args: hangupContext + "," + causeUnreachable + ",1"}
}

// disabledNumber returns the step at the number of a disabled user, without items.
func disabledNumber(exten string) pbx.Step {
	return pbx.Step{Context: pbx.Context, Exten: exten, Priority: 1, App: "Hangup", Args: causeUnreachable}
}

// isDisabled reports whether a piece is that of a disabled user.
func isDisabled(p *piece) bool {
	return p != nil && len(p.objects) == 0 && slices.ContainsFunc(p.steps, func(s pbx.Step) bool {
		return s == disabledObject(p.owner.Key) || s == disabledNumber(p.owner.Key) || s.Context == userContext && s.App == "Gosub"
	}) && !slices.ContainsFunc(p.steps, func(s pbx.Step) bool {
		return s.Context == phonesContext && s.Exten == p.owner.Key && isPhonesObject(s)
	})
}

// isUser reports whether a piece is that of a user: it has PJSIP objects, or the user is disabled.
func isUser(p *piece) bool {
	return p != nil && p.owner.Kind == pbx.KindUser && (len(p.objects) > 0 || isDisabled(p))
}

// userChange returns the change of a user.
func userChange(from, to *piece) (c pbx.Change, found bool) {
	was, is := isUser(from), isUser(to)
	switch {
	case was && !is:
		return pbx.Change{Kind: pbx.Removed, Number: number(from), Name: shownName(from), Reregister: !isDisabled(from), Phones: suffixes(from)}, true
	case is && !was:
		return pbx.Change{Kind: pbx.Added, Number: number(to), Name: shownName(to)}, true
	case !is:
		return c, false
	case isDisabled(from) != isDisabled(to):
		name := shownName(from)
		if isDisabled(from) {
			name = shownName(to)
		}
		return pbx.Change{Kind: pbx.Changed, Number: number(to), Name: name, What: []string{"enabled"}, Reregister: isDisabled(to), Phones: suffixes(from)}, true
	}
	var what []string
	var phones []int
	if !from.sharesObjects(to) {
		what, phones = alterations(from, to)
	}
	if !slices.Equal(from.steps, to.steps) {
		before, known := diallingOf(from)
		if after, ok := diallingOf(to); ok && known {
			what = append(what, before.differing(after)...)
		}
	}
	if what == nil {
		return c, false
	}
	return pbx.Change{Kind: pbx.Changed, Number: number(to), Name: shownName(to), What: what, Reregister: slices.Contains(what, "secret"), Phones: phones}, true
}

// number returns the extension number of a user's piece, 0 if its key is not a number.
func number(p *piece) pbx.Number {
	n, err := strconv.Atoi(p.owner.Key)
	if err != nil {
		return 0
	}
	return pbx.Number(n)
}

// suffixes returns the suffixes of the further phones of a user.
func suffixes(p *piece) (all []int) {
	for _, o := range p.objects {
		if _, suffix, ok := pbx.ParseDeviceName(o.id); ok && suffix > pbx.FirstDevice && o.typ == "endpoint" {
			all = append(all, suffix)
		}
	}
	return all
}

// alterations returns what differs between the objects of one user, "name", "secret", "phones", the names of call settings, "settings", and the suffixes of the further phones that must
// register again, or no longer can.
func alterations(from, to *piece) (what []string, phones []int) {
	id := to.owner.Key
	if slices.EqualFunc(from.objects, to.objects, object.equal) {
		return nil, nil
	}
	was, is := from.find("endpoint", id), to.find("endpoint", id)
	nameWas, numberWas, _ := strings.Cut(value(was, "callerid"), "<")
	nameIs, numberIs, _ := strings.Cut(value(is, "callerid"), "<")
	if nameWas != nameIs {
		what = append(what, "name")
	}
	if !sameSecret(from.find("auth", id), to.find("auth", id)) {
		what = append(what, "secret")
	}
	if numberWas != numberIs {
		what = append(what, "calls.caller_number")
	}
	if value(was, "named_call_group") != value(is, "named_call_group") {
		what = append(what, "calls.pickup_groups")
	}
	if value(was, "language") != value(is, "language") {
		what = append(what, "calls.language")
	}
	settings := otherSettings(from, to, id)
	were, are := suffixes(from), suffixes(to)
	for _, suffix := range were {
		id := pbx.DeviceName(number(from), suffix)
		if !slices.Contains(are, suffix) || !sameSecret(from.find("auth", id), to.find("auth", id)) {
			phones = append(phones, suffix)
			continue
		}
		settings = settings || otherSettings(from, to, id)
	}
	if phones != nil || !slices.Equal(were, are) {
		what = append(what, "phones")
	}
	if settings {
		what = append(what, "settings")
	}
	return what, phones
}

// otherSettings reports whether settings of a phone differ besides the name and the secret.
func otherSettings(from, to *piece, id string) bool {
	other := func(s setting) bool {
		return s.key == "callerid" || s.key == "named_call_group" || s.key == "named_pickup_group" || s.key == "language" || s.key == "password" || s.key == "password_digest" || s.key == pbx.HashAttribute
	}
	for _, typ := range pbx.UserTypes() {
		a, b := slices.DeleteFunc(slices.Clone(from.find(typ, id)), other), slices.DeleteFunc(slices.Clone(to.find(typ, id)), other)
		if !slices.Equal(a, b) {
			return true
		}
	}
	return false
}

// shownName returns the name that phones show for a user, "" if the portal did not write it: such a text could be anything, even a secret.
func shownName(p *piece) string {
	endpoint := p.find("endpoint", p.owner.Key)
	if !sealed(endpoint) {
		return ""
	}
	name, _, _ := strings.Cut(value(endpoint, "callerid"), " <")
	return strings.Trim(name, `"`)
}
