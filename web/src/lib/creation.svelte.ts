// A form that creates something: once, also if it is sent again because the response was lost.
import { fault, newKey, type Fault } from './api'

export class Creation {
  asked = $state(false) // what is missing is shown
  busy = $state(false)
  wrong = $state.raw<Fault | undefined>(undefined)
  #key = newKey() // the same until something is changed

  changed = () => {
    this.wrong = undefined
    this.#key = newKey()
  }

  // send creates the object. toFault moves the focus to the first field with a fault, if there is one.
  async send(event: SubmitEvent, toFault: () => boolean, create: (header: { 'Idempotency-Key': string }) => Promise<void>) {
    event.preventDefault()
    if (this.busy) return
    this.asked = true
    this.wrong = undefined
    if (toFault()) return
    this.busy = true
    try {
      await create({ 'Idempotency-Key': this.#key })
    } catch (e) {
      this.wrong = fault(e)
      setTimeout(toFault) // once the faults are shown; the form may be closed by then
    } finally {
      this.busy = false
    }
  }
}
