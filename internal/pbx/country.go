package pbx

import (
	"slices"
	"strings"
)

// countries are the codes of ISO 3166-1 alpha-2.
const countries = ` AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX ` +
	`CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE ` +
	`JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP ` +
	`NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR ` +
	`TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW `

// isCountry reports whether a text is the code of a country.
func isCountry(code string) bool { return len(code) == 2 && strings.Contains(countries, " "+code+" ") }

// everywhere are the numbers that telephones treat as emergency numbers whatever the country is.
const everywhere = "110 112 911 9911 999 000"

// emergencyNumbers are further emergency numbers of countries.
func emergencyNumbers() map[string]string {
	return map[string]string{
		"AE": "997 998", "AR": "100 101 107", "AT": "122 133 140 141 144", "AU": "106", "BE": "100 101", "BR": "190 192 193", "CH": "117 118 143 144 1414",
		"CL": "131 132 133", "CN": "119 120 122", "CO": "123", "CY": "199", "CZ": "150 155 156 158", "DK": "114", "EG": "122 123 180", "FR": "15 17 18 114 115 119 191 196",
		"GR": "100 108 166 199", "HR": "192 193 194", "HU": "104 105 107", "ID": "113 115 118 119", "IL": "100 101 102", "IN": "100 101 102 108", "IT": "113 115 118",
		"JP": "118 119", "KR": "119", "LI": "117 118 144", "LU": "113", "LV": "113", "NO": "113", "NZ": "111", "PK": "15 16 115 1122", "PL": "997 998", "PT": "117",
		"RS": "192 193 194", "RU": "101 102 103", "SA": "997 998", "SG": "995", "SI": "113", "SK": "150 155 158 159", "TH": "191 199 1669", "TR": "155 156", "TW": "119",
		"UA": "101 102 103", "VN": "113 114 115", "ZA": "10111 10177",
	}
}

// Emergency returns the emergency numbers that are reserved: no user and no item gets one of them.
func (o *Organisation) Emergency() []string {
	return strings.Fields(everywhere + " " + emergencyNumbers()[o.Country])
}

// reserved reports whether a number is reserved.
func (o *Organisation) reserved(number string) bool { return slices.Contains(o.Emergency(), number) }
