// isolated returns a name for use within a text. One with letters that are written from right to left is isolated, so that it does not move what is around it.
export const isolated = (name: string): string => (rightToLeft.test(name) ? `\u2068${name}\u2069` : name)
const rightToLeft = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/

// isolatedIn returns a text of the portal with those of the names isolated that need it.
export function isolatedIn(text: string, names: string[]): string {
  const such = names.filter((name) => rightToLeft.test(name)).sort((a, b) => b.length - a.length) // a name can begin with another
  return such.length ? text.replace(new RegExp(such.map(escaped).join('|'), 'g'), isolated) : text
}
const escaped = (name: string): string => name.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')

type Named = { name: string }
// namesIn returns the names in a simulated call.
export const namesIn = (s: { steps: { thing: Named; rings: Named[] }[]; why: { thing: Named }[] }): string[] => [...s.steps.flatMap((step) => [step.thing, ...step.rings]), ...s.why.map((w) => w.thing)].map((x) => x.name)

// directionOf returns the dir of a text: its own, unless it is a sentence around an isolated name.
export const directionOf = (text: string): 'auto' | undefined => (text.includes('\u2068') ? undefined : 'auto')
