// The fields of a form, one row for each. Values are texts; '' is a field that is not set.
import { t } from '$lib/i18n/index.svelte'
import type { Choosable } from '$lib/ui/Pick.svelte'
import type { Difference, Versioned } from '$lib/versioned.svelte'

export type Spec<F extends string> = {
  id: F
  label: string
  hint?: string | undefined
  placeholder?: string | undefined
  inputmode?: 'numeric' | 'tel' | 'url'
  options?: { value: string; label: string }[] // a choice of few
  from?: Choosable[] // a choice of many, by id
  inherited?: string // where calls go on to: the text of the choice that inherits it
}

// choicesOf returns the choices of a field; `inherited` is the text of the one that sets nothing.
export const choicesOf = (texts: Partial<Record<string, string>>, inherited = ''): { value: string; label: string }[] => [
  ...(inherited ? [{ value: '', label: inherited }] : []),
  ...Object.entries(texts).map(([value, label]) => ({ value, label: label ?? value })),
]

// Says returns the value of a field in words.
export type Says<F extends string> = (field: F, text: string) => string

// Row is a setting that applies, and where it comes from.
export type Row = { label: string; text: string; origin?: string | undefined }

// differencesOf returns what another administrator has changed of an object since a change of it began.
export function differencesOf<T extends { version: number }, F extends string>({ began, now }: Versioned<T>, specs: Pick<Spec<F>, 'id' | 'label'>[], textsOf: (object: T) => Record<F, string>, says: Says<F>): Difference[] {
  if (!began || !now) return []
  const [from, to] = [textsOf(began), textsOf(now)]
  return specs.filter((s) => from[s.id] !== to[s.id]).map((s) => ({ label: s.label, from: says(s.id, from[s.id]), to: says(s.id, to[s.id]) }))
}

// originOf returns where a setting comes from in words, '' if it is the object's own.
export const originOf = (level: string | undefined, own: string): string => (!level || level === own ? '' : (t.origins[level] ?? level))

// integer returns what is wrong with a whole number that may be missing.
export function integer(text: string, least: number, most: number): string {
  const typed = text.trim()
  return typed && !(/^[0-9]+$/.test(typed) && Number(typed) >= least && Number(typed) <= most) ? t.fault.fields.out_of_range(least, most) : ''
}
