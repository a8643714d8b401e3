// The call settings of a user, a pool or the organisation, as texts; '' for one that is inherited.
import type { Fault, UserV1 } from '$lib/api'
import { t } from '$lib/i18n/index.svelte'
import { nameOf, targetOf } from '../numbers/names.svelte'
import { choicesOf, integer, originOf, type Row, type Spec } from './spec'

const targets = ['when_busy', 'when_unanswered', 'when_unreachable'] as const
export const fields = ['ring_seconds', 'call_limit', ...targets, 'caller_name', 'caller_number', 'pickup_groups', 'language', 'record', 'dial_class'] as const
export type FieldName = (typeof fields)[number]
export type Input = Record<FieldName, string>
// Level is whose settings they are.
export type Level = 'user' | 'pool' | 'organisation'

const isTarget = (f: FieldName): f is (typeof targets)[number] => targets.some((name) => name === f)

export type Calls = NonNullable<UserV1['calls']>
type Target = NonNullable<Calls['when_busy']>
const textOf = (value: string | number | number[] | Target | undefined): string =>
  Array.isArray(value) ? value.join(', ') : typeof value === 'object' ? (value.id ? `${value.kind}:${value.id}` : value.kind) : String(value ?? '')

export const textsOf = (calls: Calls | undefined): Input => Object.fromEntries(fields.map((f) => [f, textOf(calls?.[f])])) as Input

const groupsIn = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean)

// patchOf returns the named settings in the form of a merge patch.
export function patchOf(input: Input, names: readonly FieldName[]) {
  const valueOf = (f: FieldName, text: string) => {
    if (!text) return null
    if (f === 'ring_seconds' || f === 'call_limit') return Number(text)
    if (f === 'pickup_groups') return groupsIn(text).map(Number)
    if (!isTarget(f)) return text
    const { kind, id } = targetOf(text)
    return { kind, id: id || null }
  }
  return Object.fromEntries(names.map((f) => [f, valueOf(f, input[f].trim())]))
}

// faultsOf returns what is wrong with each setting: what the portal refused, else what can be seen here once the form was sent.
export function faultsOf(input: Input, wrong: Fault | undefined, asked: boolean): Input {
  const said = (f: FieldName) => wrong?.field(wrong.fields.find((e) => e.field === `calls.${f}` || e.field.startsWith(`calls.${f}.`))?.field ?? '') ?? ''
  const seen = (f: FieldName): string => {
    const text = input[f].trim()
    if (!text) return ''
    if (f === 'ring_seconds') return integer(text, 5, 120)
    if (f === 'call_limit') return integer(text, 0, 10)
    if (isTarget(f)) return text.endsWith(':') ? t.app.required : ''
    if (f === 'caller_number') return /^\+?[0-9]{1,32}$/.test(text) ? '' : t.calls.numberBad
    if (f === 'pickup_groups') return groupsIn(text).every((n) => /^\d{1,2}$/.test(n) && Number(n) <= 63) ? '' : t.calls.groupsBad
    if (f === 'language') return /^[a-z]{2}(_[A-Z]{2})?$/.test(text) ? '' : t.calls.languageBad
    return f === 'dial_class' && !/^[a-z0-9-]{1,40}$/.test(text) ? t.calls.classBad : ''
  }
  return Object.fromEntries(fields.map((f) => [f, said(f) || (asked ? seen(f) : '')])) as Input
}

// specsOf returns the fields of a form.
export function specsOf(level: Level): Spec<FieldName>[] {
  const { labels } = t.calls
  const [empty, inherited] = level === 'organisation' ? [t.calls.empty.default, t.organisation.byDefault] : [t.calls.empty.inherited, t.calls.inherit]
  const name = level === 'user' ? t.calls.nameHint : t.calls.nameAbove
  const number = level === 'user' ? t.calls.numberHint : t.calls.numberAbove
  return [
    { id: 'ring_seconds', label: t.calls.seconds, inputmode: 'numeric', hint: t.calls.secondsHint(empty) },
    { id: 'call_limit', label: t.calls.limit, inputmode: 'numeric', hint: t.calls.limitHint(empty) },
    ...targets.map((id) => ({ id, label: labels[id], inherited: level !== 'organisation' ? inherited : id === 'when_unreachable' ? t.calls.asUnanswered : t.calls.ends })),
    { id: 'caller_name', label: labels.caller_name, hint: name },
    { id: 'caller_number', label: labels.caller_number, inputmode: 'tel', hint: number },
    { id: 'pickup_groups', label: labels.pickup_groups, hint: t.calls.groupsHint },
    { id: 'language', label: labels.language, hint: t.calls.languageHint },
    { id: 'record', label: labels.record, hint: t.calls.noEffect, options: choicesOf(t.calls.records, inherited) },
    { id: 'dial_class', label: labels.dial_class, hint: t.calls.classHint },
  ]
}

// inWords returns a setting in words.
export function inWords(f: FieldName, text: string): string {
  if (f === 'ring_seconds' && text) return t.ringGroup.secondsOf(Number(text))
  if (f === 'call_limit') return Number(text) ? t.calls.atMost(Number(text)) : t.calls.noLimit
  if (f === 'record') return t.calls.records[text] ?? text
  if (f === 'language') return text || t.calls.asAsterisk
  if (f === 'pickup_groups' || f === 'dial_class') return text || t.calls.none
  if (!isTarget(f) || !text) return text
  const { kind, id } = targetOf(text)
  return kind === 'hangup' ? t.ringGroup.toHangup : t.ringGroup.toWhom(nameOf(kind, id))
}

// rows returns what applies, and where it comes from; a caller ID only if it is not that of the user. `level` is whose settings they are.
export function rows(calls: Calls | undefined, effective: Calls, origins: Partial<Record<string, string>>, level: Level): Row[] {
  const [own, all] = [textsOf(calls), textsOf(effective)]
  const from = (f: FieldName) => (own[f] ? level : (origins[f] ?? 'default'))
  return fields
    .filter((f) => !f.startsWith('caller') || (all[f] && from(f) !== 'default'))
    .map((f) => ({ label: t.calls.labels[f], text: inWords(f, all[f]), origin: originOf(from(f), level) }))
}
