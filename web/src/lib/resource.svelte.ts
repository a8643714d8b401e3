// A resource of the API. Loaded data stays visible while it is reloaded, also if that fails.
import { fault, type Fault } from './api'
import { connection } from './connection.svelte'
import { session } from './session.svelte'

export class Resource<T> {
  data = $state.raw<T | undefined>(undefined)
  fault = $state.raw<Fault | undefined>(undefined)
  loading = $state(false)
  #fetch: () => Promise<T>
  #turn = 0

  constructor(fetch: () => Promise<T>) {
    this.#fetch = fetch
  }

  load = async (): Promise<void> => {
    const turn = ++this.#turn
    this.loading = true
    try {
      const data = await this.#fetch()
      if (turn !== this.#turn) return // a later request is running
      this.data = data
      this.fault = undefined
    } catch (e) {
      if (turn !== this.#turn) return
      this.fault = fault(e)
    } finally {
      if (turn === this.#turn) this.loading = false
    }
  }

  // follow loads now, after a recovery of the portal or a sign-in, and at intervals while the page is visible; the interval
  // may change.
  follow(every: number | (() => number) = 0): void {
    $effect(() => {
      void connection.returns
      void session.renewals
      void this.load()
    })
    $effect(() => {
      const pause = typeof every === 'function' ? every() : every
      if (!pause) return
      const timer = setInterval(() => {
        if (!document.hidden && connection.online && connection.database && !session.lapsed) void this.load()
      }, pause)
      return () => clearInterval(timer)
    })
  }

  forget(): void {
    this.#turn++
    this.data = undefined
    this.fault = undefined
    this.loading = false
  }
}
