// An apply in progress: its start, its events, reconnection, and its end.
import { api, ask, fault, newKey, type Fault, type Run, type RunEvent } from './api'
import { session } from './session.svelte'
import { plan, users } from './store.svelte'
import { stream } from './stream'

export type Order = { restore?: number; hash?: string; comment?: string; force?: boolean }

class Applying {
  id = $state('')
  starting = $state(false)
  broken = $state(false)
  settling = $state(false) // the run has ended, and the plan that follows is not loaded yet
  events = $state.raw<RunEvent[]>([])
  end = $state.raw<Run | undefined>(undefined)
  fault = $state.raw<Fault | undefined>(undefined)

  get running(): boolean {
    return this.starting || (this.id !== '' && !this.end && !this.fault)
  }

  async start(order: Order): Promise<boolean> {
    if (this.running) return false
    this.forget()
    this.starting = true
    try {
      const header = { Prefer: 'respond-async', 'Idempotency-Key': newKey(), ...(order.hash ? { 'If-Match': `"${order.hash}"` } : {}) }
      const body = { triggered_by: session.name || 'web', comment: order.comment?.trim() ?? '', force: order.force ?? false, dry_run: false }
      const answer = order.restore
        ? await ask(api.POST('/apply/revisions/{number}/restore', { params: { path: { number: String(order.restore) }, header }, body }))
        : await ask(api.POST('/apply', { params: { header }, body }))
      this.id = 'run_id' in answer ? answer.run_id : answer.audit_log_id
      void this.#follow()
      return true
    } catch (e) {
      this.fault = fault(e)
      void plan.load()
      return false
    } finally {
      this.starting = false
    }
  }

  forget(): void {
    this.id = ''
    this.broken = false
    this.settling = false
    this.events = []
    this.end = undefined
    this.fault = undefined
  }

  async #follow(): Promise<void> {
    const id = this.id
    let last = ''
    let done = false
    while (this.id === id && !done) {
      const ending = await stream(`/apply/runs/${id}/events`, new AbortController().signal, last, (event) => {
        this.broken = false
        if (event.name === 'done') {
          done = true
          return
        }
        if (event.id) last = event.id
        this.events = [...this.events, JSON.parse(event.data) as RunEvent]
      })
      if (done || ending.kind === 'refused') break
      this.broken = true
      await new Promise((next) => setTimeout(next, 1000))
    }
    // The record of the run is authoritative.
    while (this.id === id && !this.end) {
      try {
        const run = await ask(api.GET('/apply/runs/{id}', { params: { path: { id } } }))
        this.settling = true
        this.end = run
        this.events = run.events
        this.broken = false
      } catch (e) {
        if (fault(e).status === 404) {
          this.fault = fault(e)
          break
        }
        await new Promise((next) => setTimeout(next, 1500))
      }
    }
    await Promise.all([plan.load(), users.load()])
    if (this.id === id) this.settling = false
  }
}

export const applying = new Applying()
session.onDrop(() => applying.forget())
