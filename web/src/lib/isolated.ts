// isolated returns a name for use within a text. One with letters that are written from right to left is isolated, so that it does not move what is around it.
export const isolated = (name: string): string => (/[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/.test(name) ? `\u2068${name}\u2069` : name)
