package pbx

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // time zones are the same on every host
)

// KindOrganisation is the kind of the settings of the organisation. Each tenant has one.
const KindOrganisation ThingKind = "organisation"

// OrganisationID is the id of the organisation of the default tenant.
const OrganisationID ThingID = "a0000000-0000-0000-0000-000000000001"

// Organisation is the settings of the organisation and its installation. The zero value of a field means the default.
type Organisation struct {
	Country      string       `json:"country,omitempty"`        // ISO 3166-1 alpha-2; its emergency numbers are reserved
	TimeZone     string       `json:"time_zone,omitempty"`      // as in the IANA database
	MainNumber   string       `json:"main_number,omitempty"`    // as dialled from outside
	Language     string       `json:"language,omitempty"`       // of prompts, unless Calls has another one: xx or xx_YY
	CoolDownDays *int         `json:"cool_down_days,omitempty"` // for pools without one: 0–3650; nil: NUMBER_QUARANTINE
	Calls        CallSettings `json:"calls,omitzero"`           // of users, where neither they nor their pool have settings
	Phones       PhoneNetwork `json:"phones,omitzero"`
}

// PhoneNetwork is how phones reach Asterisk. The zero value of a field means the default.
type PhoneNetwork struct {
	ServerAddress string      `json:"server_address,omitempty"` // host name or IP address that phones register at
	ServerPort    int         `json:"server_port,omitempty"`    // 1–65535
	Transport     string      `json:"transport,omitempty"`      // one of Transports
	PublicAddress string      `json:"public_address,omitempty"` // host name or IP address as seen from the internet
	Codecs        CodecList   `json:"codecs,omitempty"`         // "": ulaw,alaw
	SRTP          MediaPolicy `json:"srtp,omitempty"`
}

// CodecList is names of audio codecs in the order of preference, separated by commas.
type CodecList string

// DefaultCodecs are the codecs of phones unless others are set.
const DefaultCodecs CodecList = "ulaw,alaw"

// MediaPolicy is whether the media of phones is encrypted.
type MediaPolicy string

// The policies. The zero MediaPolicy means SRTPOff.
const (
	SRTPOff      MediaPolicy = "off"
	SRTPOffered  MediaPolicy = "offered" // encrypted if the phone supports it
	SRTPRequired MediaPolicy = "required"
)

// MaxCoolDownDays is the maximum cool-down of a released number.
const MaxCoolDownDays = 3650

// Transports returns the SIP transports of phones.
func Transports() []string { return []string{"udp", "tcp", "tls"} }

// Codecs returns the audio codecs that phones can have where it is not known which ones Asterisk has.
func Codecs() []string {
	return []string{"ulaw", "alaw", "g722", "opus", "g729", "gsm", "ilbc", "g726", "g723", "speex", "speex16", "speex32", "siren7", "siren14", "adpcm", "lpc10", "codec2"}
}

// List returns the codecs; never nil.
func (c CodecList) List() []string {
	return slices.Collect(strings.FieldsFuncSeq(string(c), func(r rune) bool { return r == ',' }))
}

// Kind implements Body.
func (*Organisation) Kind() ThingKind { return KindOrganisation }

// Clean implements Body.
func (o *Organisation) Clean() error {
	o.Country, o.MainNumber = strings.ToUpper(strings.TrimSpace(o.Country)), strings.TrimSpace(o.MainNumber)
	fields := append(o.Calls.clean(CallSettings{}), coolDownFault(o.CoolDownDays), addressFault("phones.server_address", &o.Phones.ServerAddress),
		addressFault("phones.public_address", &o.Phones.PublicAddress))
	for _, f := range []struct {
		field, value, message string
		right                 bool
	}{
		{"country", o.Country, "must be a country by ISO 3166, in two letters, such as DE", isCountry(o.Country)},
		{"time_zone", o.TimeZone, "must be a time zone of the IANA database, such as Europe/Berlin", isTimeZone(o.TimeZone)},
		{"main_number", o.MainNumber, "must be up to 32 digits, with or without + before them", isDialledNumber(o.MainNumber)},
		{"language", o.Language, "must be a language such as de or pt_BR", isLanguage(o.Language)},
	} {
		if f.value != "" && !f.right {
			fields = append(fields, FieldError{Field: f.field, Code: FieldMalformed, Message: f.message + ", or null for none"})
		}
	}
	return Invalid(faults(append(fields, o.Phones.clean()...)...)...)
}

