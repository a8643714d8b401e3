// The part of the system that is unavailable, as far as the page knows: the one on which the others depend comes first.
import { connection } from './connection.svelte'
import { live } from './live.svelte'
import { session } from './session.svelte'
import { health, plan } from './store.svelte'

export type Trouble = { part: 'portal' | 'database' | 'full' | 'asterisk' | 'link' | 'held'; detail: string } // detail is the server's text

class Watch {
  #asked = $state('') // the state of the link at which the health of Asterisk was queried

  get trouble(): Trouble | undefined {
    if (!connection.online) return { part: 'portal', detail: '' }
    if (!connection.database) return { part: 'database', detail: '' }
    if (health.fault?.code === 'database_full') return { part: 'full', detail: health.fault.detail }
    if (health.data && health.data.asterisk !== 'ok') return { part: 'asterisk', detail: health.data.asterisk }
    const link = live.asterisk
    // /health distinguishes a broken link from an unavailable Asterisk.
    if (link && (link.state === 'connecting' || link.state === 'refused') && link.state === this.#asked) return { part: 'link', detail: link.message }
    if (live.held) return { part: 'held', detail: '' }
    return undefined
  }

  // follow watches for the lifetime of the calling component: an outage is noticed at once through the stream or by any request, else within
  // twenty seconds, without the stream within five; and a recovery soon after.
  follow(): void {
    const link = $derived(live.asterisk?.state ?? '')
    const away = $derived(health.data && health.data.asterisk !== 'ok')
    health.follow(() => (live.reportsChanges ? 20_000 : 5_000))
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
    // The portal makes Asterisk reload missed changes some seconds after its recovery.
    const behind = $derived(!!plan.data?.behind)
    $effect(() => {
      if (!behind) return
      const timer = setInterval(() => void plan.load(), 3000)
      return () => clearInterval(timer)
    })
    let was: boolean | undefined
    $effect(() => {
      if (was !== undefined && was !== away && session.may('apply:read')) void plan.load() // it reports whether Asterisk is in sync
      was = away
    })
  }
}

export const watch = new Watch()
