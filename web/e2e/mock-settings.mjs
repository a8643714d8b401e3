// The organisation, the pools and the switches of the mock portal, by the contract as far as the pages use it.
import { randomUUID } from 'node:crypto'

const end = { kind: 'hangup' }
const iso = (ms) => new Date(ms).toISOString()
const poolID = (n) => `a0000000-0000-0000-0000-00000000000${n}`

// settingsOf returns the settings of a world: the organisation and its pools, and what users have switched, by number.
export function settingsOf(users, now) {
  const pool = (n, name, from, to, more) => ({ id: poolID(n), name, kind: 'users', from: String(from), to: String(to), order: 'lowest', cool_down_days: null, calls: {}, default: true, version: 1, created_at: iso(now - 9e9), updated_at: iso(now - 9e9), ...more })
  const phones = { server_address: null, server_port: null, transport: null, public_address: null, codecs: null, srtp: null }
  return {
    organisation: { name: 'Default', country: null, time_zone: null, main_number: null, language: null, cool_down_days: null, calls: {}, phones, version: 1, updated_at: iso(now - 9e9) },
    pools: [pool(2, 'Users', 1000, 1999), pool(3, 'Features', 600, 699, { kind: 'features' }), pool(4, 'Berlin', 2000, 2009, { default: false, order: 'next', cool_down_days: 30, calls: { ring_seconds: 30 }, used: 4, version: 2 })],
    switches: new Map(users.length ? [['1002', { ...none, forward_busy: '1001' }]] : []),
  }
}

// wholeOf returns the organisation with what applies.
function wholeOf(o) {
  const origin = (value, other) => (value === null || value === undefined ? other : 'organisation')
  const { ring_seconds, when_unanswered } = o.calls
  const own = Object.fromEntries(Object.entries(o.phones).filter(([, v]) => v !== null))
  return {
    ...o,
    effective_calls: { ring_seconds: 25, when_busy: end, when_unanswered: end, when_unreachable: when_unanswered ?? end, record: 'never', ...(o.language && { language: o.language }), ...o.calls },
    effective_phones: { server_address: null, server_port: 5060, transport: 'udp', public_address: null, codecs: ['ulaw', 'alaw'], srtp: 'off', ...own },
    effective_cool_down_seconds: (o.cool_down_days ?? 0) * 86_400,
    origins: {
      cool_down_days: origin(o.cool_down_days, 'default'), 'calls.ring_seconds': origin(ring_seconds, 'default'),
      ...Object.fromEntries(Object.entries(o.phones).map(([f, v]) => [`phones.${f}`, origin(v, f === 'server_port' || f === 'transport' ? 'asterisk' : 'default')])),
    },
    emergency_numbers: ['110', '112', '911', '9911', '999', '000'],
    transports: [{ name: 'transport-udp', protocol: 'udp', address: '0.0.0.0:5060' }],
  }
}

// usedOf returns a pool with how many of its numbers are in use.
function usedOf(w, p) {
  const within = (n) => Number(n) >= Number(p.from) && Number(n) <= Number(p.to)
  const size = Number(p.to) - Number(p.from) + 1
  const used = p.used ?? [...w.users.map((u) => u.extension.number), ...w.groups.map((g) => g.number)].filter(within).length
  const { cool_down_days = null } = p
  return { taken_on_host: 0, effective_cool_down_seconds: (cool_down_days ?? w.organisation.cool_down_days ?? 0) * 86_400, ...p, size, used, warning: used * 10 >= size * 9 ? 'the pool is almost full' : null }
}

// merged returns an object with a merge patch.
const merged = (to, patch) =>
  Object.entries(patch).reduce((all, [f, v]) => {
    const nested = v && typeof v === 'object' && !Array.isArray(v) && !v.kind
    if (v === null && all === to && !nested) return { ...all, [f]: null }
    return { ...all, [f]: nested ? merged(to[f] ?? {}, v) : v }
  }, to)
const dropNulls = (o) => Object.fromEntries(Object.entries(o).filter(([, v]) => v !== null))

// settings answers a request for the organisation or pools. It reports whether it did.
export function settings(w, { req, url, body, send, problem }) {
  const [, , , part, id] = url.pathname.split('/')
  if (part !== 'organisation' && part !== 'pools') return false
  const answer = (status, o) => (send(status, part === 'organisation' ? wholeOf(o) : usedOf(w, o), { ETag: `"${o.version}"` }), true)
  const found = part === 'organisation' ? w.organisation : w.pools.find((p) => p.id === id)
  if (part === 'pools' && !id && req.method === 'GET') return (send(200, { items: w.pools.filter((p) => p.kind === (url.searchParams.get('kind') ?? p.kind)).map((p) => usedOf(w, p)), next_cursor: null }), true)
  const overlapping = (p) => w.pools.some((other) => other !== found && Number(other.from) <= Number(p.to) && Number(p.from) <= Number(other.to))
  const taken = () => (problem(400, 'invalid_input', 'fields break a rule', [{ field: 'from', code: 'taken', message: 'must leave out the numbers of the pool "Users", from 1000–1999' }]), true)
  if (req.method === 'POST') {
    if (overlapping(body)) return taken()
    w.pools.push({ kind: 'users', order: 'lowest', cool_down_days: null, calls: {}, default: false, ...body, id: randomUUID(), version: 1, created_at: iso(w.now), updated_at: iso(w.now) })
    return answer(201, w.pools.at(-1))
  }
  if (!found) return (problem(404, 'thing_not_found', 'there is no such pool'), true)
  if (req.method === 'GET') return answer(200, found)
  if (req.headers['if-match'] !== `"${found.version}"`) return (problem(412, 'changed_meanwhile', 'it was changed since it was read; nothing was changed'), true)
  if (req.method === 'DELETE') return ((w.pools = w.pools.filter((p) => p !== found)), send(204), true)
  const next = merged(found, body)
  if (part === 'pools' && overlapping(next)) return taken()
  Object.assign(found, next, { calls: dropNulls(next.calls), version: found.version + 1 })
  return answer(200, found)
}

const none = { do_not_disturb: false, forward_always: null, forward_busy: null, forward_unanswered: null, forward_unreachable: null }
const event = (number, switches) => `event: switches\ndata: ${JSON.stringify({ number: Number(number), switches })}\n\n`

// switched changes the switches of a number, as a phone does, and reports that.
export function switched(w, number, change) {
  const now = { ...none, ...w.switches.get(number), ...change }
  w.switches.set(number, now)
  for (const stream of w.streams) stream.write(event(number, now))
  return now
}

// switchesOf answers a request for the switches of a user.
export function switchesOf(w, user, { req, body, send, problem }) {
  const number = String(user.extension.number)
  if (w.switchless) return problem(w.switchless.status, w.switchless.code, w.switchless.detail)
  if (!user.enabled) return problem(409, 'not_deployed', `${user.name} (${number}) is disabled, and has no switches: enable the user, and apply`)
  if (req.method === 'GET') return send(200, { ...none, ...w.switches.get(number) })
  return send(200, switched(w, number, body))
}
