// Deletions of users that can be undone. The API cannot restore a deleted secret, so the request itself is delayed for some
// seconds. It is sent before any other change, and when the page is closed.
import { api, ask, asPerson, fault, type User } from './api'
import { t } from './i18n/index.svelte'
import { notices } from './notices.svelte'
import { session } from './session.svelte'
import { usersChanged } from './store.svelte'

export const patience = 8 // seconds

class Removal {
  left = $state(patience)
  sending = $state(false)
  paused = $state(false) // the pointer or focus is on Undo
  timer: ReturnType<typeof setInterval> | undefined
  sent: Promise<void> | undefined

  readonly person = session.person // the request is sent only while this account is signed in

  constructor(
    readonly user: User,
    readonly version: number, // which was confirmed: a user that was changed since is kept
  ) {}
}

class Removals {
  all = $state<Removal[]>([])

  constructor() {
    api.use({
      onRequest: async ({ request }) => {
        if (request.method !== 'GET' && !request.url.endsWith('/simulate')) await this.flush() // a simulated call changes nothing
        return undefined
      },
    })
    session.onDrop(() => {
      for (const r of this.all) if (!r.sending) this.#drop(r)
    })
    addEventListener('pagehide', () => {
      for (const r of this.all) if (!r.sending) void this.#send(r)
    })
  }

  of(id: string): Removal | undefined {
    return this.all.find((r) => r.user.id === id)
  }

  hold(user: User, version: number): void {
    if (this.of(user.id)) return
    void this.flush()
    this.all.push(new Removal(user, version))
    const removal = this.of(user.id)
    if (!removal) return
    removal.timer = setInterval(() => {
      if (removal.paused) return
      removal.left--
      if (removal.left <= 0) void this.#send(removal)
    }, 1000)
  }

  undo(removal = this.all.findLast((r) => !r.sending)): void {
    if (!removal || removal.sending) return
    this.#drop(removal)
    notices.say(t.users.kept(removal.user.name))
  }

  // flush sends the delayed requests and waits for the answers.
  async flush(): Promise<void> {
    await Promise.all(this.all.map((r) => this.#send(r)))
  }

  #drop(removal: Removal): void {
    clearInterval(removal.timer)
    this.all = this.all.filter((r) => r !== removal)
  }

  #send(removal: Removal): Promise<void> {
    return (removal.sent ??= this.#ask(removal))
  }

  async #ask(removal: Removal): Promise<void> {
    clearInterval(removal.timer)
    removal.sending = true
    const { id, name, extension } = removal.user
    try {
      // keepalive: it completes after the page is closed. It bypasses the middleware above, which would wait for itself.
      const headers = { ...asPerson(removal.person), 'If-Match': `"${removal.version}"` }
      const response = await fetch(`/api/v1/users/${encodeURIComponent(id)}`, { method: 'DELETE', credentials: 'same-origin', keepalive: true, headers }).catch(() => Promise.reject(new Error('no answer')))
      const answer: unknown = await response.json().catch(() => undefined)
      await ask(Promise.resolve(response.ok ? { data: answer, response } : { error: answer, response }))
      await usersChanged()
      notices.say(t.users.deleted(name, extension.number))
    } catch (e) {
      const wrong = fault(e)
      notices.say(t.users.notDeleted(name, wrong.known || (wrong.code === 'broken' ? t.fault.offline : wrong.detail)), true)
      void usersChanged()
    } finally {
      this.#drop(removal)
    }
  }
}

export const removals = new Removals()
