// Something the page shows that the portal knows. What was loaded stays on screen while it is asked for anew, also when that fails.
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
      if (turn !== this.#turn) return // a later question is on its way
      this.data = data
      this.fault = undefined
    } catch (e) {
      if (turn !== this.#turn) return
      this.fault = fault(e)
    } finally {
      if (turn === this.#turn) this.loading = false
    }
  }

  // follow loads now, again whenever the portal is back or somebody signs in again, and every so often while the page is looked at; `every`
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
