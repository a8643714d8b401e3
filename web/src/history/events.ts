// Texts of entries of the audit trail.
import type { ApplyActor, AuditEvent } from '$lib/api'
import { moment } from '$lib/format'
import { t } from '$lib/i18n/index.svelte'
import { nameOf, userOf } from '../numbers/names.svelte'

const facts = (of: unknown): Record<string, unknown> => (of ?? {}) as Record<string, unknown>

export const actorOf = (e: AuditEvent): string => e.actor.name || t.activity.kinds[e.actor.kind] || e.actor.kind

// askedBy returns who requested an apply: the authenticated caller first, then the name in the request if it differs.
export function askedBy(run: { actor: ApplyActor | null; triggered_by: string }): string {
  const a = run.actor
  if (!a) return t.apply.asked('', run.triggered_by)
  const who = a.kind === 'portal' ? t.apply.portal : a.kind === 'anonymous' ? t.apply.unasked : a.kind === 'local' ? t.apply.local(a.name) : a.kind === 'token' ? t.apply.token(a.name) : a.name
  return t.apply.asked(who, run.triggered_by)
}

// actionOf returns what was done or, for a failed apply, tried.
export const actionOf = (e: AuditEvent): string => (e.result !== 'ok' && t.activity.tried[e.action]) || (t.activity.actions[e.action] ?? e.action)

// outcomeOf returns how a failed action ended, '' for success.
export function outcomeOf(e: AuditEvent): string {
  if (e.result === 'ok') return ''
  const result = String(facts(e.after).result ?? '')
  return (Object.hasOwn(t.activity.outcomes, result) && t.activity.outcomes[result]) || (t.activity.results[e.result] ?? e.result)
}

// objectOf returns the name of an entry's object; of an apply, the revision it created.
export function objectOf(e: AuditEvent): string {
  if (e.object.name) return e.object.name
  const { revision, restored, restore } = facts(e.after)
  const back = restored ?? restore
  if (e.action === 'apply.restore' && back !== undefined) return t.activity.restoredAs(String(back), e.result === 'ok' && revision !== undefined ? String(revision) : '')
  return e.object.type === 'apply' && revision !== undefined ? t.activity.revision(String(revision)) : ''
}

// valueOf returns one value as text.
function valueOf(name: string, value: unknown): string {
  if (value === undefined || value === null) return ''
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  const words: Record<string, Partial<Record<string, string>>> = { role: t.roles, result: t.apply.results, code: t.fault.codes, strategy: t.ringGroup.strategies, verification: { confirmed: t.apply.confirmed, contradicted: t.apply.contradicted, inconclusive: t.apply.inconclusive, not_verified: t.apply.not_verified } }
  if (Object.hasOwn(words, name) && Object.hasOwn(words[name] ?? {}, text)) return words[name]?.[text] ?? text
  if (name === 'members') return text.split(' ').map((id) => userOf(id)?.name ?? id).join(', ')
  if (name === 'fallback') {
    const [kind = '', id = ''] = text.split(' ')
    return kind === 'hangup' ? t.ringGroup.toHangup : t.ringGroup.toWhom((kind === 'user' && !userOf(id) && id) || nameOf(kind, id))
  }
  if (text === 'true') return t.activity.yes
  if (text === 'false') return t.activity.no
  if (name === 'expires_at' && !Number.isNaN(Date.parse(text))) return moment(text)
  return text
}

export type Fact = { name: string; label: string; before: string; after: string }

export function factsOf(e: AuditEvent): Fact[] {
  const [before, after] = [facts(e.before), facts(e.after)]
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].map((name) => ({ name, label: (Object.hasOwn(t.activity.facts, name) && t.activity.facts[name]) || name, before: valueOf(name, before[name]), after: valueOf(name, after[name]) }))
}
