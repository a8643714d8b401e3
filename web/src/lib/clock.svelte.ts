// The clock of all relative times on the page.
import { createSubscriber } from 'svelte/reactivity'

const subscribe = createSubscriber((update) => {
  const timer = setInterval(update, 20_000)
  return () => clearInterval(timer)
})

export function now(): number {
  subscribe()
  return Date.now()
}
