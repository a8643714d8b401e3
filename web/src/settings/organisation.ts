// The settings of the organisation as the texts of forms, and in words.
import type { Fault, Organisation } from '$lib/api'
import { t } from '$lib/i18n/index.svelte'
import type { Versioned } from '$lib/versioned.svelte'
import { inWords, specsOf as callSpecs, textsOf as callTexts } from '../forms/callsettings'
import { choicesOf, differencesOf, integer, originOf, type Row, type Spec } from '../forms/spec'
import { countries, countryOf, zones } from './countries'

export const general = ['name', 'country', 'time_zone', 'main_number', 'language', 'cool_down_days'] as const
export const network = ['server_address', 'server_port', 'transport', 'public_address', 'codecs', 'srtp'] as const
export type General = (typeof general)[number]
export type Network = (typeof network)[number]

const codecsIn = (text: string): string[] => text.toLowerCase().split(/[\s,]+/).filter(Boolean)
const textOf = (value: string | number | string[] | null): string => (Array.isArray(value) ? value.join(', ') : String(value ?? ''))
const texts = <F extends string>(fields: readonly F[], from: Record<F, string | number | string[] | null>) => Object.fromEntries(fields.map((f) => [f, textOf(from[f])])) as Record<F, string>

export const generalTexts = (o: Organisation): Record<General, string> => texts(general, o)
export const networkTexts = (o: Organisation): Record<Network, string> => texts(network, o.phones)

export function generalSpecs(): Spec<General>[] {
  const { labels, hints } = t.organisation
  return [
    { id: 'name', label: labels.name },
    { id: 'country', label: labels.country, hint: hints.country, from: countries() },
    { id: 'time_zone', label: labels.time_zone, hint: t.calls.noEffect, from: zones() },
    { id: 'main_number', label: labels.main_number, hint: hints.main_number, inputmode: 'tel' },
    { id: 'language', label: labels.language, hint: t.calls.languageHint },
    { id: 'cool_down_days', label: t.pools.coolDownDays, hint: hints.cool_down_days, inputmode: 'numeric' },
  ]
}

export function networkSpecs(): Spec<Network>[] {
  const { labels, hints } = t.organisation
  return [
    { id: 'server_address', label: labels.server_address, hint: hints.server_address, placeholder: location.hostname, inputmode: 'url' },
    { id: 'server_port', label: labels.server_port, hint: hints.server_port, inputmode: 'numeric' },
    { id: 'transport', label: labels.transport, options: choicesOf({ udp: 'UDP', tcp: 'TCP', tls: 'TLS' }, t.organisation.byAsterisk) },
    { id: 'public_address', label: labels.public_address, hint: hints.public_address, inputmode: 'url' },
    { id: 'codecs', label: labels.codecs, hint: hints.codecs },
    { id: 'srtp', label: labels.srtp, hint: hints.srtp, options: choicesOf(t.organisation.encryption, t.organisation.byDefault) },
  ]
}

// generalPatch and networkPatch return the named settings in the form of a merge patch.
export const generalPatch = (input: Record<General, string>, names: readonly General[]) =>
  Object.fromEntries(names.map((f) => [f, f === 'name' ? input[f].trim() : f === 'cool_down_days' && input[f].trim() ? Number(input[f]) : input[f].trim() || null]))
export const networkPatch = (input: Record<Network, string>, names: readonly Network[]) => {
  const valueOf = (f: Network, text: string) => (!text ? null : f === 'server_port' ? Number(text) : f === 'codecs' ? codecsIn(text) : text)
  return { phones: Object.fromEntries(names.map((f) => [f, valueOf(f, input[f].trim())])) }
}

