// Which part of the whole is away, as far as the page knows: the one that the others stand on comes first.
import { connection } from './connection.svelte'
import { live } from './live.svelte'
import { session } from './session.svelte'
import { health, plan } from './store.svelte'

export type Trouble = { part: 'portal' | 'database' | 'full' | 'asterisk' | 'link' | 'held'; detail: string } // detail is what the server says of it

class Watch {
  #asked = $state('') // the state of the link for which it was asked how Asterisk is

  get trouble(): Trouble | undefined {
    if (!connection.online) return { part: 'portal', detail: '' }
    if (!connection.database) return { part: 'database', detail: '' }
    if (health.fault?.code === 'database_full') return { part: 'full', detail: health.fault.detail }
    if (health.data && health.data.asterisk !== 'ok') return { part: 'asterisk', detail: health.data.asterisk }
    const link = live.asterisk
    // Whether the link alone is cut, or Asterisk itself is away, the health says.
    if (link && (link.state === 'connecting' || link.state === 'refused') && link.state === this.#asked) return { part: 'link', detail: link.message }
    if (live.held) return { part: 'held', detail: '' }
    return undefined
  }

  // follow looks for as long as the calling component lives: what is away is noticed within five seconds, at once where the link to
  // Asterisk tells, and that it is back soon after.
  follow(): void {
    const link = $derived(live.asterisk?.state ?? '')
    const away = $derived(health.data && health.data.asterisk !== 'ok')
    health.follow(5_000)
    $effect(() => {
      const state = link
      if (state === 'connected' && !this.#asked) this.#asked = state
      else if (state) void health.load().then(() => (this.#asked = state))
    })
    $effect(() => {
      if (!away) return
      const timer = setInterval(() => void health.load(), 3000)
      return () => clearInterval(timer)
    })
    // The portal has Asterisk take what it missed, some seconds after it is back.
    const behind = $derived(!!plan.data?.behind)
    $effect(() => {
      if (!behind) return
      const timer = setInterval(() => void plan.load(), 3000)
      return () => clearInterval(timer)
    })
    let was: boolean | undefined
    $effect(() => {
      if (was !== undefined && was !== away && session.may('apply:read')) void plan.load() // it says whether Asterisk runs what it should
      was = away
    })
  }
}

export const watch = new Watch()
