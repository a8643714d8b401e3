// Whether single letters are keys, which people who speak to their computer, or hit keys by accident, switch off (WCAG 2.1.4). It is kept in
// this browser, for each person.
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

  #off = false // where nothing can be kept

  use(on: boolean): void {
    this.#off = !on
    try {
      if (on) localStorage.removeItem(key())
      else localStorage.setItem(key(), 'off')
    } catch {
      // it holds until the page is closed
    }
    this.#changes++
  }
}

export const letters = new Letters()
