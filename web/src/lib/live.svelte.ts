// The live state of Asterisk: a snapshot, then every change as it happens.
import { SvelteMap } from 'svelte/reactivity'
import { api, ask, type Changed, type Live, type LiveCall, type LiveSwitches, type Registration, type Switches } from './api'
import { connection } from './connection.svelte'
import { session } from './session.svelte'
import { stream } from './stream'

// The portal sends the first event at once, and a comment every 15 seconds. If they do not arrive in these times, a proxy buffers them.
const firstEvent = 5_000
const silence = 20_000
const pollEvery = 5_000

// sipUser returns the name that a phone registers with. Portals older than further phones report no device.
const sipUser = (r: Registration): string => (r.device > 1 ? `${r.number}-${r.device}` : String(r.number))

class LiveState {
  held = $state(false) // the stream is silent although the portal answers: poll instead
  known = $state(false) // the link to Asterisk is up, and a snapshot has arrived
  asterisk = $state.raw<Live['asterisk'] | undefined>(undefined)
  phones = new SvelteMap<string, Registration>() // by SIP user name
  registrations = new SvelteMap<string, Registration>() // by number: of its phones the first that can be reached
  calls = new SvelteMap<string, LiveCall>()
  switches = new SvelteMap<string, Switches>() // by number: of users who have something switched
  history = $state.raw<Live['history']>([])
  reportsChanges = $state(false) // the stream reports changes of users and plan, so that frequent polling is unnecessary
  users = $state(0) // number of reported changes of users
  plan = $state(0)

  // follow keeps the state current for the lifetime of the calling component.
  follow(): void {
    $effect(() => {
      void connection.returns
      void session.renewals
      const abort = new AbortController()
      void this.#run(abort.signal)
      return () => abort.abort()
    })
    $effect(() => {
      const timer = setInterval(() => this.known && this.#sample(), 60_000)
      return () => clearInterval(timer)
    })
  }

  // poll requests the state once. It returns whether there was an answer.
  async poll(): Promise<boolean> {
    try {
      this.#take(await ask(api.GET('/live')))
      return true
    } catch {
      return false // try again at the next interval
    }
  }

  forget(): void {
    this.held = false
    this.known = false
    this.reportsChanges = false
    this.asterisk = undefined
    this.phones.clear()
    this.registrations.clear()
    this.calls.clear()
    this.switches.clear()
    this.history = []
  }

  // partner returns the other party of a number's call.
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
      this.reportsChanges = false
      if (ending.kind === 'refused' && ending.status < 500 && ending.status !== 429) {
        if (ending.code === 'other_account') session.replaced()
        else if (ending.status === 401) session.ended()
        return // run starts again after the next sign-in or recovery of the portal
      }
      await new Promise((done) => setTimeout(done, pause))
      pause = Math.min(pause * 2, 8000)
      if (ending.kind === 'broken') await connection.check()
    }
  }

  #take(live: Live): void {
    this.#link(live.asterisk)
    const phones = new Set(live.registrations.map(sipUser))
    const numbers = new Set([...this.registrations.keys(), ...live.registrations.map((r) => String(r.number))])
    for (const name of this.phones.keys()) if (!phones.has(name)) this.phones.delete(name)
    for (const r of live.registrations) this.phones.set(sipUser(r), r)
    for (const number of numbers) this.#settle(number)
    const calls = new Set(live.calls.map((c) => c.id))
    for (const id of this.calls.keys()) if (!calls.has(id)) this.calls.delete(id)
    for (const c of live.calls) this.calls.set(c.id, c)
    const switched = new Set(live.switches.map((s) => String(s.number)))
    for (const number of this.switches.keys()) if (!switched.has(number)) this.switches.delete(number)
    for (const s of live.switches) this.switch(s)
    this.history = live.history
  }

  // switch takes the switches of a user.
  switch({ number, switches }: LiveSwitches): void {
    this.switches.set(String(number), switches)
  }

  // sample continues the history, which no event reports: the last hour, a point a minute.
  #sample(): void {
    const begin = Date.now() - 3_600_000
    this.history = [...this.history.filter((h) => Date.parse(h.at) > begin), { at: new Date().toISOString(), registrations: this.phones.size, calls: this.calls.size }]
  }

  // settle determines the registration of a number.
  #settle(number: string): void {
    const all = ['', '-2', '-3', '-4', '-5'].flatMap((suffix) => this.phones.get(number + suffix) ?? [])
    const best = all.find((r) => r.state !== 'unreachable') ?? all[0]
    if (!best) this.registrations.delete(number)
    else if (this.registrations.get(number) !== best) this.registrations.set(number, best)
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
      this.reportsChanges = true
      if (changed.users) this.users++
      if (changed.plan) this.plan++
    } else if (name === 'switches') this.switch(value as LiveSwitches)
    else if (name === 'registration') {
      const r = value as Registration
      const name = sipUser(r)
      if (r.state !== 'gone') this.phones.set(name, r)
      else if (this.phones.get(name)?.address === r.address) this.phones.delete(name)
      this.#settle(String(r.number))
    } else if (name === 'call') {
      const c = value as LiveCall
      if (c.state === 'ended') this.calls.delete(c.id)
      else this.calls.set(c.id, c)
    }
  }
}

export const live = new LiveState()
