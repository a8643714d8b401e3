// Ring groups and simulated calls of the mock portal, by the contract as far as the pages use it.
import { randomUUID } from 'node:crypto'

const iso = (ms) => new Date(ms).toISOString()

// groupsOf returns some ring groups of a world with these users.
export function groupsOf(users, now, many) {
  const ids = (...at) => at.map((i) => users[i]?.id).filter(Boolean)
  const group = (i, name, number, more) => ({
    id: `7c1d0b5e-52c5-4f0c-9d55-${String(i).padStart(12, '0')}`, name, number: String(number), strategy: 'all', members: ids(i), seconds: 20, skip_busy: true,
    fallback: { kind: 'hangup' }, version: 1, created_at: iso(now - i * 9e8), updated_at: iso(now - i * 4e8), ...more,
  })
  if (!users.length) return []
  const support = group(2, 'Support', 601, { strategy: 'hunt', members: ids(2, 7, 11, 14), seconds: 15, version: 3 })
  return [
    group(1, 'Sales', 600, { members: ids(0, 1, 4), fallback: { kind: 'ring_group', id: support.id } }),
    support,
    group(3, 'Front desk', 602, { strategy: 'memory', members: ids(9), seconds: 30, skip_busy: false, fallback: { kind: 'user', id: ids(8)[0] } }),
    group(4, 'Werkstatt und Außendienst der Niederlassung Frankfurt am Main', 610, { strategy: 'hunt', members: ids(22, 27, 33, 38), seconds: 5 }),
    ...Array.from({ length: many - 4 }, (_, i) => group(i + 5, `Group ${i + 5}`, 611 + i, { members: ids(0) })),
  ]
}

const named = (x) => `${x.number} ${x.name}`

// simulate returns what happens to a call, in the words of the portal.
function simulate(w, { to, as, keys = [] }) {
  const user = (id) => w.users.find((u) => u.id === id)
  const thing = (id) => {
    const u = user(id)
    const g = w.groups.find((g) => g.id === id)
    return u ? { kind: 'user', id, number: String(u.extension.number), name: u.name } : { kind: 'ring_group', id, number: g.number, name: g.name }
  }
  const s = { sentence: '', steps: [], taken: '', why: [], faults: [] }
  const clauses = []
  const left = [...keys]
  const step = (kind, at, text, more = {}) => s.steps.push({ kind, thing: at, rings: [], seconds: 0, outcome: null, cause: null, text, ...more })
  const ring = (at, rings, seconds) => {
    const [key, by] = (left.shift() ?? 'no_answer').split(':')
    const who = rings.find((r) => r.id === by)
    const answer = key === 'answer' && who
    const text = `${rings.map(named).join(', ')} ${rings.length > 1 ? 'ring together' : 'rings'} for ${seconds} seconds`
    step('ring', at, answer ? text : `${text} without an answer`, { rings, seconds, outcome: answer ? 'answer' : 'no_answer' })
    clauses.push(s.steps.at(-1).text)
    if (answer) clauses.push((step('answer', who, `${named(who)} answers`), `${named(who)} answers`))
    return answer
  }
  const hangup = (at, cause, why) => (step('hangup', at, `the call ends: ${why}`, { cause }), clauses.push(`the call ends: ${why}`))
  for (let id = to, n = 0; id && n < 10; n++) {
    const at = thing(id)
    const text = n ? `the call goes on to ${named(at)}` : `${as ? named(thing(as)) : 'a caller'} calls ${named(at)}`
    step('enter', at, text)
    clauses.push(text)
    const g = w.groups.find((g) => g.id === id)
    id = ''
    if (!g) {
      s.why.push({ thing: at, field: '', text: 'A phone that is called directly rings for 25 seconds, as this installation is set.' })
      if (!ring(at, [at], 25)) hangup(at, 19, 'no answer')
      continue
    }
    const members = g.members.map(thing)
    s.why.push({ thing: at, field: 'strategy', text: { all: 'All members ring at once.', hunt: 'The members ring one after the other.', memory: 'The members ring one after the other, and those before go on ringing.' }[g.strategy] })
    const rounds = g.strategy === 'all' ? [members] : members.map((m, i) => (g.strategy === 'hunt' ? [m] : members.slice(0, i + 1)))
    s.why.push({ thing: at, field: 'seconds', text: `Each attempt rings for ${g.seconds} seconds.` })
    if (rounds.some((r) => ring(at, r, g.seconds))) continue
    const next = g.fallback.id && thing(g.fallback.id)
    s.why.push({ thing: at, field: 'fallback', text: `No user answers, and the fallback of ${named(at)} is ${next ? named(next) : 'to end the call'}.` })
    if (next) id = next.id
    else hangup(at, 19, 'no answer')
  }
  s.sentence = `${clauses.join('; ').replace(/^./, (c) => c.toUpperCase())}.`
  return s
}

