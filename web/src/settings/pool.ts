// A number pool as the texts of a form, and in words.
import type { Fault, Pool } from '$lib/api'
import { number } from '$lib/format'
import { t } from '$lib/i18n/index.svelte'
import type { Versioned } from '$lib/versioned.svelte'
import { inWords, specsOf as callSpecs, textsOf as callTexts, type Calls } from '../forms/callsettings'
import { choicesOf, differencesOf, integer, type Row, type Spec } from '../forms/spec'
import { coolDown } from './organisation'

export const fields = ['name', 'kind', 'from', 'to', 'order', 'cool_down_days'] as const
export type FieldName = (typeof fields)[number]
export type Input = Record<FieldName, string>

export const emptyInput: Input = { name: '', kind: 'users', from: '', to: '', order: 'lowest', cool_down_days: '' }
export const textsOf = (p: Pool): Input => ({ name: p.name, kind: p.kind, from: p.from, to: p.to, order: p.order, cool_down_days: String(p.cool_down_days ?? '') })

// specsOf returns the fields of a form; a default pool keeps its kind.
export function specsOf(fixed = false): Spec<FieldName>[] {
  const { labels, kinds, orders } = t.pools
  return [
    { id: 'name', label: labels.name, hint: t.pools.nameHint },
    ...(fixed ? [] : [{ id: 'kind', label: labels.kind, options: choicesOf(kinds) } as const]),
    { id: 'from', label: labels.from, inputmode: 'numeric' },
    { id: 'to', label: labels.to, inputmode: 'numeric', hint: t.pools.toHint },
    { id: 'order', label: labels.order, options: choicesOf(orders) },
    { id: 'cool_down_days', label: t.pools.coolDownDays, hint: t.pools.coolDownHint, inputmode: 'numeric' },
  ]
}

// valuesOf returns the named fields in the form of the API.
export const valuesOf = (input: Input, names: readonly FieldName[] = fields) =>
  Object.fromEntries(names.map((f) => [f, f !== 'cool_down_days' ? input[f].trim() : input[f].trim() ? Number(input[f]) : null]))

// faultsOf returns what is wrong with each field: what the portal refused, else what can be seen here once the form was sent.
export function faultsOf(input: Input, wrong: Fault | undefined, asked: boolean): Input {
  const end = (text: string) => (/^[1-9][0-9]{1,5}$/.test(text.trim()) ? '' : t.users.numberBad)
  const seen: Partial<Input> = {
    name: input.name.trim() ? '' : t.app.required,
    from: end(input.from),
    to: end(input.to) || (Number(input.to) < Number(input.from) ? t.pools.backwards : ''),
    cool_down_days: integer(input.cool_down_days, 0, 3650),
  }
  const said = (f: FieldName) => (f === 'from' && wrong?.fields.some((e) => e.field === 'from' && e.code === 'taken') ? t.pools.overlaps : (wrong?.field(f) ?? ''))
  return Object.fromEntries(fields.map((f) => [f, said(f) || ((asked && seen[f]) ?? '')])) as Input
}

export const says = (f: FieldName, text: string): string =>
  f === 'kind' ? (t.pools.kinds[text] ?? text) : f === 'order' ? (t.pools.orders[text] ?? text) : f === 'cool_down_days' ? (text ? coolDown(Number(text) * 86_400) : t.calls.inherit) : text

export const usage = (p: Pool): string => t.pools.usage(number(p.used + p.taken_on_host), number(p.size - p.used - p.taken_on_host))

// rows returns what applies, and where it comes from.
export const rows = (p: Pool): Row[] => [
  { label: t.pools.labels.range, text: `${p.from}–${p.to}` },
  { label: t.pools.labels.kind, text: says('kind', p.kind) },
  { label: t.pools.labels.used, text: usage(p) },
  { label: t.pools.labels.order, text: says('order', p.order) },
  { label: t.pools.coolDown, text: coolDown(p.effective_cool_down_seconds), origin: p.cool_down_days === null ? t.origins.inherited : '' },
]

// callRows returns the call settings of the pool itself: what users inherit beside them is shown at the organisation.
export function callRows(calls: Calls): Row[] {
  const texts = callTexts(calls)
  return callSpecs('pool').filter((s) => texts[s.id]).map((s) => ({ label: t.calls.labels[s.id], text: inWords(s.id, texts[s.id]) }))
}

// movedIn returns what another administrator has changed of a pool since a change of it began.
export const movedIn = (record: Versioned<Pool>) => [
  ...differencesOf(record, specsOf(), textsOf, says),
  ...differencesOf(record, callSpecs('pool'), (p) => callTexts(p.calls), inWords),
]
