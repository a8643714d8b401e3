// Whether single-key shortcuts are on (WCAG 2.1.4: users of speech input must be able to turn them off). The setting is stored in
// this browser for each user.
import { session } from './session.svelte'

const key = (): string => `pbx.letters.${session.person}`

class Letters {
  #changes = $state(0)

  get on(): boolean {
    void this.#changes
    try {
      return localStorage.getItem(key()) !== 'off'
    } catch {
      return !this.#off
    }
  }

  #off = false // used if storage is unavailable

  use(on: boolean): void {
    this.#off = !on
    try {
      if (on) localStorage.removeItem(key())
      else localStorage.setItem(key(), 'off')
    } catch {
      // the setting lasts until the page is closed
    }
    this.#changes++
  }
}

export const letters = new Letters()
