// Short notices about completed actions. They disappear by themselves; anything that needs an answer is shown on the page.

import { session } from './session.svelte'

export type Notice = { id: number; text: string; bad: boolean }

class Notices {
  all = $state<Notice[]>([])
  #next = 1

  say(text: string, bad = false): void {
    const id = this.#next++
    this.all.push({ id, text, bad })
    setTimeout(() => this.drop(id), bad ? 10_000 : 5_000)
  }

  drop(id: number): void {
    this.all = this.all.filter((n) => n.id !== id)
  }
}

export const notices = new Notices()
session.onDrop(() => (notices.all = []))