// numbers answers a request to a ring group or a simulated call. It returns false for others.
export function numbers(w, { req, url, body, send, problem }) {
  const may = w.role === 'owner'
  if (req.method === 'POST' && url.pathname === '/api/v1/simulate') return (send(200, w.simulation ?? simulate(w, body)), true)
  if (!url.pathname.startsWith('/api/v1/ring-groups')) return false
  const id = url.pathname.split('/')[4]
  const group = w.groups.find((g) => g.id === id)
  const serve = (status, g) => send(status, g, { ETag: `"${g.version}"` })
  const faults = (g, others) => {
    const errors = []
    if (!g.name?.trim()) errors.push({ field: 'name', code: 'missing', message: 'must not be empty: give a name' })
    if (!(g.seconds >= 5 && g.seconds <= 120)) errors.push({ field: 'seconds', code: 'range', least: 5, most: 120, message: 'must be from 5 to 120' })
    if (!g.members?.length) errors.push({ field: 'members', code: 'missing', message: 'must have at least one user' })
    if (errors.length) return [400, 'invalid_input', 'fields break a rule', errors]
    if (others.some((o) => o.name.toLowerCase() === g.name.toLowerCase())) return [409, 'name_taken', 'another ring group has this name', [{ field: 'name', code: 'taken', message: 'another ring group has this name: use a different one' }]]
    if (others.some((o) => o.number === g.number) || w.users.some((u) => String(u.extension.number) === g.number)) return [409, 'number_taken', 'the number is taken', [{ field: 'number', code: 'taken', message: 'another user or object has this number: use a different one' }]]
  }
  const planned = (kind, g, what = []) => (w.plan = { ...w.plan, hash: randomUUID().slice(0, 8), pending: true, things: [...w.plan.things, { kind, thing: 'ring_group', key: `g${g.number}`, name: g.name, what }] })
  if (req.method !== 'GET' && !may) return (problem(403, 'forbidden', 'your role does not allow this'), true)
  if (req.method === 'POST') {
    const number = body.number ?? String(Array.from({ length: 100 }, (_, i) => 600 + i).find((n) => !w.groups.some((g) => g.number === String(n))))
    const made = { strategy: 'all', seconds: 20, skip_busy: true, fallback: { kind: 'hangup' }, ...body, id: randomUUID(), number, version: 1, created_at: iso(w.now), updated_at: iso(w.now) }
    const wrong = faults(made, w.groups)
    if (wrong) return (problem(...wrong), true)
    w.groups.push(made)
    planned('added', made)
    return (serve(201, made), true)
  }
  if (!id) {
    const q = (url.searchParams.get('q') ?? '').toLowerCase()
    const member = url.searchParams.get('member')
    const sort = url.searchParams.get('sort') ?? 'name'
    const hits = w.groups.filter((g) => `${g.number} ${g.name}`.toLowerCase().includes(q) && (!member || g.members.includes(member) || g.fallback.id === member))
    hits.sort((a, b) => (sort.endsWith('number') ? Number(a.number) - Number(b.number) : a.name.localeCompare(b.name)) * (sort.startsWith('-') ? -1 : 1))
    const from = Number(url.searchParams.get('cursor') ?? 0)
    const limit = Number(url.searchParams.get('limit') ?? 100)
    return (send(200, { items: hits.slice(from, from + limit), next_cursor: from + limit < hits.length ? String(from + limit) : null, total: hits.length }), true)
  }
  if (!group) return (problem(404, 'thing_not_found', 'there is no such ring group'), true)
  if (req.method === 'GET') return (serve(200, group), true)
  if (req.headers['if-match'] !== `"${group.version}"`) return (problem(412, 'changed_meanwhile', 'the ring group was changed since it was read; nothing was changed'), true)
  const others = w.groups.filter((g) => g !== group)
  if (req.method === 'PATCH') {
    const next = { ...group, ...body, version: group.version + 1, updated_at: iso(w.now) }
    const wrong = faults(next, others)
    if (wrong) return (problem(...wrong), true)
    if (next.fallback.id === null) next.fallback = { kind: 'hangup' }
    Object.assign(group, next)
    planned('changed', group, Object.keys(body))
    return (serve(200, group), true)
  }
  const uses = others.filter((g) => g.fallback.id === id).map((g) => ({ kind: 'ring_group', id: g.id, name: g.name, field: 'fallback' }))
  if (uses.length) return (problem(409, 'in_use', 'it is in use', undefined, { uses }), true)
  w.groups = others
  planned('removed', group)
  return (send(204), true)
}
