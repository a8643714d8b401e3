// An object of the API that is being changed: as it was when that began, and as it is now. A request names the version that the page shows, so that no
// change of another administrator is overwritten unseen.
import { fault } from './api'

// Difference is a field of the object that differs from when the change began.
export type Difference = { label: string; from: string; to: string }

// follow sets the fields of a form that were not touched to what they are now.
export function follow<F extends string>(input: Record<F, string>, fields: readonly F[], was: Record<F, string>, now: Record<F, string>) {
  for (const f of fields) if (input[f] === was[f]) input[f] = now[f]
}

export class Versioned<T extends { version: number }> {
  began = $state.raw<T | undefined>(undefined)
  now = $state.raw<T | undefined>(undefined)
  #fetch: () => Promise<T>

  constructor(fetch: () => Promise<T>) {
    this.#fetch = fetch
  }

  // begin reads the object anew.
  async begin(): Promise<T> {
    this.began = undefined
    return (this.began = await this.refresh())
  }

  // refresh reads the object as it is now.
  async refresh(): Promise<T> {
    return this.take(await this.#fetch())
  }

  // take takes the object from a response. A response may arrive after a later one.
  take(object: T): T {
    if (!this.now || object.version >= this.now.version) this.now = object
    return this.now
  }

  // send sends a request for the version on the page. If the object was changed since, it is read again before the error is thrown.
  async send<R>(request: (header: { 'If-Match': string }) => Promise<R>): Promise<R> {
    if (!this.began) await this.begin()
    try {
      return await request({ 'If-Match': `"${this.now?.version}"` })
    } catch (e) {
      if (fault(e).code === 'changed_meanwhile') await this.refresh()
      throw e
    }
  }

  // moved reports that the object was changed since.
  get moved(): boolean {
    return this.began !== undefined && this.now?.version !== this.began.version
  }
}
