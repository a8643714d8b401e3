// The editing of an object in place: from the button that opens the form to the portal's answer. Fields are texts.
import { untrack } from 'svelte'
import { fault, type Fault } from './api'
import { follow, type Versioned } from './versioned.svelte'

type Form<T extends { version: number }, F extends string> = {
  fields: readonly F[]
  textsOf: (object: T) => Record<F, string>
  record: () => Versioned<T>
  input: () => Record<F, string> // what was typed
  isOpen: () => boolean
  open: (object: T) => void // with the object's texts
  close: () => void
  toFault: () => boolean // moves the focus to the first field with a fault, and reports whether there is one
  save: (changed: F[]) => Promise<void>
}

export class Editor<T extends { version: number }, F extends string> {
  asked = $state(false) // to save
  busy = $state<'' | 'opening' | 'saving'>('')
  refused = $state(false) // as the object was changed elsewhere
  wrong = $state.raw<Fault | undefined>(undefined)
  button = $state<HTMLElement | null>(null) // that opens the form
  #form: Form<T, F>

  // shown is the object as it was when a form that is open already was opened.
  constructor(form: Form<T, F>, shown?: T) {
    this.#form = form
    $effect(() => {
      const now = form.record().now
      untrack(() => {
        if (form.isOpen() && shown && now) follow(form.input(), form.fields, form.textsOf(shown), form.textsOf(now))
        shown = now
      })
    })
  }

  async edit(): Promise<void> {
    this.busy = 'opening'
    this.wrong = undefined
    this.asked = this.refused = false
    try {
      this.#form.open(await this.#form.record().begin())
    } catch (e) {
      this.wrong = fault(e)
    } finally {
      this.busy = ''
    }
  }

  end(): void {
    this.#form.close()
    this.wrong = undefined
    setTimeout(() => this.button?.focus())
  }

  async save(event: SubmitEvent): Promise<void> {
    event.preventDefault()
    const form = this.#form
    const now = form.record().now
    if (this.busy || !now) return
    this.asked = true
    this.wrong = undefined
    if (form.toFault()) return
    const current = form.textsOf(now)
    const changed = form.fields.filter((f) => form.input()[f].trim() !== current[f])
    if (!changed.length) return this.end()
    this.busy = 'saving'
    try {
      await form.save(changed)
    } catch (e) {
      this.wrong = fault(e)
      this.refused = this.wrong.code === 'changed_meanwhile'
      setTimeout(form.toFault)
    } finally {
      this.busy = ''
    }
  }
}
