// The single-key shortcuts of every page.
import { letters } from '$lib/letters.svelte'
import { removals } from '$lib/removals.svelte'
import { router } from '$lib/router.svelte'
import { session } from '$lib/session.svelte'

const goals: Partial<Record<string, string>> = { h: '', p: 'people', n: 'numbers', f: 'phones', c: 'calls', a: 'changes', s: 'settings', v: 'settings/activity' }
let chord = 0 // when g was pressed

// shortcut carries out a shortcut. `place` is the place that is shown, `main` its page, `help` shows the shortcuts.
export function shortcut(e: KeyboardEvent, place: string | undefined, main: HTMLElement | undefined, help: () => void): void {
  if (!letters.on || e.ctrlKey || e.metaKey || e.altKey) return
  if ((e.target as HTMLElement).closest('input, textarea, select, [contenteditable], [role=dialog], [role=menu]')) return
  const goal = Date.now() - chord < 1200 ? goals[e.key] : undefined
  chord = 0
  if (goal !== undefined) return router.go(goal)
  if (e.key === 'g') chord = Date.now()
  else if (e.key === '?') help()
  else if (e.key === 'z') removals.undo()
  else if ((e.key === 'j' || e.key === 'k') && place !== 'people') step(main, e.key === 'j' ? 1 : -1)
  else if (e.key === 'n') create(e, place)
  else if (e.key === '/' && place !== 'people') {
    e.preventDefault()
    router.go(place === 'numbers' ? 'numbers?find' : 'people?find')
  }
}

// create opens the form of a new person, or under Numbers that of a new ring group.
function create(e: KeyboardEvent, place: string | undefined) {
  e.preventDefault() // the letter must not get into the form
  if (place === 'numbers') {
    if (session.may('things:write')) router.go('numbers?new=ring-groups')
  } else if (session.may('users:write')) router.go('people?new')
}

// step moves down or up in a list that is not a grid.
function step(main: HTMLElement | undefined, by: number) {
  const items = [...(main?.querySelectorAll<HTMLElement>('[data-item]') ?? [])]
  const here = items.findIndex((item) => item === document.activeElement)
  items[here < 0 ? 0 : Math.max(0, Math.min(items.length - 1, here + by))]?.focus()
}
