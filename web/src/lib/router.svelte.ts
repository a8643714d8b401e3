// Paths of the page, below /app/. Links are plain links; a click on one is taken here instead of loading the page anew.

const base = '/app/'

class Router {
  path = $state('')
  query = $state.raw(new URLSearchParams())

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
    const url = base + to
    if (replace) history.replaceState(null, '', url)
    else history.pushState(null, '', url)
    this.#read()
    if (!replace) scrollTo(0, 0)
  }

  // part gives one step of the path.
  part(i: number): string {
    const text = this.path.split('/')[i] ?? ''
    try {
      return decodeURIComponent(text)
    } catch {
      return text
    }
  }

  #read(): void {
    this.path = location.pathname.startsWith(base) ? location.pathname.slice(base.length).replace(/\/+$/, '') : ''
    this.query = new URLSearchParams(location.search)
  }
}

export const router = new Router()
export const to = (path: string): string => base + path
