package live

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// model is the state reported by Asterisk, and the part of it that was published. It has no clock and no lock. Everything that grows with input from the
// phone network is bounded, and the cost of an event depends only on its own phone or channel.
type model struct {
	extensions extensions
	phones     map[string]map[string]*contact // by the AOR and the URI; of each AOR at most mostPlaces
	contacts   int
	channels   map[string]*channel
	groups     map[string]*legs // the channels of a call, by the first channel
	more       more
	switches   map[pbx.Number]pbx.Switches // of users who have one on

	toldPhones map[string]map[string]Registration // by the AOR and the address
	toldCount  int                                // of registrations
	toldCalls  map[string]Call
	untold     []Event
}

// more counts what exceeds the limits.
type more struct{ contacts, channels int }

// contact is a registered contact of a phone.
type contact struct {
	asterisk.Registered

	state asterisk.ContactState
	since time.Time
	shown Registration // its published form
}

// channel is one leg of a call, as far as it is relevant here.
type channel struct {
	id, linked string
	serial     uint64 // of the id
	local      bool   // it is one of Asterisk's Local channels
	up         bool
	progress   int
	at         int    // its position in the heap of its call
	party      Party  // its end of the call
	ours       bool   // it is an extension
	dialled    string // its published form
	dialledOur bool   // it is an extension
	since      time.Time
}

func newModel() *model {
	return &model{
		phones: map[string]map[string]*contact{}, channels: map[string]*channel{}, groups: map[string]*legs{},
		switches: map[pbx.Number]pbx.Switches{}, toldPhones: map[string]map[string]Registration{}, toldCalls: map[string]Call{},
	}
}

// news returns the changes since the last call.
func (m *model) news() []Event {
	news := m.untold
	m.untold = nil
	return news
}

// take applies an event. It returns how long to wait before registrations should be listed again; 0 means not at all.
func (m *model) take(e asterisk.Event, now time.Time) (relist time.Duration) {
	switch e.Kind {
	case asterisk.EventContact, asterisk.EventContactGone:
		return m.takeContact(e, now)
	case asterisk.EventChannelNew, asterisk.EventChannel, asterisk.EventChannelGone:
		m.takeChannel(e, now)
	case asterisk.EventReloaded:
		return afterReload
	case asterisk.EventBooted, asterisk.EventLost, asterisk.EventSwitched:
	}
	return 0
}

// replaceSwitches replaces all switches by those that Asterisk lists.
func (m *model) replaceSwitches(all map[string]asterisk.Switches) {
	for number := range m.switches {
		if _, on := all[strconv.Itoa(int(number))]; !on {
			m.setSwitches(number, pbx.Switches{})
		}
	}
	for _, exten := range slices.Sorted(maps.Keys(all)) {
		if number, ok := m.extensions.parse(exten); ok {
			m.setSwitches(number, pbx.Switches(all[exten]))
		}
	}
}

// setSwitches changes the switches of a user.
func (m *model) setSwitches(number pbx.Number, to pbx.Switches) {
	if m.switches[number] == to {
		return
	}
	if m.switches[number] = to; to == (pbx.Switches{}) {
		delete(m.switches, number)
	}
	m.untold = append(m.untold, Event{Switches: &Switches{to, number}})
}

// allSwitches returns the switches of all users who have one on.
func (m *model) allSwitches() []Switches {
	all := make([]Switches, 0, len(m.switches))
	for _, number := range slices.Sorted(maps.Keys(m.switches)) {
		all = append(all, Switches{m.switches[number], number})
	}
	return all
}

func (m *model) takeContact(e asterisk.Event, now time.Time) (relist time.Duration) {
	aor := e.Contact.AOR
	if !m.extensions.hasPhone(aor) || len(e.Contact.URI) > longestURI {
		return 0
	}
	if e.Kind == asterisk.EventContactGone {
		m.dropContact(aor, e.Contact.URI)
	} else {
		if m.phones[aor][e.Contact.URI] == nil {
			relist = afterPhone
		}
		if !m.putContact(e.Contact, &e.State, now) {
			return relist // the list counts it
		}
	}
	m.tellPhone(aor)
	return relist
}

// putContact adds or updates a contact, and reports whether there was room. A missing state leaves the old one.
func (m *model) putContact(r asterisk.Registered, state *asterisk.ContactState, now time.Time) bool {
	c := m.phones[r.AOR][r.URI]
	if c == nil {
		if m.contacts >= mostPhones || len(m.phones[r.AOR]) >= mostPlaces {
			return false
		}
		c = &contact{Registered: asterisk.Registered{AOR: r.AOR, URI: r.URI}, since: now}
		if m.phones[r.AOR] == nil {
			m.phones[r.AOR] = map[string]*contact{}
		}
		m.phones[r.AOR][r.URI] = c
		m.contacts++
	}
	if r.ID != "" { // from a list, which has all the details
		c.Registered = r
	}
	if state != nil {
		c.state = *state
	}
	c.shown = c.view()
	return true
}

