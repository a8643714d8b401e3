// The list of users: its columns, the views of it, the search, and the order.
import type { User } from '$lib/api'
import { fold, wordsOf } from '$lib/format'
import { live } from '$lib/live.svelte'

export const columns = [
  { id: 'number', from: '' },
  { id: 'name', from: '' },
  { id: 'phone', from: 'max-md:hidden' },
  { id: 'email', from: 'max-lg:hidden' },
  { id: 'created', from: 'max-xl:hidden' },
] as const
export type Column = (typeof columns)[number]['id']

export const views = ['all', 'on', 'off', 'call', 'waits', 'disabled'] as const
export type View = (typeof views)[number]

const registered = (u: User): boolean => live.registrations.has(String(u.extension.number))
export const agentOf = (u: User): string => live.registrations.get(String(u.extension.number))?.user_agent ?? ''

// inView returns whether a user is in a view; waits are the numbers that were not applied yet.
export function inView(view: View, waits: Set<number>): (u: User) => boolean {
  const talking = new Set(view === 'call' ? [...live.calls.values()].flatMap((c) => [c.from.number, c.to.number]) : [])
  const all: Record<View, (u: User) => boolean> = {
    all: () => true,
    on: registered,
    off: (u) => u.enabled && !registered(u),
    call: (u) => talking.has(String(u.extension.number)),
    waits: (u) => waits.has(u.extension.number),
    disabled: (u) => !u.enabled,
  }
  return all[view]
}

export type Entry = { user: User; text: string }

// indexed returns the users with their searched texts, folded once per list and not once per key press.
export const indexed = (users: User[]): Entry[] => users.map((user) => ({ user, text: fold(`${user.extension.number} ${user.name}\n${user.email}`) }))

// narrow returns the users in a view that have each searched word, in a field or the name of their phone.
export function narrow(all: Entry[], view: View, waits: Set<number>, query: string): User[] {
  const words = wordsOf(query)
  const fits = inView(view, waits)
  const agents = new Map<string, string>() // folded; many users have the same
  const agent = (u: User): string => {
    const name = agentOf(u)
    const text = agents.get(name) ?? fold(name)
    agents.set(name, text)
    return text
  }
  return all.filter((e) => fits(e.user) && words.every((w) => e.text.includes(w) || agent(e.user).includes(w))).map((e) => e.user)
}

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' })
const orders: Record<Column, (a: User, b: User) => number> = {
  number: (a, b) => a.extension.number - b.extension.number,
  name: (a, b) => collator.compare(a.name, b.name),
  email: (a, b) => Number(!a.email) - Number(!b.email) || collator.compare(a.email, b.email), // those without an address last
  phone: (a, b) => Number(registered(b)) - Number(registered(a)) || collator.compare(agentOf(a), agentOf(b)),
  created: (a, b) => (a.created_at < b.created_at ? -1 : a.created_at > b.created_at ? 1 : 0),
}

// sorted returns users in an order; the list of the portal is in order of the numbers.
export function sorted(users: User[], by: Column, down: boolean): User[] {
  if (by === 'number' && !down) return users
  const all = users.toSorted((a, b) => orders[by](a, b) || orders.number(a, b))
  return down ? all.reverse() : all
}
