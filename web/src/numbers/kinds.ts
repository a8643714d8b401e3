// The kinds of things that have a number and are no users. A further kind adds its row here, and its texts to numbers.kinds in the catalogues.
import type { Component } from 'svelte'
import { api, ask } from '$lib/api'
import { learn } from './names.svelte'
import NewRingGroup from './NewRingGroup.svelte'
import RingGroupPanel from './RingGroupPanel.svelte'
import { inWords } from './ringgroup'

// Listed is a thing as the list shows it.
export type Listed = { id: string; number: string; name: string; says: () => string } // says where a call to it goes
export type Query = { q?: string | undefined; sort: string; cursor: string | undefined; limit: number; total: boolean }
export type Page = { list: Listed[]; next: string | undefined; total: number }

export type Kind = {
  id: 'ring-groups' // in the paths of the page and the API, and in the catalogues
  thing: string // in plans and references
  list: (query: Query) => Promise<Page>
  Panel: Component<{ id: string; onclose: () => void }>
  Create: Component<{ oncreated: (id: string) => void }>
}

export const kinds: Kind[] = [
  {
    id: 'ring-groups',
    thing: 'ring_group',
    list: async (query) => {
      const page = await ask(api.GET('/api/v1/ring-groups', { params: { query } }))
      learn(page.items)
      return { list: page.items.map((g) => ({ id: g.id, number: g.number, name: g.name, says: () => inWords(g) })), next: page.next_cursor ?? undefined, total: page.total ?? 0 }
    },
    Panel: RingGroupPanel,
    Create: NewRingGroup,
  },
]
