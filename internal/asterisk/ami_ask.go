package asterisk

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Registered is a registered contact. All texts except the AOR come from the phone, and may contain any characters of UTF-8.
type Registered struct {
	ID        string // Asterisk's name for it
	AOR       string
	URI       string
	UserAgent string
	Expires   time.Time
}

// ContactState is the reachability of a phone, in Asterisk's words, and its round-trip time; 0 when unknown.
type ContactState struct {
	Status string // Reachable, Unreachable, NonQualified, Unknown
	RTT    time.Duration
}

// Channel is one leg of a call.
type Channel struct {
	ID         string
	Linked     string // the ID of the first channel of its call
	Name       string // PJSIP/1000-00000001
	State      string // Down, Ring, Ringing, Up, …
	Number     string // of the caller id, as sent by the other end
	CallerName string // of the caller id, as sent by the other end
	Exten      string // the dialled extension
	Age        time.Duration
}

// EventKind is the kind of an Event.
type EventKind uint8

// Kinds of events.
const (
	EventContact     EventKind = iota // Contact is registered, in the State given
	EventContactGone                  // Contact is no longer registered
	EventChannelNew                   // Channel has begun
	EventChannel                      // Channel has changed
	EventChannelGone                  // Channel has ended
	EventBooted                       // Asterisk has started completely
	EventReloaded                     // Asterisk has reloaded its configuration
	EventLost                         // events were dropped: the state is unknown
	EventSwitched                     // a phone has changed a switch of its user with a feature code: Switched
)

// Event is an event reported by Asterisk.
type Event struct {
	Kind    EventKind
	Contact Registered // AOR and URI only
	State   ContactState
	Channel Channel

	Switched Switched
}

// Switched is a change of a switch by a feature code.
type Switched struct {
	Exten string // of the user
	Key   string // of the switch: dnd, cfa, cfb, cfn or cfu
	Value string // "1" or "" for dnd, else the number that calls are forwarded to, "" for none
}

// Registrations lists the registered phones, as far as their registrar stores contacts in Asterisk's own database, which is the default. It is the only
// listing that needs no permission to change anything. more is the number of registrations beyond the returned ones.
func (a *AMI) Registrations(ctx context.Context) (all []Registered, more int, err error) {
	got, err := a.ask(ctx, []field{{"Action", "DBGetTree"}, {"Family", "registrar"}, {"Key", "contact"}})
	if err != nil {
		return nil, 0, err
	}
	registered := make([]Registered, 0, len(got[0].items))
	for _, item := range got[0].items {
		if r, ok := parseRegistered(item); ok {
			registered = append(registered, r)
		}
	}
	return registered, got[0].more, nil
}

// contactID matches Asterisk's name of a contact: its AOR and a suffix.
var contactID = regexp.MustCompile(`^([A-Za-z0-9_.-]+);@[0-9a-f]{32}$`)

// parseRegistered reads one entry of the registrar; ok is false if its name or form is not Asterisk's.
func parseRegistered(item packet) (Registered, bool) {
	id, ok := strings.CutPrefix(item.get("Key"), "/registrar/contact/")
	found := contactID.FindStringSubmatch(id)
	if !ok || found == nil {
		return Registered{}, false
	}
	var inside struct {
		URI       string `json:"uri"`
		UserAgent string `json:"user_agent"`
		Expires   string `json:"expiration_time"`
	}
	if err := json.Unmarshal([]byte(item.get("Val")), &inside); err != nil || inside.URI == "" {
		return Registered{}, false
	}
	r := Registered{ID: strings.Clone(id), AOR: strings.Clone(found[1]), URI: cut(inside.URI, maxURI), UserAgent: cut(inside.UserAgent, maxText)}
	if at, err := strconv.ParseInt(inside.Expires, 10, 64); err == nil && at > 0 {
		r.Expires = time.Unix(at, 0)
	}
	return r, true
}

// statesAtOnce is how many phones are queried before the answers are awaited.
const statesAtOnce = 100

// States returns whether the phone at each contact is reachable. Contacts that are gone meanwhile are missing.
func (a *AMI) States(ctx context.Context, places []Registered) (map[string]ContactState, error) {
	states := make(map[string]ContactState, len(places))
	for len(places) > 0 {
		some := places[:min(statesAtOnce, len(places))]
		places = places[len(some):]
		var actions [][]field
		for _, r := range some {
			if !contactID.MatchString(r.ID) {
				return nil, fmt.Errorf("%w: %q is no name of a contact", ErrCommand, clip(r.ID))
			}
			for _, what := range []string{"status", "rtt"} {
				actions = append(actions, []field{{"Action", "Getvar"}, {"Variable", "PJSIP_CONTACT(" + r.ID + "," + what + ")"}})
			}
		}
		got, err := a.ask(ctx, actions...)
		if err != nil {
			return nil, err
		}
		for i, r := range some {
			if status := got[2*i].response.get("Value"); status != "" {
				states[r.ID] = ContactState{status, microseconds(got[2*i+1].response.get("Value"))}
			}
		}
	}
	return states, nil
}