func (m *model) dropContact(aor, uri string) {
	if m.phones[aor][uri] == nil {
		return
	}
	m.contacts--
	delete(m.phones[aor], uri)
	if len(m.phones[aor]) == 0 {
		delete(m.phones, aor)
	}
}

func (m *model) takeChannel(e asterisk.Event, now time.Time) {
	known := m.channels[e.Channel.ID]
	if known == nil && e.Kind != asterisk.EventChannelNew { // the last event of one that has ended, or one that exceeded the limits
		if e.Kind == asterisk.EventChannelGone {
			m.more.channels = max(m.more.channels-1, 0)
		}
		return
	}
	before := e.Channel.Linked
	if known != nil {
		before = known.linked
	}
	if e.Kind == asterisk.EventChannelGone {
		m.dropChannel(e.Channel.ID)
	} else {
		m.putChannel(e.Channel, now)
	}
	m.tellCall(before)
	if e.Channel.Linked != before {
		m.tellCall(e.Channel.Linked)
	}
}

func (m *model) putChannel(c asterisk.Channel, now time.Time) {
	known := m.channels[c.ID]
	if known == nil {
		if len(m.channels) >= mostChannels {
			m.more.channels++
			return
		}
		known = &channel{id: c.ID, serial: serial(c.ID), since: now.Add(-c.Age)}
		m.channels[c.ID] = known
	} else {
		m.ungroup(known)
	}
	known.linked, known.local, known.up, known.progress = c.Linked, strings.HasPrefix(c.Name, "Local/"), c.State == "Up", progress(c.State)
	known.party, known.ours = m.extensions.party(c)
	if known.dialled == "" && !slices.Contains([]string{"s", "h", "i", "t", "o", "T", "e"}, c.Exten) { // these are special extensions of a dialplan
		known.dialled = clean(c.Exten, longestName)
		_, known.dialledOur = m.extensions.parse(c.Exten)
	}
	if m.groups[c.Linked] == nil {
		m.groups[c.Linked] = &legs{}
	}
	m.groups[c.Linked].add(known)
}

func (m *model) dropChannel(id string) {
	if c := m.channels[id]; c != nil {
		m.ungroup(c)
		delete(m.channels, id)
	}
}

func (m *model) ungroup(c *channel) {
	group := m.groups[c.linked]
	group.remove(c)
	if group.size == 0 {
		delete(m.groups, c.linked)
	}
}

// knows reports whether the state of that contact is known.
func (m *model) knows(r asterisk.Registered) bool { return m.phones[r.AOR][r.URI] != nil }

// replace replaces the state by what Asterisk lists. Known entries keep their start times.
func (m *model) replace(all listing, now time.Time) {
	if all.extensions != nil {
		m.extensions = all.extensions
	}
	m.replaceSwitches(all.switches)
	listed := map[string]map[string]bool{}
	for _, r := range all.contacts {
		if m.extensions.hasPhone(r.AOR) {
			if listed[r.AOR] == nil {
				listed[r.AOR] = map[string]bool{}
			}
			listed[r.AOR][r.URI] = true
		}
	}
	for aor, contacts := range m.phones { // first, to make room
		for uri := range contacts {
			if !listed[aor][uri] {
				m.dropContact(aor, uri)
			}
		}
	}
	m.more.contacts = all.more.contacts
	for _, r := range all.contacts {
		if !listed[r.AOR][r.URI] {
			continue
		}
		var state *asterisk.ContactState
		if s, found := all.states[r.ID]; found {
			state = &s
		}
		if !m.putContact(r, state, now) {
			m.more.contacts++
		}
	}
	if all.whole {
		ids := make(map[string]bool, len(all.channels))
		for _, c := range all.channels {
			ids[c.ID] = true
		}
		for id := range m.channels { // first, to make room
			if !ids[id] {
				m.dropChannel(id)
			}
		}
		m.more.channels = all.more.channels
		for _, c := range all.channels {
			m.putChannel(c, now)
		}
	}
	for _, aor := range union(m.phones, m.toldPhones) {
		m.tellPhone(aor)
	}
	for _, id := range union(m.groups, m.toldCalls) {
		m.tellCall(id)
	}
}

