// What Asterisk says right now: a picture, and then every change to it as it happens.
import { SvelteMap } from 'svelte/reactivity'
import { api, ask, type Changed, type Live, type LiveCall, type Registration } from './api'
import { connection } from './connection.svelte'
import { session } from './session.svelte'
import { stream } from './stream'

// The portal sends the first event at once, and a comment every 15 seconds. What does not arrive in these times is held back on its way.
const firstEvent = 5_000
const silence = 20_000
const pollEvery = 5_000

class LiveState {
  held = $state(false) // nothing comes through the stream, though the portal answers: it is polled
  known = $state(false) // Asterisk tells us, and a picture has come
  asterisk = $state.raw<Live['asterisk'] | undefined>(undefined)
  registrations = new SvelteMap<string, Registration>() // by number
  calls = new SvelteMap<string, LiveCall>()
  history = $state.raw<Live['history']>([])
  tells = $state(false) // the portal tells of changes of users and plan: nobody has to ask again and again
  users = $state(0) // how often it told of changed users
  plan = $state(0)

  // follow keeps the picture current for as long as the calling component lives.
  follow(): void {
    $effect(() => {
      void connection.returns
      void session.renewals
      const abort = new AbortController()
      void this.#run(abort.signal)
      return () => abort.abort()
    })
  }

  // poll asks once: for the hour, which no event tells, and for a page that waits for one thing. It returns whether there was an answer.
  async poll(): Promise<boolean> {
    try {
      this.#take(await ask(api.GET('/live')))
      return true
    } catch {
      return false // the next time, perhaps
    }
  }

  forget(): void {
    this.held = false
    this.known = false
    this.tells = false
    this.asterisk = undefined
    this.registrations.clear()
    this.calls.clear()
    this.history = []
  }

  // partner gives whom a number talks to, or is about to.
  partner(number: string): LiveCall['from'] | undefined {
    for (const c of this.calls.values()) {
      if (c.from.number === number) return c.to
      if (c.to.number === number) return c.from
    }
    return undefined
  }

  async #run(signal: AbortSignal): Promise<void> {
    let pause = 500
    let last = ''
    let waiting: ReturnType<typeof setTimeout> | undefined
    let polling: ReturnType<typeof setInterval> | undefined
    const poll = async () => {
      if (!document.hidden && (await this.poll()) && polling !== undefined) this.held = true
    }
    const wait = (patience: number) => {
      clearTimeout(waiting)
      waiting = setTimeout(() => {
        if (polling !== undefined) return
        polling = setInterval(() => void poll(), pollEvery)
        void poll()
      }, patience)
    }
    const through = () => {
      clearInterval(polling)
      polling = undefined
      this.held = false
    }
    signal.addEventListener('abort', () => {
      clearTimeout(waiting)
      through()
    })
    while (!signal.aborted) {
      wait(firstEvent)
      const ending = await stream(
        '/live/events',
        signal,
        last,
        (event) => {
          pause = 500
          last = event.id || last
          connection.alive()
          this.#hear(event.name, event.data)
        },
        () => {
          through()
          wait(silence)
        },
      )
      clearTimeout(waiting)
      if (signal.aborted) return
      this.tells = false
      if (ending.kind === 'refused' && ending.status < 500 && ending.status !== 429) {
        if (ending.code === 'other_account') session.replaced()
        else if (ending.status === 401) session.ended()
        return // signing in again, or the return of the portal, starts us anew
      }
      await new Promise((done) => setTimeout(done, pause))
      pause = Math.min(pause * 2, 8000)
      if (ending.kind === 'broken') await connection.check()
    }
  }

  #take(live: Live): void {
    this.#link(live.asterisk)
    const phones = new Set(live.registrations.map((r) => String(r.number)))
    for (const number of this.registrations.keys()) if (!phones.has(number)) this.registrations.delete(number)
    for (const r of live.registrations) this.registrations.set(String(r.number), r)
    const calls = new Set(live.calls.map((c) => c.id))
    for (const id of this.calls.keys()) if (!calls.has(id)) this.calls.delete(id)
    for (const c of live.calls) this.calls.set(c.id, c)
    this.history = live.history
  }

  #link(asterisk: Live['asterisk']): void {
    this.asterisk = asterisk
    this.known = asterisk.state === 'connected'
  }

  #hear(name: string, data: string): void {
    const value: unknown = JSON.parse(data)
    if (name === 'snapshot') this.#take(value as Live)
    else if (name === 'asterisk') this.#link(value as Live['asterisk'])
    else if (name === 'changed') {
      const changed = value as Changed
      this.tells = true
      if (changed.users) this.users++
      if (changed.plan) this.plan++
    } else if (name === 'registration') {
      const r = value as Registration
      const number = String(r.number)
      if (r.state !== 'gone') this.registrations.set(number, r)
      else if (this.registrations.get(number)?.address === r.address) this.registrations.delete(number)
    } else if (name === 'call') {
      const c = value as LiveCall
      if (c.state === 'ended') this.calls.delete(c.id)
      else this.calls.set(c.id, c)
    }
  }
}

export const live = new LiveState()