// clean returns what is wrong with the fields that are not addresses.
func (p *PhoneNetwork) clean() (wrong []FieldError) {
	if p.ServerPort < 0 || p.ServerPort > 65535 {
		wrong = append(wrong, FieldError{Field: "phones.server_port", Code: FieldRange, Least: 1, Most: 65535, Message: "must be from 1 to 65535, or null for the default of the transport"})
	}
	if p.Transport != "" && !slices.Contains(Transports(), p.Transport) {
		wrong = append(wrong, FieldError{Field: "phones.transport", Code: FieldChoice, Message: choice(Transports())})
	}
	codecs := p.Codecs.List()
	for i, c := range codecs {
		if !isCodec.MatchString(c) {
			wrong = append(wrong, FieldError{Field: "phones.codecs", Code: FieldMalformed, Message: "must be the names of codecs, such as ulaw"})
			break
		}
		if slices.Contains(codecs[:i], c) {
			wrong = append(wrong, FieldError{Field: "phones.codecs", Code: FieldTwice, Message: "must not have the same codec twice"})
			break
		}
	}
	switch policies := []MediaPolicy{SRTPOff, SRTPOffered, SRTPRequired}; {
	case p.SRTP != "" && !slices.Contains(policies, p.SRTP):
		wrong = append(wrong, FieldError{Field: "phones.srtp", Code: FieldChoice, Message: choice(policies)})
	case cmp.Or(p.SRTP, SRTPOff) != SRTPOff && p.Transport != "tls":
		wrong = append(wrong, FieldError{
			Field: "phones.srtp", Code: FieldChoice, Message: "must be off unless phones.transport is tls: SRTP exchanges its keys in SIP messages, which other transports do not encrypt",
		})
	}
	return wrong
}

// isCodec matches what can be the name of a codec.
var isCodec = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

// isHostName matches a host name.
var isHostName = regexp.MustCompile(`^(?i)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\.?$`)

// addressFault brings an address into its normal form, and returns what is wrong with it.
func addressFault(field string, address *string) FieldError {
	*address = strings.ToLower(strings.TrimSpace(*address))
	ip, err := netip.ParseAddr(*address)
	if *address == "" || len(*address) <= 253 && (err == nil && ip.Zone() == "" || err != nil && isHostName.MatchString(*address) && strings.Trim(*address, "0123456789.") != "") {
		return FieldError{}
	}
	return FieldError{Field: field, Code: FieldMalformed, Message: "must be a host name or an IP address, without a port, such as pbx.example.com, or null for none"}
}

// coolDownFault returns what is wrong with a cool-down; its code is empty if nothing is.
func coolDownFault(days *int) FieldError {
	if days == nil || *days >= 0 && *days <= MaxCoolDownDays {
		return FieldError{}
	}
	return FieldError{
		Field: "cool_down_days", Code: FieldRange, Least: 0, Most: MaxCoolDownDays, Message: fmt.Sprintf("must be from 0 to %d, or null to inherit it", MaxCoolDownDays),
	}
}

// isTimeZone reports whether a text names a time zone.
func isTimeZone(name string) bool {
	_, err := time.LoadLocation(name)
	return err == nil && name != "Local"
}

// Level returns the call settings that users inherit from the organisation.
func (o *Organisation) Level() CallSettings {
	level := o.Calls
	level.Language = cmp.Or(level.Language, o.Language)
	return level
}

