package pbx

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Setting is the Body of an item that is a setting: calls do not lead to it.
type Setting interface {
	Body
	// CheckAmong returns the error of a rule that the item breaks. before are the settings as stored.
	CheckAmong(self Meta, before Settings) error
	// Needed reports whether the item cannot be deleted.
	Needed(self Meta) bool
}

// Settings are what the database has of the organisation and its pools.
type Settings struct {
	Organisation Organisation // the zero Organisation if there is none
	Pools        []NumberPool // ordered by Short
	Codecs       []string     // the audio codecs of Asterisk, by which the organisation is checked; none if they are not known
}

// SettingsOf returns the settings in these items. A tenant without pools has the default ones.
func SettingsOf(items []Item) (s Settings) {
	for _, i := range items {
		switch b := i.Body.(type) {
		case *Organisation:
			s.Organisation = *b
		case *Pool:
			s.Pools = append(s.Pools, NumberPool{i.Meta, *b})
		}
	}
	if s.Pools == nil {
		s.Pools = []NumberPool{
			{Meta{ID: UserPoolID, Kind: KindPool, Short: 1, Name: "Users"}, Pool{Use: ForUsers, First: FirstNumber, Last: LastNumber, Order: LowestFirst}},
			{Meta{ID: FeaturePoolID, Kind: KindPool, Short: 2, Name: "Features"}, Pool{Use: ForFeatures, First: 600, Last: 699, Order: LowestFirst}},
		}
	}
	return s
}

// With returns the settings with an item that was added or changed.
func (s Settings) With(i Item) Settings {
	switch b := i.Body.(type) {
	case *Organisation:
		s.Organisation = *b
	case *Pool:
		s.Pools = slices.Clone(s.Pools)
		now := NumberPool{i.Meta, *b}
		if at := slices.IndexFunc(s.Pools, func(p NumberPool) bool { return p.ID == i.ID }); at >= 0 {
			s.Pools[at] = now
		} else {
			s.Pools = append(s.Pools, now)
		}
	}
	return s
}

// Without returns the settings without a pool that is deleted.
func (s Settings) Without(pool ThingID) Settings {
	s.Pools = slices.DeleteFunc(slices.Clone(s.Pools), func(p NumberPool) bool { return p.ID == pool })
	return s
}

// PoolsFor returns the pools for a use, the default one first.
func (s Settings) PoolsFor(use PoolUse) (pools []NumberPool) {
	for _, p := range s.Pools {
		if p.Use == use {
			pools = append(pools, p)
		}
	}
	return pools
}

// PoolOf returns the pool with a number; ok is false if none has it.
func (s Settings) PoolOf(n Number) (p NumberPool, ok bool) {
	for _, p = range s.Pools {
		if p.Contains(n) {
			return p, true
		}
	}
	return NumberPool{}, false
}

// CoolDown returns how long a released number of a pool is not assigned again. usual is that of the installation.
func (s Settings) CoolDown(p NumberPool, usual time.Duration) time.Duration {
	if days := cmp.Or(p.CoolDownDays, s.Organisation.CoolDownDays); days != nil {
		return time.Duration(*days) * 24 * time.Hour
	}
	return usual
}

// PoolWith returns the pool with an id; ok is false if there is none.
func (s Settings) PoolWith(id ThingID) (p NumberPool, ok bool) {
	i := slices.IndexFunc(s.Pools, func(p NumberPool) bool { return p.ID == id })
	if i < 0 {
		return p, false
	}
	return s.Pools[i], true
}

// Reserved reports whether a number is an emergency number in the country of the organisation, or one that phones treat as such everywhere.
func (s Settings) Reserved(n Number) bool { return s.Organisation.reserved(strconv.Itoa(int(n))) }

// Levels returns the call settings that users inherit.
func (s Settings) Levels() Levels {
	l := Levels{Organisation: s.Organisation.Level()}
	for _, p := range s.Pools {
		if p.Calls != (CallSettings{}) {
			l.Pools = append(l.Pools, PoolLevel{p.First, p.Last, p.Calls})
		}
	}
	return l
}

// NeverDeleted returns the error of a setting that cannot be deleted.
func NeverDeleted(kind ThingKind, name string) *Error {
	return &Error{
		Kind: KindConflict, Code: CodeInUse,
		Msg: fmt.Sprintf("the %s %q is needed, and cannot be deleted; nothing was changed: change it instead", words(kind), name),
	}
}

// NeededForCalls returns the error of a setting that cannot be deleted because calls would then have a fault, which is given in a sentence.
func NeededForCalls(kind ThingKind, name, fault string) *Error {
	return &Error{
		Kind: KindConflict, Code: CodeInUse,
		Msg: fmt.Sprintf("the call settings of the %s %q are needed; nothing was changed. Without them: %s", words(kind), name, fault),
	}
}

// ReservedInUse returns the error of a field that would reserve a number that is in use.
func ReservedInUse(field, number string, by Holder) *Error {
	err := NumberTaken(field, number, by)
	err.Msg = "the number " + number + " is an emergency number there, and is in use; nothing was changed: " + err.Fields[0].Message
	return err
}

// Effective are the settings of an organisation that apply.
type Effective struct {
	Calls     CallSettings // of users without settings of their own
	Phones    PhoneNetwork
	CoolDown  time.Duration     // of pools without one
	Origins   map[string]string // the level that each setting comes from, by its name in the contract
	Emergency []string
}

// EffectiveOf returns the settings that apply. installation are the call settings of the installation, quarantine its cool-down, and transports those of
// Asterisk, nil if they are not known.
func EffectiveOf(o Organisation, installation CallSettings, quarantine time.Duration, transports []Transport) Effective {
	s := Settings{Organisation: o}
	phones, from := o.Phones.Within(transports)
	e := Effective{
		Calls: s.Levels().Of(User{}, installation), Phones: phones, CoolDown: s.CoolDown(NumberPool{}, quarantine), Origins: map[string]string{}, Emergency: o.Emergency(),
	}
	for field, level := range from {
		e.Origins["phones."+field] = level
	}
	for field, level := range s.Levels().Origins(User{}, installation) {
		if e.Calls.has(field) { // the name and number that phones show are those of each user
			e.Origins[factPrefix+field] = level
		}
	}
	switch {
	case o.CoolDownDays != nil:
		e.Origins["cool_down_days"] = FromOrganisation
	case quarantine != 0:
		e.Origins["cool_down_days"] = FromEnvironment
	default:
		e.Origins["cool_down_days"] = FromDefault
	}
	return e
}
