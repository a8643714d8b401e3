// The names of things that others refer to. One that a page does not have is fetched once.
import { SvelteMap } from 'svelte/reactivity'
import { api, ask, fault, type Pool, type RingGroup, type User } from '$lib/api'
import { isolated } from '$lib/isolated'
import { pagesOf } from '$lib/pages'
import { Resource } from '$lib/resource.svelte'
import { session } from '$lib/session.svelte'
import { users } from '$lib/store.svelte'
import type { Choosable } from '$lib/ui/Pick.svelte'

const known = new SvelteMap<string, string>()
const asked = new Set<string>()
const people = $derived(new Map((users.data ?? []).map((u) => [u.id, u])))
const named = (x: { number: string | number; name: string }): string => `${x.number} ${isolated(x.name)}`

// learn keeps the names of groups.
export function learn(groups: RingGroup[]): void {
  for (const g of groups) if (known.get(g.id) !== named(g)) known.set(g.id, named(g))
}

// userOf returns the user with an id, undefined if the page does not know it.
export const userOf = (id: string): User | undefined => people.get(id)

// nameOf returns the number and the name of a user or another thing; '…' until they are known, and the id of a group that was deleted.
export function nameOf(kind: string, id: string): string {
  const user = kind === 'user' ? userOf(id) : undefined
  if (user) return named({ number: user.extension.number, name: user.name })
  if (kind === 'ring_group' && !known.has(id) && !asked.has(id)) {
    asked.add(id)
    ask(api.GET('/api/v1/ring-groups/{id}', { params: { path: { id } } })).then(
      (g) => learn([g]),
      (e) => (fault(e).status === 404 ? known.set(id, id) : asked.delete(id)),
    )
  }
  return known.get(id) ?? '…'
}

// targetOf returns what a text names: hangup or KIND:ID.
export const targetOf = (fallback: string): { kind: string; id: string } => {
  const [kind = 'hangup', id = ''] = fallback.split(':')
  return { kind, id }
}

// Everything that a call can go to. A form loads it when it opens.
export const groups = new Resource<Choosable[]>(async () => {
  const { list } = await pagesOf(100, async (cursor) => {
    const page = await ask(api.GET('/api/v1/ring-groups', { params: { query: { sort: 'number', limit: 500, cursor } } }))
    return { list: page.items, next: page.next_cursor ?? undefined }
  })
  learn(list)
  return list.map((g) => ({ id: g.id, number: g.number, name: g.name }))
})

// The pools that groups get their numbers from, in the order in which the portal tries them.
export const pools = new Resource<Pool[]>(async () => (await ask(api.GET('/api/v1/pools', { params: { query: { kind: 'features', sort: 'short', limit: 500 } } }))).items)

// nextNumber returns the number that a new group gets unless another is chosen; '' if only the portal knows it.
export function nextNumber(): string {
  const pool = groups.data && pools.data?.find((p) => p.used + p.taken_on_host < p.size)
  if (!pool || pool.order !== 'lowest' || pool.effective_cool_down_seconds || pool.taken_on_host) return ''
  const taken = new Set([...(groups.data ?? []).map((g) => g.number), ...(users.data ?? []).map((u) => String(u.extension.number))])
  for (let n = Number(pool.from); n <= Number(pool.to); n++) if (!taken.has(String(n))) return String(n)
  return ''
}

session.onDrop(() => {
  known.clear()
  asked.clear()
  groups.forget()
  pools.forget()
})
