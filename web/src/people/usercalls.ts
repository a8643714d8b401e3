// The call settings of a user that the page edits, as texts; '' for one that is inherited.
import type { Fault, UserV1 } from '$lib/api'
import { t } from '$lib/i18n/index.svelte'
import { nameOf, targetOf } from '../numbers/names.svelte'

export const targets = ['when_busy', 'when_unanswered', 'when_unreachable'] as const
export const fields = ['ring_seconds', 'call_limit', ...targets, 'caller_name', 'caller_number'] as const
export type FieldName = (typeof fields)[number]
export type Input = Record<FieldName, string>

const isTarget = (f: FieldName): f is (typeof targets)[number] => targets.some((name) => name === f)

type Calls = NonNullable<UserV1['calls']>
type Target = NonNullable<Calls['when_busy']>
const textOf = (value: string | number | Target | undefined): string => (typeof value === 'object' ? (value.id ? `${value.kind}:${value.id}` : value.kind) : String(value ?? ''))

export const textsOf = (calls: Calls | undefined): Input => Object.fromEntries(fields.map((f) => [f, textOf(calls?.[f])])) as Input

// patchOf returns the named settings in the form of a merge patch.
export function patchOf(input: Input, names: readonly FieldName[]) {
  const valueOf = (f: FieldName, text: string) => {
    if (!text) return null
    if (!isTarget(f)) return f === 'caller_name' || f === 'caller_number' ? text : Number(text)
    const { kind, id } = targetOf(text)
    return { kind, id: id || null }
  }
  return Object.fromEntries(names.map((f) => [f, valueOf(f, input[f].trim())]))
}

// faultsOf returns what is wrong with each setting: what the portal refused, else what can be seen here once the form was sent.
export function faultsOf(input: Input, wrong: Fault | undefined, asked: boolean): Input {
  const said = (f: FieldName) => wrong?.field(wrong.fields.find((e) => e.field === `calls.${f}` || e.field.startsWith(`calls.${f}.`))?.field ?? '') ?? ''
  const range = (f: FieldName, least: number, most: number) => {
    const text = input[f].trim()
    return said(f) || (asked && text && !(/^[0-9]+$/.test(text) && Number(text) >= least && Number(text) <= most) ? t.fault.fields.out_of_range(least, most) : '')
  }
  const target = (f: FieldName) => said(f) || (asked && input[f].endsWith(':') ? t.app.required : '')
  return {
    ring_seconds: range('ring_seconds', 5, 120),
    call_limit: range('call_limit', 1, 10),
    when_busy: target('when_busy'),
    when_unanswered: target('when_unanswered'),
    when_unreachable: target('when_unreachable'),
    caller_name: said('caller_name'),
    caller_number: said('caller_number') || (asked && input.caller_number.trim() && !/^\+?[0-9]{1,32}$/.test(input.caller_number.trim()) ? t.calls.numberBad : ''),
  }
}

// inWords returns a setting in words.
export function inWords(f: FieldName, text: string): string {
  if (f === 'ring_seconds' && text) return t.ringGroup.secondsOf(Number(text))
  if (f === 'call_limit') return text ? t.calls.atMost(Number(text)) : t.calls.noLimit
  if (!isTarget(f) || !text) return text
  const { kind, id } = targetOf(text)
  return kind === 'hangup' ? t.ringGroup.toHangup : t.ringGroup.toWhom(nameOf(kind, id))
}

// rows returns what applies, with the labels; of names and numbers only those of the user.
export function rows(user: UserV1): { label: string; text: string; own: boolean }[] {
  const [own, effective] = [textsOf(user.calls), textsOf(user.effective_calls)]
  return fields.filter((f) => own[f] || !f.startsWith('caller')).map((f) => ({ label: t.calls.labels[f], text: inWords(f, effective[f]), own: own[f] !== '' }))
}
