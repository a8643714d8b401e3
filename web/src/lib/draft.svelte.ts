// A form that survives: the end of a session, a reload, a closed sheet. It belongs to the person who typed it, and goes when that person
// signs out or another one signs in. Secrets never go into one.
import { session } from './session.svelte'

const prefix = 'pbx.draft.'

session.onDrop((person) => {
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(prefix) && !(person && key.startsWith(`${prefix}${person}.`))) sessionStorage.removeItem(key)
  } catch {
    // nothing was kept
  }
})

export class Draft<T extends Record<string, string>> {
  value: T
  #key: string
  #empty: T

  constructor(name: string, empty: T) {
    this.#key = `${prefix}${session.person}.${name}`
    this.#empty = empty
    let kept: Partial<T> = {}
    try {
      kept = JSON.parse(sessionStorage.getItem(this.#key) ?? '{}') as Partial<T>
    } catch {
      // nothing, or nothing that can be read
    }
    this.value = $state({ ...empty, ...kept })
    const persons = session.persons
    $effect(() => {
      const text = JSON.stringify(this.value)
      if (session.persons !== persons) return // the form is about to go
      try {
        sessionStorage.setItem(this.#key, text)
      } catch {
        // it lives as long as the page
      }
    })
  }

  clear(): void {
    this.value = { ...this.#empty }
    try {
      sessionStorage.removeItem(this.#key) // at once: the form may be gone before an effect runs
    } catch {
      // nothing was kept
    }
  }
}