// generalFaults and networkFaults return what is wrong with each setting: what the portal refused, else what can be seen here once the form was sent.
export function generalFaults(input: Record<General, string>, wrong: Fault | undefined, asked: boolean): Record<General, string> {
  const seen: Partial<Record<General, string>> = {
    name: input.name.trim() ? '' : t.app.required,
    main_number: /^(\+?[0-9]{1,32})?$/.test(input.main_number.trim()) ? '' : t.calls.numberBad,
    language: /^([a-z]{2}(_[A-Z]{2})?)?$/.test(input.language.trim()) ? '' : t.calls.languageBad,
    cool_down_days: integer(input.cool_down_days, 0, 3650),
  }
  return Object.fromEntries(general.map((f) => [f, wrong?.field(f) || ((asked && seen[f]) ?? '')])) as Record<General, string>
}
export function networkFaults(input: Record<Network, string>, wrong: Fault | undefined, asked: boolean): Record<Network, string> {
  const codecs = codecsIn(input.codecs)
  const address = (text: string) => (/^[^\s/]*$/.test(text.trim()) && !/^[^:]+:\d+$/.test(text.trim()) ? '' : t.organisation.addressBad)
  const seen: Partial<Record<Network, string>> = {
    server_address: address(input.server_address),
    server_port: integer(input.server_port, 1, 65535),
    public_address: address(input.public_address),
    codecs: codecs.every((c, i) => /^[a-z0-9]{1,20}$/.test(c) && codecs.indexOf(c) === i) ? '' : t.organisation.codecsBad,
    srtp: ['', 'off'].includes(input.srtp) || input.transport === 'tls' ? '' : t.organisation.srtpBad,
  }
  const said = (f: Network) => {
    const found = wrong?.fields.find((e) => e.field === `phones.${f}` || e.field.startsWith(`phones.${f}.`))
    if (!found) return ''
    if (f === 'srtp') return t.organisation.srtpBad
    if (f === 'codecs' && found.code === 'not_a_choice') return t.organisation.codecsMissing((/^must be (.*?)(:|$)/.exec(found.message)?.[1] ?? '').replace(' or ', ', '))
    return f.endsWith('address') ? t.organisation.addressBad : (wrong?.field(found.field) ?? '')
  }
  return Object.fromEntries(network.map((f) => [f, said(f) || ((asked && seen[f]) ?? '')])) as Record<Network, string>
}

// coolDown returns in words how long a released number is not assigned again.
export function coolDown(seconds: number): string {
  if (!seconds) return t.pools.atOnce
  return seconds % 86_400 ? t.pools.hours(Math.round(seconds / 360) / 10) : t.pools.days(seconds / 86_400)
}

export const generalSays = (f: General, text: string): string =>
  f === 'country' && text ? `${countryOf(text)} (${text})` : f === 'cool_down_days' && text ? coolDown(Number(text) * 86_400) : f === 'language' ? text || t.calls.asAsterisk : text || t.organisation.notSet
export function networkSays(f: Network, text: string): string {
  if (f === 'transport') return text.toUpperCase()
  if (f === 'srtp') return t.organisation.encryption[text] ?? text
  return text || t.organisation.notSet
}

// generalRows and networkRows return what applies, and where it comes from.
export const generalRows = (o: Organisation): Row[] => {
  const own = generalTexts(o)
  const labels = { ...t.organisation.labels, cool_down_days: t.pools.coolDown }
  return general.map((f) => (f === 'cool_down_days' ? { label: labels[f], text: coolDown(o.effective_cool_down_seconds), origin: originOf(o.origins[f], 'organisation') } : { label: labels[f], text: generalSays(f, own[f]) }))
}
export const networkRows = (o: Organisation): Row[] => {
  const all = texts(network, o.effective_phones)
  return network.map((f) => ({ label: t.organisation.labels[f], text: networkSays(f, all[f]), origin: all[f] ? originOf(o.origins[`phones.${f}`], 'organisation') : '' }))
}

// movedIn returns what another administrator has changed of the organisation since a change of it began.
export const movedIn = (record: Versioned<Organisation>) => [
  ...differencesOf(record, generalSpecs(), generalTexts, generalSays),
  ...differencesOf(record, networkSpecs(), networkTexts, networkSays),
  ...differencesOf(record, callSpecs('organisation'), (o) => callTexts(o.calls), inWords),
]
