// Connection state: whether the portal and its database are reachable. A lost connection is retried, so that the page recovers by
// itself.

class Connection {
  online = $state(true)
  database = $state(true) // as last reported by the portal
  returns = $state(0) // number of recoveries; effects that read it run again

  #timer: ReturnType<typeof setTimeout> | undefined

  start(): void {
    addEventListener('offline', () => this.lost())
    addEventListener('online', () => void this.retry())
  }

  lost(): void {
    if (!this.online) return
    this.online = false
    this.#wait(1000)
  }

  // without records that the portal answers but its database does not.
  without(): void {
    this.online = true
    if (!this.database) return
    this.database = false
    this.#wait(1000)
  }

  // alive records an answer. Most answers do not show the state of the database, which is queried separately.
  alive(): void {
    if (this.online) return
    this.#is(true, this.database)
  }

  // ask returns whether the portal's database answers. A full one does; /health reports it.
  async #ask(): Promise<boolean> {
    const answer = await fetch('/health', { cache: 'no-store' })
    if (answer.status !== 503) return true
    const problem = (await answer.json().catch(() => ({}))) as { code?: string }
    return problem.code === 'database_full'
  }

  // check determines whether one broken connection means that the portal is unreachable.
  async check(): Promise<void> {
    try {
      this.#is(true, await this.#ask())
    } catch {
      this.lost()
    }
  }

  async retry(pause = 1000): Promise<void> {
    clearTimeout(this.#timer)
    try {
      this.#is(true, await this.#ask())
    } catch {
      this.#is(false, this.database)
    }
    if (!this.online || !this.database) this.#wait(Math.min(pause * 1.5, 3000))
  }

  #is(online: boolean, database: boolean): void {
    const whole = this.online && this.database
    this.online = online
    this.database = database
    if (!online || !database) {
      this.#wait(1000)
      return
    }
    clearTimeout(this.#timer)
    if (!whole) this.returns++
  }

  #wait(pause: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.retry(pause), pause)
  }
}

export const connection = new Connection()
