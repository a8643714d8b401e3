// A mock portal: it serves the built pages and answers from memory, according to the contract. It is used for the screenshots in docs/screens
// and for lists longer than a real pool; no claim about the portal itself is tested with it.
import { createHash, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import path from 'node:path'
import { groupsOf, numbers } from './mock-numbers.mjs'
import { settings, settingsOf, switchesOf } from './mock-settings.mjs'
import { usersV1 } from './mock-users.mjs'

// What checks accessibility. A mock portal serves it, because the browser compiles a script of this size once in a tab if it fetches it itself,
// and each time if it is sent one.
export const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

// The origins of all mock portals.
export const origins = new Set()

const dist = process.env.DIST ?? path.resolve(import.meta.dirname, '../../internal/webui/dist')
const types = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.html': 'text/html; charset=utf-8', '.woff2': 'font/woff2' }
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

const first = ['Anna', 'Ben', 'Clara', 'David', 'Elif', 'Felix', 'Greta', 'Henry', 'Ida', 'Jonas', 'Klara', 'Leon', 'Mira', 'Noah', 'Olivia', 'Paul', 'Quirin', 'Rosa', 'Samuel', 'Tilda', 'Umut', 'Vera', 'Wanda', 'Yusuf', 'Zoë']
const last = ['Amsel', 'Berger', 'Çelik', 'Dietrich', 'Ebert', 'Fontana', 'Großmann', 'Hoffmann', 'Ivanova', 'Jäger', 'Kowalski', 'Lindqvist', 'Möller', 'Novák', 'O’Brien', 'Petersen', 'Quast', 'Rossi', 'Schneider', 'Tanaka', 'Urban', 'Vogel', 'Weiß', 'Ximénez', 'Zimmermann']
// Names from many languages, by their position in the list.
const others = {
  4: ['Elif Yıldız', 'elif.yildiz'], 13: ['Lobby', null], 9: ['Nguyễn Thị Minh Khai', 'minh.khai'], 11: ['Σοφία Παπαδοπούλου', 'sofia.papadopoulou'], 15: ['Misaki Tanaka', 'misaki.tanaka'], 18: ['Ольга Иванова', 'olga.ivanova'],
  22: ['مريم الحسن', 'maryam.alhassan'], 27: ['Siobhán Ní Bhriain', 'siobhan'], 33: ['João Pedro da Conceição Araújo de Albuquerque e Vasconcelos', 'joao.pedro'], 38: ['דניאל כהן', 'daniel.cohen'], 44: ['Seo-yeon Kim', 'seoyeon.kim'],
  52: ['Þórunn Sigurðardóttir', 'thorunn'], 61: ['Søren Ågård-Lindström', 'soren'], 70: ['Ananya Sharma', 'ananya.sharma'], 83: ['Łukasz Wiśniewski', 'lukasz.wisniewski'],
}
const agents = ['Yealink SIP-T46U 108.86', 'Snom D785/10.1.184', 'Linphone-Desktop/5.2.4', 'Grandstream GXP2170', 'Zoiper rv2.10.20', 'Fanvil X4U 2.12.16']

const iso = (ms) => new Date(ms).toISOString()
// A small random generator with a fixed seed, so that screenshots are reproducible.
function dice(seed) {
  let s = seed
  return () => ((s = (s * 1664525 + 1013904223) % 4294967296) / 4294967296)
}

export function world({ users = 120, now = Date.now(), setup = false, signedIn = true, role = 'owner', empty = false, groups = 4 } = {}) {
  const roll = dice(7)
  const person = (i) => {
    const latin = `${first[i % first.length]} ${last[(i * 7 + Math.floor(i / 25)) % last.length]}`
    const [name, mail] = others[i] ?? [latin, '']
    return {
      id: `2f9e5a1c-8d8e-4a53-9f5b-${String(i).padStart(12, '0')}`,
      tenant_id: 'a0000000-0000-0000-0000-000000000000',
      name,
      email: mail === null ? '' : `${mail || latin.replaceAll('ß', 'ss').normalize('NFD').replace(/[^a-zA-Z ]/g, '').toLowerCase().replace(' ', '.') + (i >= 25 ? i : '')}@example.com`,
      extension: { id: randomUUID(), number: 1000 + i, caller_name: name, secret: createHash('sha256').update(`s${i}`).digest('base64url').slice(0, 22), created_at: iso(now - (400 - i) * 3.1e6) },
      created_at: iso(now - (60 - (i % 60)) * 86.4e6 - i * 36e5),
      enabled: i !== 12,
      version: 1,
    }
  }
  const all = empty ? [] : Array.from({ length: users }, (_, i) => person(i))
  const registrations = all
    .filter((_, i) => i < users - 3 && i % 7 !== 5)
    .map((u, i) => ({ number: u.extension.number, state: i === 9 ? 'unreachable' : 'reachable', address: `192.0.2.${10 + (i % 200)}:${5060 + (i % 3)}`, user_agent: agents[(i * 5) % agents.length], rtt_ms: 4 + Math.round(roll() * 220) / 10, since: iso(now - roll() * 9e7), expires_at: iso(now + 2.4e6) }))
  const party = (u) => ({ number: String(u.extension.number), name: u.name })
  const calls = empty ? [] : [
    { id: 'c1', state: 'up', from: party(all[2]), to: party(all[14]), since: iso(now - 374e3) },
    { id: 'c2', state: 'up', from: party(all[7]), to: party(all[21]), since: iso(now - 61e3) },
    { id: 'c3', state: 'ringing', from: party(all[30] ?? all[3]), to: party(all[1]), since: iso(now - 6e3) },
  ]
  let level = registrations.length - 4
  const history = empty ? [] : Array.from({ length: 60 }, (_, i) => {
    level = Math.max(0, Math.min(registrations.length, level + (roll() < 0.25 ? (roll() < 0.62 ? 1 : -1) : 0)))
    return { at: iso(now - (59 - i) * 60e3), registrations: i === 59 ? registrations.length : level, calls: i === 59 ? calls.length : Math.max(0, Math.round(2 + 2.4 * Math.sin(i / 8) + (roll() - 0.5) * 2.6)) }
  })
  const file = (text) => [{ path: 'pjsip.d/synergycall/generated_endpoints.conf', text }, { path: 'extensions.d/synergycall/generated_routing.conf', text: text && '@@ -12,6 +12,9 @@\n exten => 1116,1,Dial(PJSIP/1116,25)\n  same => n,Hangup()\n+exten => 1117,1,Dial(PJSIP/1117,25)\n+ same => n,Hangup()\n exten => 1118,1,Dial(PJSIP/1118,25)\n' }]
  const diff = '@@ -310,8 +310,22 @@\n [1116]\n type=aor\n max_contacts=1\n+[1117]\n+type=endpoint\n+context=synergy-internal\n+disallow=all\n+allow=ulaw,alaw\n+auth=1117\n+aors=1117\n+\n+[1117]\n+type=auth\n+auth_type=userpass\n+username=1117\n+password=[hidden]\n-[1017]\n-type=aor\n'
  const pick = (i, kind, what = [], reregister = false) => ({ kind, number: all[i]?.extension.number ?? 1000 + i, name: all[i]?.name ?? '', what, reregister })
  const plan = empty
    ? { hash: 'e0', revision: 0, users: 0, pending: false, changes: [], things: [], effects: [], items: 0, diffs: file(''), drift: [], behind: '', asked_at: iso(now) }
    : { hash: '0f4a6c2d9b8e7351a2c4e6f80b1d3957', revision: 12, users: all.length, pending: true, changes: [pick(users - 3, 'added'), pick(users - 2, 'added'), pick(users - 1, 'added'), pick(8, 'changed', ['secret'], true), pick(19, 'changed', ['name']), { kind: 'removed', number: 1121, name: 'Nora Falk', what: [], reregister: true }], things: [], effects: [], items: 0, diffs: file(diff), drift: [], behind: '', asked_at: iso(now - 3e5) }
  const comments = ['Three new colleagues in support', '', 'Greta leaves', 'New secret for the front desk', 'Move to new names', '', 'Ben starts on Monday']
  const events = (n, users) => [
    { stage: 'plan', after_ms: 3, code: 'planned', users, revision: n - 1, message: `${users} users, against revision ${n - 1}` },
    { stage: 'stage', after_ms: 6, code: 'staged', revision: n, message: `revision ${n} is written beside the files in place` },
    { stage: 'flip', after_ms: 7, code: 'flipped', revision: n, message: `revision ${n} is in place, all files switched atomically` },
    { stage: 'reload', after_ms: 31, code: 'asked', message: 'Asterisk was asked to read the files' },
    { stage: 'verify', after_ms: 46, code: 'confirmed', users, message: `the live Asterisk runs exactly the ${users} users of this revision` },
    { stage: 'end', after_ms: 47, code: 'ended', message: 'done' },
  ]
  const requested = (name) => ({ triggered_by: name, actor: { kind: 'person', id: 'a1', name } })
  const run = (n, i) => ({
    id: `6d0f5b0e-52c5-4f0c-9d55-${String(n).padStart(12, '0')}`, triggered_at: iso(now - (i * i * 5.2e6 + 24e5)), ...requested(['Anna Amsel', 'Jonas Jäger', 'Anna Amsel'][i % 3]), comment: comments[i % comments.length],
    outcome: i === 4 ? 'failure' : 'success', error_details: i === 4 ? 'Asterisk did not load the new files (endpoint 1031 is missing); revision 7 is in place and running again, as before: find the rejected file and line in Asterisk’s log, fix the cause, and apply again' : null, code: i === 4 ? 'rolled_back' : null, result: i === 4 ? 'rolled_back' : 'applied', revision: n, restored: i === 3 ? n - 2 : null,
    verification: i === 4 ? 'contradicted' : 'confirmed', differences: i === 4 ? ['endpoint 1031 is missing', 'dialplan step 1031,1,Dial(PJSIP/1031,25) is missing'] : [], users: all.length - 3 - i, files_written: [], reload_results: {}, plan: { ...plan, changes: [] }, events: events(n, all.length - 3 - i), duration_ms: 47, files: [{ path: 'a', size: 1, sha256: 'f'.repeat(64) }], saved: [],
  })
  const runs = empty ? [] : Array.from({ length: 12 }, (_, i) => run(12 - i, i))
  const actor = (name, kind = 'person') => ({ kind, id: kind === 'person' ? 'a1' : '', name, from: kind === 'local' ? '' : '192.0.2.17' })
  const audit = empty ? [] : [
    ['user.create', actor('Anna Amsel'), { type: 'user', id: all.at(-1)?.id, name: all.at(-1)?.name }, null, { name: all.at(-1)?.name, email: all.at(-1)?.email, number: String(all.at(-1)?.extension.number) }, 6],
    ['user.create', actor('Anna Amsel'), { type: 'user', id: all.at(-2)?.id, name: all.at(-2)?.name }, null, { name: all.at(-2)?.name, email: all.at(-2)?.email, number: String(all.at(-2)?.extension.number) }, 9],
    ['user.delete', actor('Jonas Jäger'), { type: 'user', id: 'x', name: 'Nora Falk' }, { name: 'Nora Falk', email: 'nora.falk@example.com', number: '1121' }, null, 38],
    ['apply.run', actor('Anna Amsel'), { type: 'apply', id: '0a4d2b8e-3f1a-4f2e-8f55-6e1d2c7a9b01', name: '' }, { revision: '11' }, { result: 'applied', verification: 'confirmed', users: '117', triggered_by: 'Anna Amsel', revision: '12' }, 41],
    ['apply.started', actor('Anna Amsel'), { type: 'apply', id: '0a4d2b8e-3f1a-4f2e-8f55-6e1d2c7a9b01', name: '' }, null, { triggered_by: 'Anna Amsel', comment: 'Three new colleagues in support' }, 41],
    ['account.update', actor('Anna Amsel'), { type: 'account', id: 'a3', name: 'Mira Möller' }, { role: 'auditor' }, { role: 'operator' }, 190],
    ['token.create', actor('Anna Amsel'), { type: 'token', id: 't1', name: 'Provisioning' }, null, { name: 'Provisioning', role: 'operator', scopes: 'users:read users:write', expires_at: iso(now + 7.4e9) }, 260],
    ['session.sign_in_failed', actor('', 'anonymous'), { type: 'account', id: '', name: 'jonas@example.com' }, null, null, 305],
    ['user.create', actor('Provisioning', 'token'), { type: 'user', id: all.at(-4)?.id, name: all.at(-4)?.name }, null, { name: all.at(-4)?.name, email: all.at(-4)?.email, number: String(all.at(-4)?.extension.number) }, 1400],
    ['apply.run', actor('Jonas Jäger'), { type: 'apply', id: '5c0d2b8e-3f1a-4f2e-8f55-6e1d2c7a9b01', name: '' }, { revision: '7' }, { result: 'rolled_back', verification: 'contradicted', users: '113', triggered_by: 'Jonas Jäger', revision: '8', code: 'rolled_back', error_details: 'Asterisk did not load the new files (endpoint 1031 is missing); revision 7 is in place and running again, as before: find the rejected file and line in Asterisk’s log, fix the cause, and apply again' }, 1420],
    ['apply.restore', actor('root', 'local'), { type: 'apply', id: '4b0d2b8e-3f1a-4f2e-8f55-6e1d2c7a9b01', name: '' }, { revision: '8' }, { result: 'applied', verification: 'confirmed', users: '113', triggered_by: 'cli:root', revision: '9', restored: '7' }, 1480],
    ['account.create', actor('Anna Amsel'), { type: 'account', id: 'a4', name: 'Paul Petersen' }, null, { role: 'applier' }, 2890],
  ].map(([action, who, object, before, after, minutes], i) => ({ seq: 214 - i, at: iso(now - minutes * 60e3), actor: who, request_id: `7Q2K${i}XNBD4`, action, object, before, after, result: (action === 'session.sign_in_failed' && !who.name) || after?.code ? 'failed' : 'ok' }))
  const accounts = [
    { id: 'a1', name: 'Anna Amsel', email: 'anna@example.com', role: 'owner', totp_enabled: true, disabled: false, created_at: iso(now - 9e9), last_sign_in_at: iso(now - 12e5) },
    { id: 'a2', name: 'Jonas Jäger', email: 'jonas@example.com', role: 'admin', totp_enabled: true, disabled: false, created_at: iso(now - 8e9), last_sign_in_at: iso(now - 8e7) },
    { id: 'a3', name: 'Mira Möller', email: 'mira@example.com', role: 'operator', totp_enabled: false, disabled: false, ...(all[2] && { proposed_user: { id: all[2].id, name: all[2].name, number: '1002' } }), created_at: iso(now - 6e9), last_sign_in_at: iso(now - 3e8) },
    { id: 'a4', name: 'Paul Petersen', email: 'paul@example.com', role: 'applier', totp_enabled: false, disabled: false, created_at: iso(now - 2e8), last_sign_in_at: null, invited: true },
    { id: 'a5', name: 'Rosa Rossi', email: 'rosa@example.com', role: 'auditor', totp_enabled: false, disabled: true, created_at: iso(now - 7e9), last_sign_in_at: iso(now - 4e9) },
  ]
  const tokens = [
    { id: 't1', name: 'Provisioning', role: 'operator', scopes: ['users:read', 'users:write'], created_by: 'a1', made_with: null, created_at: iso(now - 4e8), expires_at: iso(now + 7.4e9), last_used_at: iso(now - 9e4) },
    { id: 't2', name: 'Monitoring', role: 'auditor', scopes: null, created_by: 'a1', made_with: null, created_at: iso(now - 3e9), expires_at: null, last_used_at: iso(now - 3e4) },
    { id: 't3', name: 'Nightly apply', role: 'applier', scopes: ['apply:read', 'apply:run'], created_by: 'a2', made_with: 't1', created_at: iso(now - 7.1e9), expires_at: iso(now + 5.2e8), last_used_at: iso(now - 3.4e7) },
    { id: 't4', name: 'Address book of the old switchboard', role: 'auditor', scopes: ['users:read'], created_by: null, made_with: null, created_at: iso(now - 9e9), expires_at: iso(now - 1.9e8), last_used_at: null },
  ]
  const sessions = [
    { id: 's1', created_at: iso(now - 5e6), last_seen_at: iso(now - 2e4), from: '192.0.2.17', user_agent: 'Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0', current: true },
    { id: 's2', created_at: iso(now - 9e7), last_seen_at: iso(now - 4e7), from: '192.0.2.80', user_agent: 'Mozilla/5.0 (iPhone; CPU iPhone OS 19_1) Safari/605', current: false },
  ]
  return { now, setup, signedIn, role, users: all, groups: groupsOf(all, now, groups), ...settingsOf(all, now), registrations, calls, history, plan, runs, events, audit, accounts, tokens, sessions, streams: new Set(), requests: [], down: false }
}

const permissions = {
  owner: ['users:read', 'users:write', 'things:read', 'things:write', 'switches:write', 'secrets:read', 'apply:read', 'apply:run', 'live:read', 'audit:read', 'accounts:read', 'accounts:write', 'system:read'],
  operator: ['users:read', 'users:write', 'things:read', 'switches:write', 'secrets:read', 'apply:read', 'live:read'],
  applier: ['users:read', 'things:read', 'apply:read', 'apply:run', 'live:read'],
  auditor: ['users:read', 'things:read', 'apply:read', 'live:read', 'audit:read', 'accounts:read', 'system:read'],
}

const page = (items, url, n) => {
  const from = Number(url.searchParams.get('cursor') ?? 0)
  const limit = Number(url.searchParams.get('limit') ?? n)
  return [items.slice(from, from + limit), from + limit < items.length ? String(from + limit) : undefined]
}

// serve returns a portal that answers for a world, until it is closed or switched to another one.
export async function serve(first) {
  let answer = answers(first)
  const server = createServer((req, res) => answer(req, res))
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready))
  const url = `http://127.0.0.1:${server.address().port}`
  origins.add(url)
  return {
    url,
    show: (w) => (answer = answers(w)),
    close: () => (server.closeAllConnections(), new Promise((done) => server.close(done))),
  }
}

