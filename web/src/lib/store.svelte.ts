// Resources shared by several pages, loaded in one place so that they never disagree.
import { api, ask, type Health, type Plan, type User } from './api'
import { live } from './live.svelte'
import { Resource } from './resource.svelte'
import { session } from './session.svelte'

export const plan = new Resource<Plan>(() => ask(api.GET('/apply/plan')))
export const users = new Resource<User[]>(async () => {
  const [all, off] = await Promise.all([ask(api.GET('/users', { params: { query: { secrets: false } } })), disabled()])
  return all.users.map((u) => ({ ...u, enabled: !off.has(u.id) }))
})
export const health = new Resource<Health>(() => ask(api.GET('/health')))

// disabled returns the ids of the disabled users, which are few and only in version 1 of the API.
async function disabled(): Promise<Set<string>> {
  const ids = new Set<string>()
  let cursor: string | undefined
  do {
    const page = await ask(api.GET('/api/v1/users', { params: { query: { enabled: false, limit: 500, cursor } } }))
    for (const u of page.items) ids.add(u.id)
    cursor = page.next_cursor ?? undefined
  } while (cursor)
  return ids
}

// The number of changes in a plan, to users and other things.
export const changesIn = (p: Plan | undefined): number => (p ? p.changes.length + p.things.length : 0)

// The state of the plan.
export type Standing = 'unknown' | 'first' | 'live' | 'waiting' | 'drift' | 'behind'

export function standing(p: Plan | undefined): Standing {
  if (!p) return 'unknown'
  if (p.drift.length) return 'drift'
  if (p.pending) return p.revision === 0 && !changesIn(p) ? 'first' : 'waiting'
  if (p.behind) return 'behind'
  return p.revision === 0 ? 'first' : 'live'
}

// A change of users changes the plan.
export async function usersChanged(): Promise<void> {
  await Promise.all([users.load(), plan.load()])
}

// Data of one user is not shown to the next.
session.onDrop(() => {
  for (const r of [plan, users, health, live]) r.forget()
})
