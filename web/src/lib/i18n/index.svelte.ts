// One catalogue of texts for each language. `t` is the one in use; reading it in a component follows a change of language.
import { en, type Messages } from './en'

export type Locale = 'en' | 'de'
export const locales: { id: Locale; name: string }[] = [
  { id: 'en', name: 'English' },
  { id: 'de', name: 'Deutsch' },
]

const key = 'pbx.locale'

class I18n {
  locale = $state<Locale>('en')
  messages = $state.raw<Messages>(en)

  // start takes what was chosen here before, or what the browser prefers.
  async start(): Promise<void> {
    let chosen: string | null = null
    try {
      chosen = localStorage.getItem(key)
    } catch {
      // no storage, no memory
    }
    const wanted = chosen ?? navigator.language.slice(0, 2)
    await this.use(wanted === 'de' ? 'de' : 'en', false)
  }

  async use(locale: Locale, remember = true): Promise<void> {
    this.messages = locale === 'de' ? (await import('./de')).de : en
    this.locale = locale
    document.documentElement.lang = locale
    if (!remember) return
    try {
      localStorage.setItem(key, locale)
    } catch {
      // it holds until the page is closed
    }
  }
}

export const i18n = new I18n()

export const t: Messages = new Proxy({} as Messages, {
  get: (_, name) => i18n.messages[name as keyof Messages],
})
