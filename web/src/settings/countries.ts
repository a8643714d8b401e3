// The countries of ISO 3166-1 and the time zones that the browser knows, to choose from.
import { i18n } from '$lib/i18n/index.svelte'
import type { Choosable } from '$lib/ui/Pick.svelte'

const codes =
  'AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW'

// countryOf returns the name of a country in the language of the page.
export function countryOf(code: string): string {
  if (!/^[A-Z]{2}$/.test(code)) return code
  return new Intl.DisplayNames(i18n.locale, { type: 'region' }).of(code) ?? code
}

// countries returns all countries, by name.
export function countries(): Choosable[] {
  const names = new Intl.DisplayNames(i18n.locale, { type: 'region' })
  return codes
    .split(' ')
    .map((code) => ({ id: code, number: code, name: names.of(code) ?? code }))
    .sort((a, b) => a.name.localeCompare(b.name, i18n.locale))
}

// zones returns the time zones.
export const zones = (): Choosable[] => Intl.supportedValuesOf('timeZone').map((zone) => ({ id: zone, number: '', name: zone }))

// proposed returns the country and the time zone of this browser, '' for what it does not say.
export function proposed(): { country: string; time_zone: string } {
  const region = new Intl.Locale(navigator.language).maximize().region ?? ''
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? ''
  return { country: codes.includes(region) && /^[A-Z]{2}$/.test(region) ? region : '', time_zone: zone.includes('/') ? zone : '' }
}