// Channels lists the channels of all calls. more is the number of channels beyond the returned ones.
func (a *AMI) Channels(ctx context.Context) (all []Channel, more int, err error) {
	got, err := a.ask(ctx, []field{{"Action", "CoreShowChannels"}})
	if err != nil {
		return nil, 0, err
	}
	channels := make([]Channel, 0, len(got[0].items))
	for _, item := range got[0].items {
		if c := toChannel(item); c.ID != "" {
			channels = append(channels, c)
		}
	}
	return channels, got[0].more, nil
}

// Version returns the number of the running Asterisk, for example 22.10.1.
func (a *AMI) Version(ctx context.Context) (string, error) {
	got, err := a.ask(ctx, []field{{"Action", "CoreSettings"}})
	if err != nil {
		return "", err
	}
	return clip(got[0].response.get("AsteriskVersion")), nil
}

// toEvent reads an event; ok is false for one without relevant information.
func toEvent(p packet) (e Event, ok bool) {
	switch p.get("Event") {
	case "ContactStatus":
		e.Contact = Registered{AOR: cut(p.get("AOR"), maxName), URI: cut(p.get("URI"), maxURI)}
		e.State = ContactState{cut(p.get("ContactStatus"), maxName), microseconds(p.get("RoundtripUsec"))}
		e.Kind = EventContact
		if e.State.Status == "Removed" {
			e.Kind = EventContactGone
		}
		return e, e.Contact.AOR != "" && e.Contact.URI != ""
	case "Newchannel":
		e.Kind = EventChannelNew
	case "Newstate", "NewCallerid", "NewConnectedLine", "BridgeEnter", "BridgeLeave":
		e.Kind = EventChannel
	case "Hangup":
		e.Kind = EventChannelGone
	case "FullyBooted":
		return Event{Kind: EventBooted}, true
	case "Reload":
		return Event{Kind: EventReloaded}, true
	case "UserEvent":
		e.Kind, e.Switched = EventSwitched, Switched{cut(p.get("User"), maxName), cut(p.get("Key"), maxName), cut(p.get("Value"), maxName)}
		_, known := Switches{}.With(e.Switched.Key, e.Switched.Value)
		return e, known && p.get("UserEvent") == "SCState" && extension.MatchString(e.Switched.Exten)
	default:
		return Event{}, false
	}
	e.Channel = toChannel(p)
	return e, e.Channel.ID != ""
}

// Maximum lengths of texts from Asterisk, in bytes. Its own names are far shorter, so a longer one is invalid; of texts from phones the beginning is
// enough.
const (
	maxName = 256
	maxText = 512
	maxURI  = 1025 // of which values over 1024 are rejected later
)

// cut returns a copy of text of at most so many bytes, so that a long packet is not kept alive by a short text in it.
func cut(text string, most int) string {
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return strings.Clone(text)
}

// toChannel reads a channel; one without an ID is invalid.
func toChannel(p packet) Channel {
	id := p.get("Uniqueid")
	linked := cmp.Or(p.get("Linkedid"), id)
	if len(id) > maxName || len(linked) > maxName {
		return Channel{}
	}
	return Channel{
		ID: strings.Clone(id), Linked: strings.Clone(linked), Name: cut(p.get("Channel"), maxName), State: cut(p.get("ChannelStateDesc"), maxName),
		Number: cut(p.get("CallerIDNum"), maxText), CallerName: cut(p.get("CallerIDName"), maxText), Exten: cut(p.get("Exten"), maxText), Age: clock(p.get("Duration")),
	}
}

// clock reads hours:minutes:seconds.
func clock(text string) time.Duration {
	var h, m, s uint16
	if n, err := fmt.Sscanf(text, "%d:%d:%d", &h, &m, &s); n != 3 || err != nil {
		return 0
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second
}

// microseconds reads a number; anything else, and implausible values, are 0.
func microseconds(text string) time.Duration {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// Rights are the read and write permissions of an AMI user in manager.conf.
type Rights struct{ Read, Write []string }

// managerRight matches a line of `manager show user` that lists permissions.
var managerRight = regexp.MustCompile(`(?m)^\s*(read|write) perm: (.*?)\s*$`)

// ManagerRights returns the permissions of an AMI user, read through the control socket. Asterisk prints no secret here. If there is no such user, it
// returns nil.
func (c *Control) ManagerRights(ctx context.Context, user string) (*Rights, error) {
	if !IsPlain(user) {
		return nil, fmt.Errorf("%w: %q is no plain name", ErrCommand, clip(user))
	}
	answer, err := c.ask(ctx, "manager show user "+user)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(strings.TrimSpace(answer), "There is no manager called") {
		return nil, nil //nolint:nilnil // there is no such user
	}
	found := managerRight.FindAllStringSubmatch(answer, -1)
	if len(found) != 2 || found[0][1] != "read" || found[1][1] != "write" {
		return nil, about("the permissions of its manager user", fmt.Errorf("%w: %q", ErrUnparsable, clip(answer)))
	}
	return &Rights{Read: rights(found[0][2]), Write: rights(found[1][2])}, nil
}

func rights(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '<' || r == '>' })
}