// union returns the keys of both maps in order.
func union[K cmp.Ordered, A, B any](a map[K]A, b map[K]B) []K {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

// tellPhone publishes the changes of a phone.
func (m *model) tellPhone(aor string) {
	now := map[string]Registration{}
	for _, c := range m.phones[aor] {
		r := c.shown
		if other, twice := now[r.Address]; !twice || other.Since.Before(r.Since) {
			now[r.Address] = r
		}
	}
	told := m.toldPhones[aor]
	for _, address := range union(now, told) {
		r, there := now[address]
		if !there {
			r = told[address]
			r.State, r.RTT = Gone, 0
		} else if r == told[address] {
			continue
		}
		m.untold = append(m.untold, Event{Registration: &r})
	}
	m.toldCount += len(now) - len(told)
	if len(now) == 0 {
		delete(m.toldPhones, aor)
	} else {
		m.toldPhones[aor] = now
	}
}

func (c *contact) view() Registration {
	number, suffix, _ := pbx.ParseDeviceName(c.AOR)
	r := Registration{
		Number: number, Suffix: suffix, State: Registered, Address: place(c.URI), UserAgent: clean(c.UserAgent, longestAgent), Since: c.since, Expires: c.Expires,
	}
	switch c.state.Status {
	case "Reachable":
		r.State, r.RTT = Reachable, c.state.RTT
	case "Unreachable":
		r.State = Unreachable
	}
	return r
}

// tellCall publishes the changes of a call.
func (m *model) tellCall(id string) {
	now, there := m.view(id)
	told, was := m.toldCalls[id]
	switch {
	case there && now != told:
		m.toldCalls[id] = now
		m.untold = append(m.untold, Event{Call: &now})
	case was && !there:
		delete(m.toldCalls, id)
		told.State = Ended
		m.untold = append(m.untold, Event{Call: &told})
	}
}

// view combines the related channels to one call; ok is false if none of its ends is an extension.
func (m *model) view(id string) (call Call, ok bool) {
	group := m.groups[id]
	if group == nil {
		return Call{}, false
	}
	from := group.first()
	if from == nil {
		return Call{}, false
	}
	told, was := m.toldCalls[id]
	if was && group.count() == 1 && from.id != id { // the leg it began with has just ended, and this one will, too
		return told, true
	}
	call = Call{ID: clean(id, longestName), State: Ringing, From: from.party, Since: from.since}
	up := from.up
	var toOurs bool
	if to := group.other(from); to != nil {
		call.To, toOurs = to.party, to.ours
		up = up && to.up
	} else {
		call.To.Number, toOurs = from.dialled, from.dialledOur
		if told.To.Number == call.To.Number { // its other leg has just ended, and this one will, too
			call.To.Name = told.To.Name
		}
	}
	if up {
		call.State = Up
	}
	return call, from.ours || toOurs
}

// serial returns the counter at the end of the id of an Asterisk channel.
func serial(id string) uint64 {
	n, _ := strconv.ParseUint(id[strings.LastIndexByte(id, '.')+1:], 10, 64) // 0 for another form
	return n
}

// party returns the party at a leg, and whether it is an extension.
func (x extensions) party(c asterisk.Channel) (p Party, ours bool) {
	p.Name = clean(known(c.CallerName), longestName)
	if number, ours := x.ofChannel(c.Name); ours {
		p.Number = strconv.Itoa(int(number))
		return p, true
	}
	p.Number = clean(known(c.Number), longestName)
	return p, false
}

// registrations returns all registrations, by number, suffix and address.
func (m *model) registrations() []Registration {
	all := []Registration{}
	for _, at := range m.toldPhones {
		all = slices.AppendSeq(all, maps.Values(at))
	}
	slices.SortFunc(all, func(a, b Registration) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Suffix, b.Suffix), cmp.Compare(a.Address, b.Address))
	})
	return all
}

// calls returns all calls, oldest first.
func (m *model) calls() []Call {
	all := slices.Collect(maps.Values(m.toldCalls))
	slices.SortFunc(all, func(a, b Call) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return all
}

func (m *model) counts() counts { return counts{m.toldCount, len(m.toldCalls)} }

// leftOut describes what exceeds the limits; "" if nothing does.
func (m *model) leftOut() string {
	var parts []string
	if m.more.channels > 0 {
		parts = append(parts, fmt.Sprintf("%d more channels", m.more.channels))
	}
	if m.more.contacts > 0 {
		parts = append(parts, fmt.Sprintf("%d more registrations", m.more.contacts))
	}
	if len(parts) == 0 {
		return ""
	}
	return "and " + strings.Join(parts, " and ")
}
