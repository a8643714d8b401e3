// The input of a form, kept across the end of a session, a reload and a closed sheet. It belongs to the user who typed it, and is deleted when that user
// signs out or another one signs in. It never contains secrets.
import { session } from './session.svelte'

const prefix = 'pbx.draft.'

session.onDrop((person) => {
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(prefix) && !(person && key.startsWith(`${prefix}${person}.`))) sessionStorage.removeItem(key)
  } catch {
    // nothing is stored
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
      // nothing is stored, or it is unreadable
    }
    this.value = $state({ ...empty, ...kept })
    const persons = session.persons
    $effect(() => {
      const text = JSON.stringify(this.value)
      if (session.persons !== persons) return // the form is being removed
      try {
        sessionStorage.setItem(this.#key, text)
      } catch {
        // it is kept as long as the page is open
      }
    })
  }

  clear(): void {
    this.value = { ...this.#empty }
    try {
      sessionStorage.removeItem(this.#key) // at once: the form may be removed before an effect runs
    } catch {
      // nothing is stored
    }
  }
}
