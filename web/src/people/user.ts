// The fields of a user that can be edited, as texts.
import type { Fault, UserV1 } from '$lib/api'
import { t } from '$lib/i18n/index.svelte'
import { users } from '$lib/store.svelte'
import type { Difference, Versioned } from '$lib/versioned.svelte'
import * as calls from '../forms/callsettings'
import { differencesOf } from '../forms/spec'

export const fields = ['name', 'email', 'number'] as const
export type Input = Record<(typeof fields)[number], string>

export const textsOf = (u: UserV1): Input => ({ name: u.name, email: u.email ?? '', number: u.number })

// movedIn returns what another administrator has changed of a user since a change of it began.
export const movedIn = (record: Versioned<UserV1>): Difference[] => [
  ...differencesOf(record, fields.map((id) => ({ id, label: t.users[id] })), textsOf, (_, text) => text),
  ...differencesOf(record, [{ id: 'status', label: t.users.status }], (u) => ({ status: statusOf(u.enabled) }), (_, text) => text),
  ...(record.began?.calls && record.now?.calls ? differencesOf(record, calls.fields.map((id) => ({ id, label: t.calls.labels[id] })), (u) => calls.textsOf(u.calls), calls.inWords) : []),
]

export const statusOf = (enabled: boolean): string => (enabled ? t.users.enabled : t.users.disabled)

// numberFault returns what is wrong with a number that the portal refused, with who has it as far as the page knows.
export function numberFault(wrong: Fault | undefined, number: string): string {
  if (wrong?.code === 'number_taken') {
    const holder = users.data?.find((u) => String(u.extension.number) === number)
    return holder ? t.users.numberOf(number, holder.name) : t.fault.codes.number_taken ?? ''
  }
  return wrong?.fields.some((f) => f.field === 'number' && f.code === 'taken') ? t.users.numberEmergency : (wrong?.field('number') ?? '')
}
