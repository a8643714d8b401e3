// The fields of a user that can be edited, as texts.
import type { Fault, UserV1 } from '$lib/api'
import { t } from '$lib/i18n/index.svelte'
import { users } from '$lib/store.svelte'
import type { Difference, Versioned } from '$lib/versioned.svelte'
import * as calls from '../forms/callsettings'

export const fields = ['name', 'email', 'number'] as const
export type Input = Record<(typeof fields)[number], string>

export const textsOf = (u: UserV1): Input => ({ name: u.name, email: u.email ?? '', number: u.number })

// movedIn returns what others have changed of a user since a change of it began.
export function movedIn({ began, now }: Versioned<UserV1>): Difference[] {
  if (!began || !now) return []
  const [from, to] = [textsOf(began), textsOf(now)]
  const all: Difference[] = fields.filter((f) => from[f] !== to[f]).map((f) => ({ label: t.users[f], from: from[f], to: to[f] }))
  if (began.enabled !== now.enabled) all.push({ label: t.users.status, from: statusOf(began.enabled), to: statusOf(now.enabled) })
  const [were, are] = [calls.textsOf(began.calls), calls.textsOf(now.calls)]
  if (began.calls && now.calls) for (const f of calls.fields) if (were[f] !== are[f]) all.push({ label: t.calls.labels[f], from: calls.inWords(f, were[f]), to: calls.inWords(f, are[f]) })
  return all
}

export const statusOf = (enabled: boolean): string => (enabled ? t.users.enabled : t.users.disabled)

// numberFault returns what is wrong with a number that the portal refused, with who has it as far as the page knows.
export function numberFault(wrong: Fault | undefined, number: string): string {
  if (wrong?.code === 'number_taken') {
    const holder = users.data?.find((u) => String(u.extension.number) === number)
    return holder ? t.users.numberOf(number, holder.name) : t.fault.codes.number_taken ?? ''
  }
  return wrong?.fields.some((f) => f.field === 'number' && f.code === 'taken') ? t.users.numberEmergency : (wrong?.field('number') ?? '')
}
