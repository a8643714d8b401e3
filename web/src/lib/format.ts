// Formats of numbers, times and names in the current language.
import { now } from './clock.svelte'
import { i18n, t } from '$lib/i18n/index.svelte'

// Locales of dates and numbers: day before month, and 24 hours, in English as well.
const written = (): string => (i18n.locale === 'de' ? 'de-DE' : 'en-GB')

// Creating a formatter costs more than a thousand uses of it, so they are cached.
const kept = new Map<string, Intl.DateTimeFormat>()
function date(options: Intl.DateTimeFormatOptions, at: string | Date): string {
  const key = written() + Object.values(options).join()
  let format = kept.get(key)
  if (!format) kept.set(key, (format = new Intl.DateTimeFormat(written(), options)))
  return format.format(new Date(at))
}

export const number = (n: number): string => new Intl.NumberFormat(written()).format(n)

export const clock = (at: string | Date): string => date({ hour: '2-digit', minute: '2-digit' }, at)

export const day = (at: string | Date): string => date({ day: 'numeric', month: 'short', year: 'numeric' }, at)

export const moment = (at: string | Date): string => date({ dateStyle: 'medium', timeStyle: 'medium' }, at)

// heading returns a day as a heading: today, yesterday, or the date.
export function heading(at: string | Date, today = new Date(now())): string {
  const then = new Date(at)
  const midnight = (d: Date) => new Date(d.getFullYear(), d.getMonth(), d.getDate()).getTime()
  const days = Math.round((midnight(today) - midnight(then)) / 86_400_000)
  if (days === 0) return t.time.today
  if (days === 1) return t.time.yesterday
  return date({ weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' }, at)
}

const steps: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
]

// ago returns a relative time, past or future.
export function ago(at: string | Date): string {
  const seconds = (new Date(at).getTime() - now()) / 1000
  const relative = new Intl.RelativeTimeFormat(written(), { numeric: 'auto' })
  if (Math.abs(seconds) > 30 * 86_400) return day(at)
  for (const [unit, size] of steps) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit)
  }
  return seconds > 1 ? t.time.soon : t.time.now
}

// span returns a duration as hours, minutes and seconds.
export function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const two = (n: number) => String(n).padStart(2, '0')
  const hours = Math.floor(seconds / 3600)
  const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`
  return hours ? `${hours}:${rest}` : rest
}

// fold removes case and accents, for searches.
export const fold = (text: string): string => text.normalize('NFKD').replace(/[\p{M}\p{Cf}]/gu, '').replace(/[‘’‚‛′ʼʻ`´]/g, "'").replace(/\p{Pd}/gu, '-').replace(/\s+/g, ' ').toLowerCase()

// wordsOf returns the words of a search, each folded.
export const wordsOf = (query: string): string[] => fold(query).split(/\s+/).filter(Boolean)

export const initials = (name: string): string =>
  name
    .split(/\s+/)
    .filter(Boolean)
    .map((word) => [...word][0] ?? '')
    .filter((_, i, all) => i === 0 || i === all.length - 1)
    .join('')
    .toUpperCase()

// hostOf returns the host of a sign-in service's address.
export function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : url
}
