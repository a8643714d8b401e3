// The users of the mock portal in version 1 of the API.
import { randomUUID } from 'node:crypto'

const iso = (ms) => new Date(ms).toISOString()
const v1 = (u) => ({ id: u.id, name: u.name, email: u.email || null, number: String(u.extension.number), enabled: u.enabled, version: u.version, created_at: u.created_at, updated_at: u.created_at })
const end = { kind: 'hangup' }
// whole is a user with the call settings, which lists lack.
const whole = (u) => {
  const calls = u.calls ?? {}
  const effective_calls = { ring_seconds: 25, when_busy: end, when_unanswered: end, when_unreachable: calls.when_unanswered ?? end, caller_name: u.name, caller_number: String(u.extension.number), record: 'never', ...calls }
  const call_origins = Object.fromEntries(Object.keys(effective_calls).map((f) => [f, f in calls ? 'user' : 'default']))
  return { ...v1(u), calls, effective_calls, call_origins }
}

// phonesOf returns the phones of a user with their secrets.
const phonesOf = (u) => [{ ...u.extension, suffix: 1, name: '' }, ...(u.devices ?? [])].sort((a, b) => a.suffix - b.suffix).map(({ id, suffix, name, secret, created_at }) => ({ id, suffix, sip_user: suffix > 1 ? `${u.extension.number}-${suffix}` : String(u.extension.number), name, secret, created_at }))
const withoutSecret = ({ secret, ...d }) => d

