// The router of paths below /app/. Links are plain links; clicks on them are handled here without reloading the page.

const base = '/app/'

// Addresses of earlier versions, and where these pages are today.
const moved: [RegExp, string][] = [
  [/^users(?=\/|$)/, 'people'],
  [/^apply(?=\/|$)/, 'changes'],
  [/^activity(?=\/|$)/, 'settings/activity'],
  [/^settings\/people$/, 'settings/administrators'],
]

class Router {
  path = $state('')
  query = $state.raw(new URLSearchParams())
  #writing: ReturnType<typeof setTimeout> | undefined

  start(): void {
    this.#read()
    addEventListener('popstate', () => this.#read())
    document.addEventListener('click', (event) => {
      if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
      const link = event.target instanceof Element ? event.target.closest('a') : null
      if (!link || link.target || link.origin !== location.origin || !link.pathname.startsWith(base) || link.hasAttribute('download')) return
      event.preventDefault()
      this.go(link.pathname.slice(base.length) + link.search)
    })
  }

  go(to: string, replace = false): void {
    this.#write()
    const url = base + to
    if (replace) history.replaceState(null, '', url)
    else history.pushState(null, '', url)
    this.#read()
    if (!replace) scrollTo(0, 0)
  }

  // refine changes the query, such as a search: the page follows at once, the address once typing stops.
  refine(changes: Record<string, string>): void {
    const query = new URLSearchParams(this.query)
    for (const [name, value] of Object.entries(changes)) {
      if (value) query.set(name, value)
      else query.delete(name)
    }
    this.query = query
    clearTimeout(this.#writing)
    this.#writing = setTimeout(() => this.#write(), 200)
  }

  // part returns one segment of the path.
  part(i: number): string {
    const text = this.path.split('/')[i] ?? ''
    try {
      return decodeURIComponent(text)
    } catch {
      return text
    }
  }

  #write(): void {
    if (this.#writing === undefined) return
    clearTimeout(this.#writing)
    this.#writing = undefined
    history.replaceState(null, '', base + this.path + (this.query.size ? `?${this.query}` : ''))
  }

  #read(): void {
    const asked = location.pathname.startsWith(base) ? location.pathname.slice(base.length).replace(/\/+$/, '') : ''
    this.path = moved.reduce((path, [from, to]) => path.replace(from, to), asked)
    if (this.path !== asked) history.replaceState(null, '', base + this.path + location.search + location.hash)
    this.query = new URLSearchParams(location.search)
  }
}

export const router = new Router()
// secretInAddress returns the fragment of the address: '' for none, undefined if it is unreadable.
export function secretInAddress(): string | undefined {
  try {
    return decodeURIComponent(location.hash.slice(1))
  } catch {
    return undefined
  }
}

export const to = (path: string): string => base + path
