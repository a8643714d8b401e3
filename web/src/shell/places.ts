// The places of the portal: their addresses, who can open them, and their pages.
import type { Component } from 'svelte'
import type { Permission } from '$lib/api'
import { session } from '$lib/session.svelte'
import type { IconName } from '$lib/ui/Icon.svelte'
import { tabs } from '../people/tabs'

export type Place = {
  id: 'home' | 'people' | 'numbers' | 'phones' | 'calls' | 'changes' | 'settings'
  path: string
  icon: IconName
  needs: Permission | ''
  holds: (rest: string[]) => boolean // whether it has a page at the rest of an address
  load: () => Promise<{ default: Component }>
}

export const places: Place[] = [
  { id: 'home', path: '', icon: 'home', needs: '', holds: (rest) => !rest.length, load: () => import('../home/Home.svelte') },
  { id: 'people', path: 'people', icon: 'users', needs: 'users:read', holds: (rest) => rest.length < 2 || (rest.length === 2 && tabs.some((tab) => tab === rest[1])), load: () => import('../people/People.svelte') },
  { id: 'numbers', path: 'numbers', icon: 'numbers', needs: 'things:read', holds: (rest) => !rest.length || rest.length === 2, load: () => import('../numbers/Numbers.svelte') },
  { id: 'phones', path: 'phones', icon: 'phone', needs: 'users:read', holds: (rest) => !rest.length, load: () => import('../phones/Phones.svelte') },
  { id: 'calls', path: 'calls', icon: 'calls', needs: 'live:read', holds: (rest) => !rest.length, load: () => import('../calls/Calls.svelte') },
  { id: 'changes', path: 'changes', icon: 'apply', needs: 'apply:read', holds: (rest) => !rest.length || (rest.length === 2 && rest[0] === 'revisions' && /^[1-9]\d{0,8}$/.test(rest[1] ?? '')), load: () => import('../changes/Changes.svelte') },
  { id: 'settings', path: 'settings', icon: 'settings', needs: '', holds: (rest) => rest.length < 2 || (rest.length === 2 && (rest[0] === 'pools' || (rest[0] === 'activity' && /^[1-9]\d{0,15}$/.test(rest[1] ?? '')))), load: () => import('../settings/Settings.svelte') },
]

// open returns the places that the user can open.
export const open = (): Place[] => places.filter((p) => !p.needs || session.may(p.needs))