// usersV1 answers a request for users in version 1 of the API.
export function usersV1(w, { call, url, id, body, match, key, res, send, problem }) {
  const replan = (change) => (w.plan = { ...w.plan, hash: randomUUID().slice(0, 8), pending: true, users: w.users.length, changes: change ? [...w.plan.changes, { what: [], reregister: false, ...change }] : w.plan.changes })
  const user = w.users.find((u) => u.id === id)
  const errors = []
  if (body.name !== undefined && !body.name.trim()) errors.push({ field: 'name', code: 'missing', message: "must not be empty: give the person's name" })
  if (body.email && !/^[\x00-\x7f]*$/.test(body.email)) errors.push({ field: 'email', code: 'not_ascii', message: 'must be written in ASCII: use the xn-- form of an international domain' })
  else if (body.email && !body.email.includes('@')) errors.push({ field: 'email', code: 'not_an_email', message: 'is not an e-mail address: give an address like anna@example.com' })
  if (body.number === '112') errors.push({ field: 'number', code: 'taken', message: 'is an emergency number somewhere: choose another one' })
  if (body.calls?.when_unanswered?.id && body.calls.when_unanswered.id === w.users[1]?.id) errors.push({ field: 'calls.when_unanswered', code: 'circular', message: 'must be another one: a call that is not answered would go in a circle without end: 1002 Clara O’Brien → 1001 Ben Bach → 1002 Clara O’Brien. Let one of them go on to something else, or end the call.' })
  if (errors.length) return problem(400, 'invalid_input', 'fields break a rule', errors)
  const other = (fits) => w.users.some((u) => u !== user && fits(u))
  if (body.email && other((u) => u.email === body.email)) return problem(409, 'email_taken', 'another user has this e-mail address', [{ field: 'email', code: 'taken', message: 'another user has it: use a different one' }])
  if (body.number && other((u) => String(u.extension.number) === body.number)) return problem(409, 'number_taken', 'the number is taken', [{ field: 'number', code: 'taken', message: 'the user has it; choose another number' }])
  if (call === 'GET /api/v1/users') return send(200, { items: w.users.filter((u) => String(u.enabled) === url.searchParams.get('enabled')).map(v1), next_cursor: null })
  if (call === 'POST /api/v1/users') {
    const again = (w.keys ??= new Map()).get(key)
    if (again) return send(201, again)
    const [number, name] = [1000 + w.users.length, body.name.trim()]
    const made = { id: randomUUID(), tenant_id: 'a0000000-0000-0000-0000-000000000000', name, email: body.email?.trim() ?? '', created_at: iso(w.now), extension: { id: randomUUID(), number, caller_name: name, secret: 'h3K9vQ2mX7pLw0ZrT5yNcA', created_at: iso(w.now) }, enabled: true, version: 1 }
    w.users.push(made)
    replan({ kind: 'added', number, name })
    const answer = { ...v1(made), secret: made.extension.secret }
    if (key) w.keys.set(key, answer)
    if (!w.lose) return send(201, answer)
    res.writeHead(201, { 'Content-Type': 'application/json', 'Content-Length': 500 }).write('{') // a browser sends a request again by itself if nothing came
    return setTimeout(() => res.destroy(), 50)
  }
  if (w.keep && call.startsWith('DELETE')) return problem(503, 'database_unavailable', 'the database does not answer; nothing was changed: try again in a moment')
  if (!user) return problem(404, 'user_not_found', 'there is no such user')
  const tag = () => ({ ETag: `"${user.version}"` })
  const [, , , , , part, device] = url.pathname.split('/')
  if (part === 'devices' && call.startsWith('GET') && !url.pathname.endsWith('/secret')) return send(200, { items: phonesOf(user).map(withoutSecret), next_cursor: null }, tag())
  if (part === 'devices' && call.startsWith('GET')) return send(200, { secret: phonesOf(user).find((d) => d.id === device).secret })
  if (call.startsWith('GET')) return send(200, whole(user), tag())
  if (match && match !== `"${user.version}"`) return problem(412, 'changed_meanwhile', 'the user was changed since it was read; nothing was changed: read it again, and repeat the change')
  const { number } = user.extension
  if (part === 'leave' || part === 'hand-over') {
    const gone = part === 'leave' || body.leaves
    const to = w.users.find((u) => u.id === (body.to ?? body.successor))
    const phone = (was, sip_user) => [{ name: '', was, sip_user }]
    const now = gone ? null : (body.number ?? String(1990 + (w.announced = (w.announced ?? 0) + 1)))
    const moved = [{ id: user.id, name: user.name, was: String(number), number: now, phones: phone(String(number), now), switches: gone ? 'cleared' : 'moved' }]
    if (to && part === 'hand-over') moved.push({ id: to.id, name: to.name, was: String(to.extension.number), number: String(number), phones: phone(String(to.extension.number), String(number)), switches: 'moved' })
    const answer = { dry_run: !!body.dry_run, users: moved, released: gone ? [{ number: String(number), free_at: iso(w.now + 864e5) }] : [], references: to && gone ? [{ kind: 'ring_group', id: randomUUID(), name: 'Sales', field: 'members', successor: true }] : [] }
    if (body.dry_run) return send(200, answer)
    if (gone) w.users = w.users.filter((u) => u !== user)
    else user.extension = { ...user.extension, number: Number(now) }
    if (to && part === 'hand-over') to.extension = { ...to.extension, number }
    w.users.sort((a, b) => a.extension.number - b.extension.number)
    replan({ kind: 'changed', number, name: user.name, what: ['number'], reregister: true })
    return send(200, answer)
  }
  if (part === 'devices') {
    const found = user.devices?.find((d) => d.id === device)
    const suffix = [2, 3, 4, 5].find((s) => !user.devices?.some((d) => d.suffix === s))
    user.version++
    if (call.startsWith('DELETE')) user.devices = user.devices.filter((d) => d !== found)
    else if (url.pathname.endsWith('/secret')) found.secret = `D${user.version}wSecretT5yNcAh3K9vQ2`
    else if (found) return (found.name = body.name), send(200, withoutSecret({ ...found, sip_user: `${number}-${found.suffix}` }), tag())
    else (user.devices ??= []).push({ id: randomUUID(), suffix, name: body.name.trim(), secret: 'p3K9vQ2mX7pLw0ZrT5yNcA', created_at: iso(w.now) })
    w.plan.changes = w.plan.changes.filter((c) => c.number !== number)
    replan({ kind: 'changed', number, name: user.name, what: ['phones'], ...(found ? { devices: [found.suffix] } : {}) })
    if (call.startsWith('DELETE')) return send(204)
    return send(found ? 200 : 201, phonesOf(user).find((d) => d.suffix === (found?.suffix ?? suffix)), tag())
  }
  if (call.startsWith('DELETE')) {
    if (w.uses) return problem(409, 'in_use', 'the ring group needs this user', undefined, { uses: w.uses })
    w.users = w.users.filter((u) => u !== user)
    replan({ kind: 'removed', number, name: user.name, reregister: true })
    return send(204)
  }
  user.version++
  if (url.pathname.endsWith('/secret')) {
    user.extension = { ...user.extension, secret: `N${user.version}wSecretT5yNcAh3K9vQ2` }
    replan({ kind: 'changed', number, name: user.name, what: ['secret'], reregister: true })
    return send(200, { ...v1(user), secret: user.extension.secret }, tag())
  }
  const what = []
  if (body.name) Object.assign(user, { name: body.name.trim(), extension: { ...user.extension, caller_name: body.name.trim() } }), what.push('name')
  if (body.email !== undefined) user.email = body.email ?? ''
  if (body.number) (user.extension = { ...user.extension, number: Number(body.number) }), what.push('number')
  if (body.enabled !== undefined) (user.enabled = body.enabled), what.push('enabled')
  if (body.calls) {
    const calls = { ...user.calls }
    for (const [f, v] of Object.entries(body.calls)) {
      what.push(`calls.${f}`)
      if (v === null) delete calls[f]
      else calls[f] = v.kind === 'hangup' ? end : v
    }
    user.calls = calls
  }
  replan(what.length ? { kind: 'changed', number: user.extension.number, ...(body.number ? { former_number: number } : {}), name: user.name, what, reregister: !!body.number || body.enabled === false } : undefined)
  return send(200, whole(user), tag())
}
