// Whether the portal can be reached. Once it is lost, it is asked again and again, so that the page heals by itself.

class Connection {
  online = $state(true)
  since = $state(0)
  returns = $state(0) // how often it came back; effects that read it run again then

  #timer: ReturnType<typeof setTimeout> | undefined

  start(): void {
    addEventListener('offline', () => this.lost())
    addEventListener('online', () => void this.retry())
  }

  lost(): void {
    if (!this.online) return
    this.online = false
    this.since = Date.now()
    this.#wait(1000)
  }

  alive(): void {
    if (this.online) return
    clearTimeout(this.#timer)
    this.online = true
    this.returns++
  }

  // check finds out whether a line that broke was one line or all of them.
  async check(): Promise<void> {
    try {
      await fetch('/health', { cache: 'no-store' })
      this.alive()
    } catch {
      this.lost()
    }
  }

  async retry(pause = 1000): Promise<void> {
    clearTimeout(this.#timer)
    try {
      await fetch('/health', { cache: 'no-store' })
      this.alive()
    } catch {
      this.#wait(Math.min(pause * 1.5, 8000))
    }
  }

  #wait(pause: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.retry(pause), pause)
  }
}

export const connection = new Connection()
