// The tabs of a person, in their order. Each has an address, people/ID/TAB.
export const tabs = ['calls', 'phones', 'numbers', 'history'] as const
export type Tab = (typeof tabs)[number]
