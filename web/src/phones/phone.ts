// The state of a user's phone, as a dot and a text.
import type { Plan, User } from '$lib/api'
import { t } from '$lib/i18n/index.svelte'
import { live } from '$lib/live.svelte'

export type PhoneState = { dot: 'ok' | 'warn' | 'off' | 'call' | 'wait'; text: string }

// waiting are the numbers that were not applied yet.
export const waiting = (plan: Plan | undefined): Set<number> => new Set(plan?.changes.filter((c) => c.kind === 'added' || c.former_number !== undefined).map((c) => c.number))

// deviceState returns the state of one phone of a user by its SIP user name; pending reports that an apply may change the phones.
export function deviceState(user: User, name: string, pending: boolean): PhoneState {
  const phone = live.phones.get(name)
  if (live.known && phone) return phone.state === 'unreachable' ? { dot: 'warn', text: t.users.unreachable } : { dot: 'ok', text: phone.user_agent || t.users.registered }
  if (!user.enabled) return { dot: 'off', text: t.users.disabled }
  if (pending) return { dot: 'wait', text: t.users.waits }
  return { dot: 'off', text: live.known ? t.users.absent : t.users.unknown }
}

export function phoneState(user: User, agent: string, waits = false): PhoneState {
  const number = String(user.extension.number)
  const phone = live.registrations.get(number)
  if (!live.known && user.enabled) return { dot: waits ? 'wait' : 'off', text: waits ? t.users.waits : t.users.unknown }
  const partner = live.partner(number)
  if (partner) return { dot: 'call', text: t.users.onCall(partner.name || partner.number) }
  if (phone?.state === 'unreachable') return { dot: 'warn', text: t.users.unreachable }
  if (phone) return { dot: 'ok', text: agent || (phone.state === 'reachable' ? t.users.reachable : t.users.registered) }
  if (!user.enabled) return { dot: 'off', text: t.users.disabled }
  if (waits) return { dot: 'wait', text: t.users.waits }
  return { dot: 'off', text: t.users.absent }
}
