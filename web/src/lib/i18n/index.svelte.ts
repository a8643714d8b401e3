// The catalogues of texts. `t` is that of the current language; components that read it follow a change of language.
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

  // start sets the language chosen before in this browser, or the browser's preferred one.
  async start(): Promise<void> {
    let chosen: string | null = null
    try {
      chosen = localStorage.getItem(key)
    } catch {
      // storage is unavailable
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
      // the setting lasts until the page is closed
    }
  }
}

export const i18n = new I18n()

export const t: Messages = new Proxy({} as Messages, {
  get: (_, name) => i18n.messages[name as keyof Messages],
})