// Transport is a SIP transport of Asterisk.
type Transport struct {
	Name, Protocol string // such as transport-udp, udp
	Address        string // with the port that it listens at
}

// Within returns the settings that apply, and the level that each comes from, by its name in the contract. transports are those of Asterisk, nil if they are
// not known.
func (p PhoneNetwork) Within(transports []Transport) (PhoneNetwork, map[string]string) {
	from := map[string]string{}
	origin := func(field string, own, proposed bool) {
		switch {
		case own:
			from[field] = FromOrganisation
		case proposed:
			from[field] = FromAsterisk
		default:
			from[field] = FromDefault
		}
	}
	origin("server_address", p.ServerAddress != "", false)
	origin("public_address", p.PublicAddress != "", false)
	origin("codecs", p.Codecs != "", false)
	origin("srtp", p.SRTP != "", false)
	of := func(protocol string) int {
		return slices.IndexFunc(transports, func(t Transport) bool { return t.Protocol == protocol })
	}
	own := p.Transport != ""
	if first := slices.IndexFunc(Transports(), func(protocol string) bool { return of(protocol) >= 0 }); !own && first >= 0 {
		p.Transport = Transports()[first]
	}
	origin("transport", own, p.Transport != "")
	p.Transport = cmp.Or(p.Transport, "udp")
	own = p.ServerPort != 0
	if at := of(p.Transport); !own && at >= 0 {
		if address, err := netip.ParseAddrPort(transports[at].Address); err == nil {
			p.ServerPort = int(address.Port())
		}
	}
	origin("server_port", own, p.ServerPort != 0)
	p.ServerPort = cmp.Or(p.ServerPort, map[string]int{"tls": 5061}[p.Transport], 5060)
	p.Codecs, p.SRTP = cmp.Or(p.Codecs, DefaultCodecs), cmp.Or(p.SRTP, SRTPOff)
	return p, from
}

// References implements Body.
func (o *Organisation) References() []Reference { return o.Calls.References() }

// Claims implements Body.
func (*Organisation) Claims() []Claim { return nil }

// SetNumber implements Body.
func (*Organisation) SetNumber(string, string) {}

// Facts implements Body.
func (o *Organisation) Facts() Facts {
	facts := Facts{
		"country": o.Country, "time_zone": o.TimeZone, "main_number": o.MainNumber, "language": o.Language, "cool_down_days": optional(o.CoolDownDays),
		"phones.server_address": o.Phones.ServerAddress, "phones.server_port": unlessZero(o.Phones.ServerPort), "phones.transport": o.Phones.Transport,
		"phones.public_address": o.Phones.PublicAddress, "phones.codecs": string(o.Phones.Codecs), "phones.srtp": string(o.Phones.SRTP),
	}
	o.Calls.AddTo(facts)
	return facts
}

// optional returns a number as text, "" for none.
func optional(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

// unlessZero returns a number as text, "" for 0.
func unlessZero(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// CheckAmong implements Setting.
func (o *Organisation) CheckAmong(_ Meta, before Settings) error {
	codecs, why := before.Codecs, ": Asterisk has no others"
	if len(codecs) == 0 {
		codecs, why = Codecs(), ""
	}
	had := before.Organisation.Phones.Codecs.List()
	for _, c := range o.Phones.Codecs.List() {
		if !slices.Contains(codecs, c) && !slices.Contains(had, c) {
			return Invalid(FieldError{Field: "phones.codecs", Code: FieldChoice, Message: choice(codecs) + why})
		}
	}
	return nil
}

// Needed implements Setting.
func (*Organisation) Needed(Meta) bool { return true }

// Replace implements Body.
func (o *Organisation) Replace(user, by UserID) (Body, bool) {
	replaced := *o
	replaced.Calls = o.Calls.Replace(user, by)
	return &replaced, by != ""
}
