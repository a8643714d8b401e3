// The phones of all people: the first of each, and further ones as far as Asterisk reports them.
import type { Registration, User } from '$lib/api'
import { live } from '$lib/live.svelte'
import { plan, users } from '$lib/store.svelte'
import { waiting } from './phone'

export const states = ['unreachable', 'off', 'waits', 'on', 'disabled', 'unknown'] as const
export type State = (typeof states)[number]
export type Phone = { key: string; number: string; name: string; user: User; state: State; registration: Registration | undefined } // number is the SIP user name

function stateOf(user: User, registration: Registration | undefined, waits: Set<number>): State {
  if (!live.known) return 'unknown'
  if (registration) return registration.state === 'unreachable' ? 'unreachable' : 'on'
  if (!user.enabled) return 'disabled'
  return waits.has(user.extension.number) ? 'waits' : 'off'
}

// firstPhones returns the first phone of each person, in the order of the numbers.
export function firstPhones(): Phone[] {
  const waits = waiting(plan.data)
  return (users.data ?? []).map((user) => {
    const number = String(user.extension.number)
    const registration = live.phones.get(number)
    return { key: number, number, name: user.name, user, state: stateOf(user, registration, waits), registration }
  })
}

// allPhones returns them with the further ones that are registered, those that need attention first.
export function allPhones(): Phone[] {
  const first = firstPhones()
  const owners = new Map(first.map((p) => [p.number, p]))
  const further: Phone[] = []
  for (const [key, registration] of live.phones) {
    const owner = registration.device > 1 ? owners.get(String(registration.number)) : undefined
    if (owner) further.push({ ...owner, key, number: key, registration, state: stateOf(owner.user, registration, new Set()) })
  }
  return [...first, ...further].sort((a, b) => states.indexOf(a.state) - states.indexOf(b.state) || a.user.extension.number - b.user.extension.number || a.key.localeCompare(b.key))
}
