// A ring group as the texts of a form, and in words.
import { api, ask, type Fault, type RingGroup } from '$lib/api'
import { t } from '$lib/i18n/index.svelte'
import { isolated } from '$lib/isolated'
import type { Choosable } from '$lib/ui/Pick.svelte'
import type { Difference, Versioned } from '$lib/versioned.svelte'
import { differencesOf } from '../forms/spec'
import { numberFault } from '../people/user'
import { nameOf, targetOf, userOf } from './names.svelte'

export const fields = ['name', 'number', 'strategy', 'members', 'seconds', 'skip_busy', 'fallback'] as const
export type FieldName = (typeof fields)[number]
// Input has the ids of the members separated by spaces, skip_busy as yes or '', and the fallback as hangup or KIND:ID; KIND: has no id yet.
export type Input = Record<FieldName, string>
export type Strategy = RingGroup['strategy']

export const strategies: Strategy[] = ['all', 'hunt', 'memory']
export const mostMembers = 50
export const emptyInput: Input = { name: '', number: '', strategy: 'all', members: '', seconds: '20', skip_busy: 'yes', fallback: 'hangup' }

// groupsOf returns the ring groups that refer to a user, by number.
export const groupsOf = async (user: string): Promise<RingGroup[]> => (await ask(api.GET('/api/v1/ring-groups', { params: { query: { member: user, sort: 'number', limit: 50 } } }))).items

export const idsOf = (members: string): string[] => members.split(' ').filter(Boolean)

export const textsOf = (g: RingGroup): Input => ({
  name: g.name,
  number: g.number,
  strategy: g.strategy,
  members: g.members.join(' '),
  seconds: String(g.seconds),
  skip_busy: g.skip_busy ? 'yes' : '',
  fallback: g.fallback.id ? `${g.fallback.kind}:${g.fallback.id}` : g.fallback.kind,
})

// valuesOf returns the fields in the form of the API.
export function valuesOf(input: Input) {
  const { kind, id } = targetOf(input.fallback)
  return {
    name: input.name.trim(),
    number: input.number.trim(),
    strategy: input.strategy as Strategy,
    members: idsOf(input.members),
    seconds: Number(input.seconds),
    skip_busy: input.skip_busy === 'yes',
    fallback: { kind, ...(id && { id }) },
  }
}

// patchOf returns the named fields in the form of a merge patch, which removes an id by null. The generated type demands fields with a default.
export function patchOf(input: Input, names: readonly FieldName[]) {
  const { fallback, ...rest } = valuesOf(input)
  const all = { ...rest, fallback: { ...fallback, id: fallback.id ?? null } }
  return Object.fromEntries(names.map((f) => [f, all[f]])) as typeof all
}

// faultsOf returns what is wrong with each field: what the portal refused, else what can be seen here once the form was sent.
export function faultsOf(input: Input, wrong: Fault | undefined, asked: boolean, groups: Choosable[]): Input {
  const refused = (f: FieldName) => wrong?.fields.find((e) => e.field === f || e.field.startsWith(`${f}.`))?.field
  const said = (f: FieldName) => wrong?.field(refused(f) ?? '') ?? ''
  const number = input.number.trim()
  const members = idsOf(input.members).length
  const { kind, id } = targetOf(input.fallback)
  const holder = wrong?.code === 'number_taken' && groups.find((g) => g.number === number)
  const used = holder ? t.users.numberOf(number, holder.name) : wrong?.code === 'number_pool_exhausted' ? wrong.text : numberFault(wrong, number)
  return {
    name: said('name') || (asked && !input.name.trim() ? t.app.required : [...input.name.trim()].length > 255 ? t.users.nameLong : ''),
    number: used || (asked && number && !/^[1-9][0-9]{1,5}$/.test(number) ? t.users.numberBad : ''),
    strategy: said('strategy'),
    members: said('members') || (asked && !members ? t.ringGroup.membersNone : members > mostMembers ? t.ringGroup.membersMany(mostMembers) : ''),
    seconds: said('seconds') || (asked && !(Number.isInteger(Number(input.seconds)) && Number(input.seconds) >= 5 && Number(input.seconds) <= 120) ? t.fault.fields.out_of_range(5, 120) : ''),
    skip_busy: said('skip_busy'),
    fallback: said('fallback') || (asked && kind !== 'hangup' && !id ? t.app.required : ''),
  }
}

// The names of users; ids of users that the page does not know are counted.
export function membersOf(ids: string[], most = ids.length): string {
  const known = ids.map((id) => userOf(id)?.name).filter((name) => name !== undefined).map(isolated)
  const shown = known.length > most ? known.slice(0, most - 1) : known
  return t.ringGroup.names(shown, ids.length - shown.length)
}

const targetName = (fallback: string): string => nameOf(targetOf(fallback).kind, targetOf(fallback).id)

// inWords returns in one sentence where a call to a group goes.
export const inWords = (g: RingGroup): string =>
  t.ringGroup.sentence(membersOf(g.members, 3), g.members.length, g.strategy, g.seconds, g.fallback.id ? t.ringGroup.goes(nameOf(g.fallback.kind, g.fallback.id)) : t.ringGroup.ends)

const saysOf: Record<FieldName, (text: string) => string> = {
  name: (name) => name,
  number: (number) => number,
  strategy: (strategy) => t.ringGroup.strategies[strategy as Strategy] ?? strategy,
  members: (members) => membersOf(idsOf(members)),
  seconds: (seconds) => t.ringGroup.secondsOf(Number(seconds)),
  skip_busy: (yes) => (yes ? t.ringGroup.skipped : t.ringGroup.notSkipped),
  fallback: (fallback) => (fallback === 'hangup' ? t.ringGroup.toHangup : t.ringGroup.toWhom(targetName(fallback))),
}

// rows returns the fields with their labels, in words.
export function rows(g: RingGroup): { label: string; text: string }[] {
  const texts = textsOf(g)
  return fields.map((f) => ({ label: t.ringGroup.labels[f], text: saysOf[f](texts[f]) }))
}

// movedIn returns what another administrator has changed of a group since a change of it began.
export const movedIn = (record: Versioned<RingGroup>): Difference[] =>
  differencesOf(record, fields.map((id) => ({ id, label: t.ringGroup.labels[id] })), textsOf, (f, text) => saysOf[f](text))
