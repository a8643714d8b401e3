// A form that survives: the end of a session, a reload, a closed sheet. Secrets never go into one.

export class Draft<T extends Record<string, string>> {
  value: T
  #key: string
  #empty: T

  constructor(name: string, empty: T) {
    this.#key = `pbx.draft.${name}`
    this.#empty = empty
    let kept: Partial<T> = {}
    try {
      kept = JSON.parse(sessionStorage.getItem(this.#key) ?? '{}') as Partial<T>
    } catch {
      // nothing, or nothing that can be read
    }
    this.value = $state({ ...empty, ...kept })
    $effect(() => {
      const text = JSON.stringify(this.value)
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
