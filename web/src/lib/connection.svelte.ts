// Whether the portal can be reached, and whether it has its database. What is lost is asked for again and again, so that the page heals by
// itself.

class Connection {
  online = $state(true)
  database = $state(true) // as far as the portal has said
  returns = $state(0) // how often all came back; effects that read it run again then

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

  // without is told when the portal answers that its database does not.
  without(): void {
    this.online = true
    if (!this.database) return
    this.database = false
    this.#wait(1000)
  }

  // alive is told of every answer. Most say nothing of the database: whether that is back is asked for.
  alive(): void {
    if (this.online) return
    this.#is(true, this.database)
  }

  // ask returns whether the portal has its database. One that is full still answers; its trouble is that of the health.
  async #ask(): Promise<boolean> {
    const answer = await fetch('/health', { cache: 'no-store' })
    if (answer.status !== 503) return true
    const problem = (await answer.json().catch(() => ({}))) as { code?: string }
    return problem.code === 'database_full'
  }

  // check finds out whether a line that broke was one line or all of them.
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