// answers returns the request handler of a world.
function answers(w) {
  const session = () => ({ account: { id: w.account ?? 'a1', name: w.account ? 'Berta Blum' : 'Anna Amsel', email: 'anna@example.com', role: w.role, totp_enabled: true, totp_demanded: false }, token: null, permissions: permissions[w.role], expires_at: iso(Date.now() + 36e5), insecure: false })
  const live = () => ({ asterisk: w.link ?? { state: 'connected', since: iso(w.now - 3.1e8), version: '22.10.1', message: 'ok' }, registrations: w.registrations, calls: w.calls, switches: [...w.switches].map(([number, switches]) => ({ number: Number(number), switches })), history: w.history })
  return async (req, res) => {
    const url = new URL(req.url, 'http://x')
    const send = (status, value, headers = {}) => {
      res.writeHead(status, { 'Content-Type': status >= 400 ? 'application/problem+json' : 'application/json', 'Cache-Control': 'no-store', 'X-Request-Id': 'MOCK', ...headers })
      res.end(value === undefined ? '' : JSON.stringify(value))
    }
    const problem = (status, code, detail, errors, more = {}) => send(status, { type: `urn:pbxportal:problem:${code}`, title: code, status, detail, code, request_id: 'MOCK', ...(errors ? { errors } : {}), ...more })
    if (url.pathname === '/axe.js') {
      res.writeHead(200, { 'Content-Type': 'text/javascript', 'Cache-Control': 'public, max-age=31536000, immutable' })
      return res.end(axe)
    }
    if (w.down) return req.socket.destroy()
    if (url.pathname.startsWith('/app/')) {
      const name = url.pathname.slice(5)
      for (const [file, cache] of [[name, 'public, max-age=31536000, immutable'], ['index.html', 'no-cache']]) {
        try {
          const body = await readFile(path.join(dist, path.normalize(file)))
          res.writeHead(200, { 'Content-Type': types[path.extname(file)] ?? 'application/octet-stream', 'Content-Security-Policy': policy, 'Cache-Control': cache })
          return res.end(body)
        } catch {
          // the next one
        }
      }
    }
    let text = ''
    for await (const chunk of req) text += chunk
    const body = text ? JSON.parse(text) : {}
    w.requests.push({ method: req.method, path: url.pathname, body, headers: req.headers })
    const call = `${req.method} ${url.pathname}`
    const id = url.pathname.replace('/api/v1', '').split('/')[2]
    if (w.broken === url.pathname) return problem(500, 'internal', 'something went wrong inside the portal')
    if (call === 'GET /health') return send(200, { status: 'ok', database: 'ok', asterisk: 'ok', asterisk_version: '22.10.1', files: 'ok', audit: 'ok', version: '1.0.0', ...w.health })
    if (call === 'GET /setup') return send(200, { needed: w.setup, oidc: false })
    if (call === 'POST /setup') {
      if (body.code !== 'CODE') return problem(403, 'setup_code_invalid', 'the set-up code is wrong, used or expired')
      w.setup = false
      w.signedIn = true
      return send(201, session())
    }
    if (call === 'POST /session') {
      if (body.password !== 'correct horse battery') return problem(401, 'sign_in_failed', 'e-mail address, password or code is wrong')
      if (!body.otp && body.email.startsWith('otp')) return problem(401, 'otp_required', 'a code is needed as well')
      w.signedIn = true
      return send(200, session())
    }
    if (call === 'POST /invitations') {
      w.signedIn = true
      return send(201, session())
    }
    if (!w.signedIn) return problem(401, 'not_signed_in', 'sign in first')
    const expected = req.headers['expected-account']
    if (expected !== undefined && expected !== (w.account ?? 'a1')) return problem(401, 'other_account', 'another account is signed in; nothing was done')
    if (call === 'GET /session') return send(200, session())
    if (call === 'DELETE /session') {
      w.signedIn = false
      return send(204)
    }
    if (call === 'GET /live') return send(200, live())
    if (call === 'GET /live/events') {
      res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
      res.write(`id: 1\nevent: snapshot\ndata: ${JSON.stringify(live())}\n\n`)
      w.streams.add(res)
      const beat = setInterval(() => res.write(': nothing new\n\n'), 10_000)
      return res.on('close', () => {
        clearInterval(beat)
        w.streams.delete(res)
      })
    }
    if (call === 'GET /users') return send(200, { users: w.users.map(({ enabled, version, ...u }) => (url.searchParams.get('secrets') === 'false' ? { ...u, extension: { ...u.extension, secret: undefined } } : u)) })
    if (/^GET \/users\/[^/]+\/secret$/.test(call)) return send(200, { secret: w.users.find((u) => u.id === id).extension.secret })
    if (/\/switches$/.test(url.pathname)) return switchesOf(w, w.users.find((u) => u.id === id), { req, body, send, problem })
    if (url.pathname.startsWith('/api/v1/users')) return usersV1(w, { call, url, id, body, match: req.headers['if-match'], key: req.headers['idempotency-key'], res, send, problem })
    if (settings(w, { req, url, body, send, problem })) return
    if (numbers(w, { req, url, body, send, problem })) return
    if (call === 'GET /apply/plan') return send(200, w.plan)
    if (call === 'GET /apply/revisions') {
      const [revisions, next_cursor] = page(w.runs, url, 20)
      return send(200, { revisions: revisions.map((r) => ({ revision: r.revision, run_id: r.id, triggered_at: r.triggered_at, triggered_by: r.triggered_by, actor: r.actor, comment: r.comment, outcome: r.outcome, result: r.result, restored: r.restored, verification: r.verification, users: r.users, plan: { hash: 'x', revision: r.revision - 1, pending: true, added: r.revision % 4, removed: r.revision % 3 === 0 ? 1 : 0, changed: r.revision % 2 } })), next_cursor })
    }
    if (/^\/apply\/revisions\/\d+\/diff$/.test(url.pathname)) return send(200, { revision: Number(url.pathname.split('/')[3]), against: Number(url.pathname.split('/')[3]) - 1, diffs: w.plan.diffs })
    if (/^\/apply\/revisions\/\d+$/.test(url.pathname)) {
      const found = w.runs.find((r) => r.revision === Number(url.pathname.split('/')[3]))
      return found ? send(200, found) : problem(404, 'revision_not_found', 'there is no such revision')
    }
    if (w.refuse && (call === 'POST /apply' || /^POST .*\/revisions\/\d+\/users$/.test(call))) return problem(w.refuse.status, w.refuse.code, w.refuse.detail)
    if (/^POST \/apply\/revisions\/\d+\/users$/.test(call)) {
      w.plan = { ...w.plan, hash: randomUUID().slice(0, 8), pending: false, changes: [], diffs: w.plan.diffs.map((d) => ({ ...d, text: '' })) }
      return send(200, { deleted: [1116], created: [1003], changed: [], new_secrets: [1003], unknown: [] })
    }
    if (call === 'POST /apply' || /^POST \/apply\/revisions\/\d+\/restore$/.test(call)) {
      const n = w.plan.revision + 1
      const made = { ...(w.runs[0] ?? {}), id: randomUUID(), triggered_at: iso(Date.now()), triggered_by: body.triggered_by, comment: body.comment ?? '', outcome: 'success', error_details: null, code: null, result: 'interrupted', revision: n, restored: null, verification: 'confirmed', differences: [], users: w.users.length, files_written: [], reload_results: {}, plan: { ...w.plan }, duration_ms: 47, files: [{ path: 'a', size: 1, sha256: 'f'.repeat(64) }], saved: [], events: [] }
      w.pending = made
      return send(202, { message: 'the apply was recorded and is in progress', run_id: made.id, events: `/apply/runs/${made.id}/events` })
    }
    if (/^\/apply\/runs\/[^/]+\/events$/.test(url.pathname)) {
      res.writeHead(200, { 'Content-Type': 'text/event-stream' })
      const all = w.events(w.pending.revision, w.users.length)
      for (const [i, e] of all.entries()) {
        await new Promise((next) => setTimeout(next, w.pace ?? 30))
        if (w.hold === e.stage) await w.held
        res.write(`id: ${i + 1}\nevent: ${e.stage}\ndata: ${JSON.stringify(e)}\n\n`)
      }
      w.pending.events = all
      w.pending.result = 'applied'
      w.runs.unshift(w.pending)
      w.plan = { ...w.plan, hash: randomUUID().slice(0, 8), revision: w.pending.revision, pending: false, changes: [], diffs: w.plan.diffs.map((d) => ({ ...d, text: '' })), drift: [], behind: '' }
      return res.end(`event: done\ndata: {"result":"applied","outcome":"success"}\n\n`)
    }
    if (/^\/apply\/runs\/[^/]+$/.test(url.pathname)) return send(200, w.runs.find((r) => url.pathname.endsWith(r.id)))
    if (call === 'GET /audit') {
      const q = (n) => (url.searchParams.get(n) ?? '').toLowerCase()
      const hits = w.audit.filter((e) => (!q('actor') || e.actor.name.toLowerCase().includes(q('actor'))) && (!q('action') || e.action === q('action')) && (!q('object') || e.object.id === q('object') || e.object.name?.toLowerCase().includes(q('object'))))
      const [events, next_cursor] = page(hits, url, 50)
      return send(200, { events, next_cursor })
    }
    if (call === 'GET /accounts') return send(200, { accounts: w.accounts })
    if (call === 'POST /accounts') {
      const account = { id: randomUUID(), ...body, totp_enabled: false, disabled: false, created_at: iso(w.now), last_sign_in_at: null }
      w.accounts.push(account)
      return send(201, { account, link: { code: 'inv_8Hq2mX7pLw0ZrT5yNcA4kQ', expires_at: iso(Date.now() + 864e5) } })
    }
    if (req.method === 'PATCH' && url.pathname.startsWith('/accounts/')) return send(200, Object.assign(w.accounts.find((a) => a.id === id), body))
    if (req.method === 'DELETE' && url.pathname.startsWith('/accounts/')) return (w.accounts = w.accounts.filter((a) => a.id !== id)), send(204)
    if (/^POST \/accounts\/[^/]+\/reset$/.test(call)) return send(200, { link: { code: 'res_8Hq2mX7pLw0ZrT5yNcA4kQ', expires_at: iso(Date.now() + 36e5) } })
    if (call === 'GET /tokens') return send(200, { tokens: w.tokens })
    if (call === 'POST /tokens') {
      const token = { id: randomUUID(), name: body.name, role: body.role, scopes: body.scopes ?? null, created_by: 'a1', made_with: null, created_at: iso(w.now), expires_at: body.expires_in_days ? iso(w.now + body.expires_in_days * 864e5) : null, last_used_at: null }
      w.tokens.push(token)
      return send(201, { token, secret: 'pbx_k7_Xw0ZrT5yNcA4kQh3K9vQ2mX7pL8Hq2mX7pLw' })
    }
    if (req.method === 'DELETE' && url.pathname.startsWith('/tokens/')) return (w.tokens = w.tokens.filter((a) => a.id !== id)), send(204)
    if (call === 'GET /account/sessions') return send(200, { sessions: w.sessions })
    if (req.method === 'DELETE' && url.pathname.startsWith('/account/sessions/')) return (w.sessions = w.sessions.filter((s) => s.id !== url.pathname.split('/')[3])), send(204)
    if (call === 'POST /account/totp') return send(200, { secret: 'JBSWY3DPEHPK3PXP', uri: 'otpauth://totp/PBX%20Portal:anna@example.com?secret=JBSWY3DPEHPK3PXP&issuer=PBX%20Portal' })
    if (call === 'POST /account/totp/confirm') return send(200, { recovery_codes: ['k7qf-2m9x', 'p3wz-8hnd', 't5yr-c4ka', 'q2mx-7plw', 'z0rt-5ync', 'a4kq-h3k9', 'v2hq-2mx7', 'w0zr-t5yn'] })
    return problem(404, 'path_not_found', 'there is nothing at this path')
  }
}
