// The pages with a mock portal: everything that does not depend on the portal itself.
import { accessible, finish, fits, launch, must, same, step, watch } from './lib.mjs'
import { serve, world } from './mock.mjs'
import { numberPages, numberStates, numberSteps } from './paper-numbers.mjs'
import { placeSteps } from './paper-places.mjs'
import { settingsPages, settingsStates, settingsSteps } from './paper-settings.mjs'
import { userStates, userSteps } from './paper-users.mjs'

const browser = await launch()
const noise = []

const desk = { viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce', locale: 'en-GB' }

// open shows a page of a mock portal with these options.
async function open(options, to = '', context = {}) {
  const portal = await serve(world(options))
  const ctx = await browser.newContext({ ...desk, ...context })
  return { page: await show(ctx, portal, to), portal, close: async () => (await ctx.close(), portal.close()) }
}

async function show(ctx, portal, to) {
  const page = await ctx.newPage()
  watch(page, noise)
  return turn(page, portal, to)
}

// turn opens a page of the portal in a tab.
async function turn(page, portal, to) {
  await page.goto(`${portal.url}/app/${to}`)
  await page.waitForSelector('#app h1', { state: 'attached' })
  await page.waitForTimeout(250)
  return page
}

// Tabs with a mock portal each that no step uses at the moment. Steps share them: in the process of a tab the scripts are compiled already.
const tabs = []

async function newTab() {
  const portal = await serve(world())
  const ctx = await browser.newContext(desk)
  const page = await ctx.newPage()
  watch(page, noise)
  return { page, portal }
}

// look opens a page of a portal in this state and acts on it.
async function look(w, to, act) {
  const tab = tabs.pop() ?? (await newTab())
  const { page, portal } = tab
  portal.show(w)
  await page.goto('about:blank') // a change of what follows the # alone would not load the page
  await page.setViewportSize(desk.viewport)
  await page.emulateMedia({ media: null, colorScheme: 'light', reducedMotion: 'reduce' })
  await turn(page, portal, to)
  const seen = await act(page, w, portal) // after a failure the tab is not used again
  if (page.url().startsWith(portal.url)) {
    await page.evaluate(() => (localStorage.clear(), sessionStorage.clear()))
    await page.context().clearCookies()
    tabs.push(tab)
  } else await page.context().close()
  return seen
}

async function worker() {
  for (let next = steps.shift(); next; next = steps.shift()) await step(...next)
}

const pages = [
  ['sign in', '', { signedIn: false }],
  ['set-up', 'setup#CODE', { setup: true, signedIn: false }],
  ['invitation', 'invite#CODE', { signedIn: false }],
  ['home', ''],
  ['home of an empty portal', '', { empty: true }],
  ['users', 'people'],
  ['no people', 'people', { empty: true }],
  ['a person', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000002'],
  ['the history of a person', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000002/history'],
  ['phones', 'phones'],
  ['new user', 'people?new'],
  ['apply', 'changes'],
  ['nothing to apply', 'changes', { empty: true }],
  ['a revision', 'changes/revisions/8'],
  ['activity', 'settings/activity'],
  ['my account', 'settings/account'],
  ['administrators', 'settings/administrators'],
  ['tokens', 'settings/tokens'],
  ['asterisk', 'settings/asterisk'],
  ['about', 'settings/about'],
]

// States of pages: windows, menus, panels and errors, each with the actions that lead to it.
const named = (page, name) => page.getByRole('button', { name, exact: true }).first().click()
const dialog = (page, text) => page.locator('[role=dialog]', { hasText: text }).waitFor()
const drift = (kind) => ({ drift: [{ kind, path: '/etc/asterisk/pjsip.d/synergycall/generated_endpoints.conf' }] })
const states = [
  ['an open entry', 'settings/activity', {}, async (page) => page.locator('summary').first().click()],
  ['the palette', '', {}, async (page) => {
    await page.keyboard.press('Control+k')
    await page.waitForSelector('[role=combobox]')
    await page.keyboard.type('an')
  }],
  ['the menu', '', {}, async (page) => {
    await page.locator('button[aria-haspopup=menu] >> visible=true').click()
    await page.waitForSelector('[role=menu]')
  }],
  ['the keys', '', {}, async (page) => {
    await page.keyboard.press('?')
    await dialog(page, 'find a page')
  }],
  ['a form with faults', 'people?new', {}, async (page) => {
    await page.fill('[name=email]', 'nowhere')
    await named(page, 'Create person')
    await page.waitForSelector('text=This is not an e-mail address.')
  }],
  ['a new user’s card with the secret and the QR code', 'people?new', {}, async (page) => {
    await page.fill('[name=name]', 'Key Board')
    await page.fill('[name=email]', 'key@example.com')
    await named(page, 'Create person')
    await named(page, 'Reveal phone password')
    await named(page, 'QR code')
    await page.waitForSelector('[role=dialog] svg[role=img]')
  }],
  ['a question before a user is deleted', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000002', {}, async (page) => {
    await named(page, 'Delete person')
    await dialog(page, 'becomes free')
  }],
  ['a search without results', 'people', {}, async (page) => {
    await page.fill('input[type=search]', 'no such user')
    await page.waitForSelector('text=No people found')
  }],
  ['users that cannot be loaded', 'people', { broken: '/users' }, async (page) => page.waitForSelector('main [role=alert]')],
  ['a plan with the changes of the files', 'changes', {}, async (page) => {
    await page.locator('button:has-text("File changes")').click()
    await page.waitForSelector('text=[1117]')
  }],
  ['a plan with configuration drift', 'changes', { plan: drift('edited') }, async (page) => page.waitForSelector('text=was edited')],
  ['a plan with a file that has to be moved away', 'changes', { plan: drift('foreign') }, async (page) => page.waitForSelector('text=Move that file to another folder on the host')],
  ['an apply on its way', 'changes', { hold: 'reload' }, async (page) => {
    await named(page, 'Apply 6 changes')
    await page.waitForSelector('ol li:has-text("Switch")')
  }],
  ['what an apply did', 'changes', {}, async (page) => {
    await named(page, 'Apply 6 changes')
    await page.waitForSelector('text=Applied. Asterisk runs it.')
    await page.locator('summary').first().click()
  }],
  ['a revision that failed', 'changes/revisions/8', {}, async (page) => dialog(page, 'endpoint 1031 is missing')],
  ['a question before a revision is restored', 'changes/revisions/9', {}, async (page) => {
    await named(page, 'Restore revision')
    await dialog(page, 'Restore revision 9?')
  }],
  ['an invitation with faults', 'settings/administrators', {}, async (page) => {
    await named(page, 'Invite')
    await named(page, 'Create invitation')
    await page.waitForSelector('text=Required. >> nth=0')
  }],
  ['a link that is shown once', 'settings/administrators', {}, async (page) => {
    await named(page, 'Invite')
    await page.locator('[role=dialog] input').first().fill('Axel')
    await page.locator('[role=dialog] input[type=email]').fill('axel@example.com')
    await named(page, 'Create invitation')
    await page.waitForSelector('[data-once]')
  }],
  ['what can be done with an account', 'settings/administrators', {}, async (page) => {
    await named(page, 'Actions for Mira Möller')
    await page.waitForSelector('[role=menu]')
  }],
  ['a question before an account is removed', 'settings/administrators', {}, async (page) => {
    await named(page, 'Actions for Mira Möller')
    await page.getByRole('menuitem', { name: 'Remove' }).click()
    await dialog(page, 'Remove Mira Möller?')
  }],
  ['a new token', 'settings/tokens', {}, async (page) => {
    await named(page, 'New token')
    await named(page, 'Create token')
    await page.waitForSelector('text=Required. >> nth=0')
  }],
  ['a token that is shown once', 'settings/tokens', {}, async (page) => {
    await named(page, 'New token')
    await page.locator('[role=dialog] input').first().fill('Monitoring')
    await named(page, 'Create token')
    await page.waitForSelector('[data-once]')
  }],
  ['a question before a token is revoked', 'settings/tokens', {}, async (page) => {
    await named(page, 'Revoke: Monitoring')
    await dialog(page, 'Revoke Monitoring?')
  }],
  ['a question before the second factor is turned off', 'settings/account', {}, async (page) => {
    await named(page, 'Turn off')
    await page.waitForSelector('[role=dialog] input[type=password]')
  }],
  ['a sign-in that failed', '', { signedIn: false }, async (page) => {
    await page.fill('[name=email]', 'anna@example.com')
    await page.fill('[name=password]', 'not this one')
    await page.keyboard.press('Enter')
    await page.waitForSelector('[role=alert]')
  }],
  ['a session that has ended', 'people', {}, async (page, w) => {
    w.signedIn = false
    await page.keyboard.press('n')
    await page.fill('[name=name]', 'Key Board')
    await page.fill('[name=email]', 'key@example.com')
    await named(page, 'Create person')
    await dialog(page, 'Sign in again')
  }],
  ['a portal that does not answer', 'people', {}, async (page, w) => {
    w.down = true
    for (const stream of w.streams) stream.destroy()
    await page.waitForSelector('[data-trouble=portal]')
  }],
]

// painted waits until what changed is on the screen.
const painted = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))

// between tests widths between a phone and a desktop: a tablet upright, half a screen, and a laptop at 200 %, which a browser lays out as
// a window of half the size.
async function between(page, what) {
  for (const [width, height] of [[640, 800], [768, 1024], [950, 800], [720, 450]]) {
    await page.setViewportSize({ width, height })
    await painted(page)
    await fits(page, what)
    same(await overlaps(page), [], `${what} at ${width}×${height}: what lies over each other`)
  }
}

// overlaps returns the pairs of controls that overlap in the topmost window.
const overlaps = (page) =>
  page.evaluate(() => {
    const top = [...document.querySelectorAll('[role=dialog]')].at(-1) ?? document.querySelector('main')
    // The parts of a link that wraps are compared separately, without what a box clips.
    const parts = (el) =>
      [...el.getClientRects()].map((part) => {
        let box = part
        for (let up = el.parentElement; up && box.width > 0 && box.height > 0; up = up.parentElement) {
          if (getComputedStyle(up).overflow === 'visible') continue
          const frame = up.getBoundingClientRect()
          const [x, y] = [Math.max(box.left, frame.left), Math.max(box.top, frame.top)]
          box = new DOMRect(x, y, Math.min(box.right, frame.right) - x, Math.min(box.bottom, frame.bottom) - y)
        }
        return box
      }).filter((box) => box.width > 0 && box.height > 0)
    const all = [...(top?.querySelectorAll('button, a[href], input:not(.sr-only), select, summary, [role=row]') ?? [])]
      .filter((el) => el.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !el.closest('.fixed:not([role=dialog]), [role=menu]'))
      .map((el) => ({ el, boxes: parts(el) }))
    const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2
    const name = (el) => (el.ariaLabel || el.innerText || el.name || el.tagName).trim().slice(0, 30)
    const found = []
    for (const [i, a] of all.entries()) {
      for (const b of all.slice(i + 1)) {
        if (a.el.contains(b.el) || b.el.contains(a.el) || a.el.parentElement === b.el.parentElement && a.el.type !== b.el.type && a.el.tagName === 'INPUT') continue
        if (a.boxes.some((x) => b.boxes.some((y) => over(x, y)))) found.push(`${name(a.el)} / ${name(b.el)}`)
      }
    }
    return found.slice(0, 5)
  })

const steps = []
const later = (...aStep) => steps.push(aStep)

for (const [name, to, options = {}, act] of [...pages, ...numberPages, ...settingsPages, ...states, ...userStates, ...numberStates, ...settingsStates]) {
  later(`${name}: accessible in both themes, wide and on a phone, and nothing overlaps between`, async () => {
    const w = world(options)
    Object.assign(w, { broken: options.broken, hold: options.hold, held: new Promise(() => {}) })
    if (options.plan) Object.assign(w.plan, options.plan)
    await look(w, to, async (page) => {
      await act?.(page, w)
      await accessible(page, name)
      await between(page, name)
      await page.setViewportSize({ width: 360, height: 740 })
      await page.waitForTimeout(100)
      await fits(page, name)
      await accessible(page, `${name} on a phone`)
    })
  })
}

later('a plan says how old its comparison with Asterisk is', async () => {
  const { page, close } = await open({}, 'changes')
  await page.waitForSelector('text=/Compared with Asterisk\\s+5 minutes ago/')
  await close()
})

later('German everywhere, also after a reload', async () => {
  const { page, close } = await open({}, 'changes', { locale: 'de-DE' })
  await page.waitForSelector('h1:has-text("Änderungen")')
  same(await page.evaluate(() => document.documentElement.lang), 'de', 'the language of the page')
  await page.locator('aside button[aria-haspopup=menu]').click()
  await page.locator('[role=menuitemradio]:has-text("English")').click()
  await page.keyboard.press('Escape')
  await page.waitForSelector('h1:has-text("Changes")')
  await page.reload()
  await page.waitForSelector('h1:has-text("Changes")')
  await close()
})

later('the theme is switched, and set before the first paint', async () => {
  const { page, close } = await open({}, '', { colorScheme: 'light' })
  await page.locator('aside button[aria-haspopup=menu]').click()
  await page.locator('[role=menuitemradio]:has-text("Dark")').click()
  const dark = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
  same(await dark(), 'rgb(12, 16, 18)', 'the background')
  await page.reload({ waitUntil: 'commit' })
  await page.waitForFunction(() => document.documentElement.dataset.theme === 'dark' && document.styleSheets.length)
  same(await dark(), 'rgb(12, 16, 18)', 'the background after a reload')
  await close()
})

// Malicious names: markup, scripts, control characters, unusual Unicode.
const stems = [
  '<script>alert(1)</script>', '<img src=x onerror=alert(1)>', '<svg/onload=alert(1)>', '"><iframe src=javascript:alert(1)>', "'-alert(1)-'", '{{7*7}}', '${7*7}', '{@html "<b>x</b>"}', '<b>bold</b>', '</div></body>', '<style>*{display:none}</style>',
  'javascript:alert(1)', '&lt;script&gt;', '&amp;&#60;b&#62;', '\u202Eevil\u202C', 'a\u0300\u0301\u0302\u0303', '\u200B\u200D', '😀🏳️‍🌈', 'שלום עולם', 'مرحبا', '名前'.repeat(20), 'x'.repeat(255), '__proto__', 'constructor', 'undefined', 'null', '%00%0a', '../../etc/passwd', "Robert'); DROP TABLE users;--", '=cmd|calc!A1', '<a href=//evil.example>click</a>', '<math><mi//xlink:href="data:x,<script>alert(1)</script>">',
]
later('1,024 malicious names are shown as text', async () => {
  const w = world()
  w.users = Array.from({ length: 1024 }, (_, i) => ({ ...w.users[0], id: `id-${i}`, name: `${stems[i % stems.length]} ${i}`, email: `${i}@example.com`, extension: { ...w.users[0].extension, number: 1000 + i } }))
  const names = w.users.map((u) => u.name)
  w.plan = { ...w.plan, changes: names.map((name, i) => ({ kind: 'added', number: 1000 + i, name, what: [], reregister: false })) }
  w.audit = w.audit.concat(names.slice(0, 40).map((name, i) => ({ seq: 1000 - i, at: new Date().toISOString(), actor: { kind: 'person', id: 'x', name, from: name }, request_id: name, action: name, object: { type: 'user', id: 'x', name }, before: { name }, after: { [name]: name }, result: 'ok' })))
  w.calls = names.slice(0, 40).map((name, i) => ({ id: `c${i}`, state: 'up', from: { number: name, name }, to: { number: '1', name }, since: new Date().toISOString() }))
  w.registrations = names.slice(0, 200).map((name, i) => ({ number: 1000 + i, state: 'reachable', address: name, user_agent: name, since: new Date().toISOString() }))
  const portal = await serve(w)
  const ctx = await browser.newContext(desk)
  const page = await ctx.newPage()
  watch(page, noise)
  await page.goto(`${portal.url}/app/people`)
  await page.waitForSelector('[data-row]')
  const seen = new Map()
  const grid = page.locator('[role=grid] [role=presentation]')
  for (let y = 0; seen.size < 1024 && y < 1024 * 44 + 2000; y += 600) {
    await grid.evaluate((el, top) => (el.scrollTop = top), y)
    await painted(page)
    for (const [i, name] of await page.$$eval('[data-row]', (rows) => rows.map((r) => [Number(r.dataset.row), r.children[1].textContent]))) seen.set(i, name)
  }
  same(seen.size, 1024, 'how many rows were seen')
  for (const [i, name] of names.entries()) must(seen.get(i) === name, `row ${i} shows ${JSON.stringify(seen.get(i))} for ${JSON.stringify(name)}`)
  await page.locator('[data-row]').last().click()
  await page.waitForSelector('[data-person]')
  await page.goto(`${portal.url}/app/changes`)
  await page.waitForSelector('main button:has-text("more")')
  for (const more of await page.locator('main button:has-text("more")').all()) await more.click()
  await page.waitForFunction((n) => document.querySelectorAll('main li').length >= n, 1024)
  const shown = await page.$$eval('main section li', (all) => all.map((li) => li.textContent))
  for (const name of names) must(shown.some((text) => text.includes(name)), `the plan does not show ${JSON.stringify(name)}`)
  for (const to of ['', 'settings/activity']) {
    await page.goto(`${portal.url}/app/${to}`)
    await page.waitForTimeout(500)
  }
  for (const summary of (await page.locator('summary').all()).slice(0, 20)) await summary.click()
  const planted = await page.evaluate(() => document.querySelectorAll('main script, main iframe, main img, main style, main b, main math, a[href^="javascript"], a[href*="evil"]').length)
  same(planted, 0, 'elements that came out of names')
  await page.keyboard.press('Control+k')
  await page.waitForSelector('[role=combobox]')
  await page.keyboard.type('script')
  await page.waitForSelector('[role=option]:has-text("<script>alert(1)</script> 0")')
  await ctx.close()
  await portal.close()
})

later('everything can be done with keys alone', async () => {
  const { page, portal, close } = await open({}, '')
  await page.waitForSelector('aside nav')
  await page.keyboard.press('g')
  await page.keyboard.press('p')
  await page.waitForSelector('[role=grid]')
  await page.keyboard.press('/')
  await page.keyboard.type('anna')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  await page.waitForSelector('[data-person] h2:has-text("Anna Amsel"):focus')
  await page.keyboard.press('Escape')
  await page.waitForSelector('[data-person]', { state: 'detached' })
  await page.keyboard.press('n')
  await page.waitForSelector('[role=dialog] [name=name]')
  await page.keyboard.type('Key Board')
  await page.keyboard.press('Tab')
  await page.keyboard.type('key@example.com')
  await page.keyboard.press('Enter')
  await page.waitForSelector('text=Key Board was created')
  await page.keyboard.press('Escape')
  await page.waitForSelector('[role=dialog]', { state: 'detached' })
  await page.keyboard.press('g')
  await page.keyboard.press('a')
  await page.waitForSelector('text=Apply 7 changes')
  const button = page.locator('button:has-text("Apply 7 changes")')
  for (let i = 0; i < 60 && !(await button.evaluate((el) => el === document.activeElement)); i++) await page.keyboard.press('Tab')
  const ring = await button.evaluate((el) => getComputedStyle(el).outlineStyle)
  same(ring, 'solid', 'the focus ring of the button')
  await page.keyboard.press('Enter')
  await page.waitForSelector('text=Applied. Asterisk runs it.')
  must(portal.url, 'the portal is there')
  await close()
})

const clara = '2f9e5a1c-8d8e-4a53-9f5b-000000000002'
const deletes = (w) => w.requests.filter((r) => r.method === 'DELETE').length

// A mock portal whose state is accessible, with a manual clock if the step asks for one.
async function visit(options, to, act) {
  if (!options.clock && !options.locale) return look(world(options), to, act)
  const w = world(options)
  const portal = await serve(w)
  const ctx = await browser.newContext({ ...desk, locale: options.locale ?? desk.locale })
  const page = await ctx.newPage()
  watch(page, noise)
  if (options.clock) await page.clock.install()
  await page.goto(`${portal.url}/app/${to}`)
  await page.waitForSelector('#app h1', { state: 'attached' })
  try {
    return await act(page, w, portal)
  } finally {
    await ctx.close()
    await portal.close()
  }
}
async function deleteClara(page) {
  await page.click('button:has-text("Delete person")')
  await page.click('button:has-text("Delete 1002")')
  await page.waitForSelector('button:has-text("Undo")')
}

later('a deletion is delayed for eight seconds, and can be undone with a key', () =>
  visit({ clock: true }, `people/${clara}`, async (page, w) => {
    await deleteClara(page)
    await page.waitForSelector('[data-number="1002"]:has-text("will be deleted")')
    await page.clock.pauseAt(Date.now() + 1000) // until here the clock ran
    const left = Number(await page.textContent('[data-left]'))
    must(left > 2 && left <= 8, `${left} seconds are left`)
    await page.clock.runFor((left - 1) * 1000)
    same(await page.textContent('[data-left]'), '1', 'the seconds that are left')
    same(deletes(w), 0, 'requests to delete in the last second')
    await page.keyboard.press('z')
    await page.waitForSelector('text=Clara O’Brien was kept. Nothing was deleted.')
    await page.clock.runFor(9000)
    same(deletes(w), 0, 'requests to delete after it was taken back')
    must(!(await page.locator('[data-number="1002"]:has-text("will be deleted")').count()), 'the row is still marked')
    await page.clock.resume()
    await page.click('[data-number="1002"]')
    await deleteClara(page)
    await page.focus('button:has-text("Undo")')
    await page.clock.runFor(20_000)
    same(deletes(w), 0, 'requests to delete while the button has the focus')
    await page.keyboard.press('Tab')
    await page.clock.runFor(9000)
    await page.waitForSelector('text=Clara O’Brien was deleted. 1002 is free again.')
    same(deletes(w), 1, 'requests to delete')
    must(!(await page.locator('[data-number="1002"]').count()), 'the row is still there')
  }),
)

later('a pending deletion is sent before any other change', () =>
  visit({}, `people/${clara}`, async (page, w) => {
    await deleteClara(page)
    await page.focus('button:has-text("Undo")') // the countdown stops
    await accessible(page, 'a deletion that waits')
    await page.keyboard.press('n')
    await page.fill('[name=name]', 'Next One')
    await page.fill('[name=email]', 'next@example.com')
    await page.click('form button[type=submit]')
    await page.waitForSelector('text=Next One was created')
    same(w.requests.filter((r) => r.method !== 'GET').map((r) => `${r.method} ${r.path.split('/')[3]}`), ['DELETE users', 'POST users'], 'what was changed, in order')
  }),
)

later('an apply includes a pending deletion in the plan, and shows that plan first', () =>
  visit({}, `people/${clara}`, async (page, w) => {
    await deleteClara(page)
    await page.keyboard.press('g')
    await page.keyboard.press('a')
    await page.click('button:has-text("Apply 6 changes")')
    await page.waitForSelector('text=The plan has changed since you reviewed it.')
    same(w.requests.filter((r) => r.method !== 'GET').map((r) => r.method), ['DELETE'], 'what was changed')
    await page.click('button:has-text("Apply 7 changes")')
    await page.waitForSelector('text=Applied. Asterisk runs it.')
  }),
)

later('a pending deletion is sent when the page is closed', () =>
  visit({}, `people/${clara}`, async (page, w) => {
    await deleteClara(page)
    await page.goto('about:blank')
    for (let i = 0; i < 250 && !deletes(w); i++) await page.waitForTimeout(20)
    same(deletes(w), 1, 'requests to delete')
  }),
)

later('a failed deletion restores the row and shows the reason, in German as well', () =>
  visit({ clock: true, locale: 'de-DE' }, `people/${clara}`, async (page, w) => {
    w.keep = true
    await page.click('button:has-text("Person löschen")')
    await page.click('button:has-text("1002 löschen")')
    await page.waitForSelector('button:has-text("Rückgängig")')
    await page.clock.runFor(9000)
    await page.waitForSelector('text=Clara O’Brien wurde nicht gelöscht. Die Datenbank antwortet nicht. Es wurde nichts geändert.')
    await page.waitForSelector('[data-number="1002"]:not(:has-text("wird gelöscht"))')
    same(deletes(w), 1, 'requests to delete')
  }),
)

later('in German, messages with a code are in German', () =>
  visit({ locale: 'de-DE' }, 'people?new', async (page, w) => {
    await page.fill('[name=name]', 'Jörg Ärger')
    await page.fill('[name=email]', 'jörg@example.com')
    await page.click('form button[type=submit]')
    await page.waitForSelector('text=Nur Buchstaben ohne Akzente und Umlaute.')
    w.refuse = { status: 500, code: 'write_failed', detail: 'the files could not be written: permission denied' }
    await page.goto(new URL('/app/changes', page.url()).href)
    await page.click('button:has-text("6 Änderungen anwenden")')
    await page.waitForSelector('text=Die Dateien konnten nicht geschrieben werden.')
    same(await page.locator('[role=alert] [lang=en]').allTextContents(), ['the files could not be written: permission denied'], 'texts in the portal’s own words')
    w.refuse = undefined
    await page.click('button:has-text("6 Änderungen anwenden")')
    await page.waitForSelector('text=Angewendet. Asterisk läuft damit.')
    await page.click('summary:has-text("Einzelheiten des Laufs")')
    await page.waitForSelector('text=Asterisk wurde angewiesen, die Dateien neu zu laden')
    same(await page.locator('main [lang=en]').allTextContents(), [], 'English on the page')
    Object.assign(w, { health: { asterisk: 'There is no such socket.', files: 'ahead of Asterisk' }, link: { state: 'refused', since: new Date().toISOString(), message: 'authentication failed' } })
    await page.goto(new URL('/app/settings/asterisk', page.url()).href)
    await page.waitForSelector('text=Asterisks Manager-Schnittstelle (AMI) weist das Portal ab.')
    await page.waitForSelector('text=Es wurde noch nicht bestätigt, dass Asterisk mit diesen Dateien läuft.')
    same((await page.locator('main [lang=en]').allTextContents()).sort(), ['There is no such socket.', 'authentication failed'], 'texts in the original words')
    w.plan = { ...w.plan, pending: false, changes: [], behind: 'Asterisk was not yet seen to run revision 13', behind_code: 'not_seen', diffs: [], revision: 13 }
    await page.goto(new URL('/app/changes', page.url()).href)
    await page.waitForSelector('text=Es wurde noch nicht bestätigt, dass Asterisk mit Revision 13 läuft.')
    await page.goto(new URL('/app/settings/activity', page.url()).href)
    await page.locator('summary:has-text("Angewendet")').first().click()
    await page.waitForSelector('th:has-text("Ausgelöst von")')
  }),
)

later('the reason for a sign-in rejected by the provider is shown', () =>
  visit({ signedIn: false, locale: 'de-DE' }, '?sign_in=no_account', async (page) => {
    await page.waitForSelector('[role=alert]:has-text("Bitten Sie einen Eigentümer oder Administrator um eine Einladung.")')
    await accessible(page, 'a sign-in that a provider refused')
  }),
)

later('a token can have fewer permissions than its role, and the list shows how many', () =>
  visit({}, 'settings/tokens', async (page, w) => {
    await page.click('button:has-text("New token")')
    await page.fill('[role=dialog] form input >> nth=0', 'Address book')
    await page.click('label:has-text("Selected permissions")')
    await page.click('button:has-text("Create token")')
    await page.waitForSelector('text=Choose at least one.')
    must(!(await page.locator('label:has-text("Apply and restore")').count()), 'an auditor’s token is offered to apply')
    await page.check('label:has-text("See people") input')
    await accessible(page, 'a token that is being made')
    await page.click('button:has-text("Create token")')
    await page.waitForSelector('[data-once]')
    const { body } = w.requests.find((r) => r.method === 'POST')
    same(body, { name: 'Address book', role: 'auditor', scopes: ['users:read'], expires_in_days: 90 }, 'what was asked for')
    await page.keyboard.press('Escape')
    await page.mouse.click(5, 5)
    must(await page.locator('[data-once]').isVisible(), 'a token that is shown once went with Esc')
    await page.click('button:has-text("I have copied it")')
    await page.waitForSelector('[data-once]', { state: 'detached' })
    await page.click('li:has-text("Address book"):not(:has-text("switchboard")) summary:has-text("1 of 7 permissions")')
    await page.waitForSelector('li li:has-text("See people") >> visible=true')
    await page.click('button[aria-label="Revoke: Provisioning"]')
    await page.waitForSelector('[role=dialog] li:has-text("Nightly apply")') // which is revoked with it
  }),
)

later('the search and view of the users are in the address', () =>
  visit({}, 'people?q=an&show=on&sort=name', async (page) => {
    await page.waitForSelector('[data-row]')
    same(await page.inputValue('input[type=search]'), 'an', 'the search')
    same(await page.getAttribute('button:has-text("Registered")', 'aria-pressed'), 'true', 'the state of the chip')
    await page.locator('[data-row]').first().click()
    await page.waitForSelector('[data-person]')
    must(page.url().includes('q=an') && page.url().includes('show=on'), `the address forgot it: ${page.url()}`)
    await page.keyboard.press('Escape')
    await page.waitForSelector('[data-person]', { state: 'detached' })
    await page.click('button[aria-pressed]:has-text("Not registered")')
    await page.fill('input[type=search]', '')
    await page.waitForURL(/people\?show=off&sort=name$/)
    await page.goto(new URL('/app/people', page.url()).href)
    await page.waitForSelector('[data-row]')
    await page.keyboard.press('j')
    await page.keyboard.press('j')
    await page.keyboard.press('k')
    same(await page.evaluate(() => document.activeElement?.getAttribute('data-number')), '1000', 'the row that has the focus')
    must((await page.title()).startsWith('(120) People'), `the tab is called ${await page.title()}`)
  }),
)

later('an address of an unknown activity entry says so at once, and an invalid day is ignored', () =>
  visit({}, '', async (page, w) => {
    w.audit = Array.from({ length: 400 }, (_, i) => ({ ...w.audit[0], seq: 1000 - i }))
    const asked = () => w.requests.filter((r) => r.path === '/audit').length
    while (!asked()) await page.waitForTimeout(20) // the recent changes of the overview
    const before = asked()
    await page.goto(new URL('/app/settings/activity/5000', page.url()).href)
    await page.waitForSelector('main [role=status]:has-text("There is no entry 5000")')
    await accessible(page, 'an entry that is not there')
    same(asked() - before, 1, 'pages that were asked for')
    await page.goto(new URL('/app/settings/activity?since=yesterday&until=2026-99-99', page.url()).href)
    await page.waitForSelector('main [data-item]')
    same(await page.locator('main [role=alert]').count(), 0, 'complaints')
  }),
)

later('a link to an entry of the activity opens it', () =>
  visit({}, 'settings/activity', async (page, w) => {
    await page.locator('summary').nth(3).click()
    const seq = w.audit[3].seq
    await page.goto(new URL(`/app/settings/activity/${seq}`, page.url()).href)
    await page.waitForSelector(`details#entry-${seq}[open]`)
    await page.keyboard.press('j')
    same(await page.evaluate(() => document.activeElement?.tagName), 'SUMMARY', 'what has the focus')
  }),
)

for (const [what, to, path, items] of [
  ['entries', 'settings/activity', '/audit', 'audit'],
  ['revisions', 'changes', '/apply/revisions', 'runs'],
]) {
  later(`${what} that cannot be had are asked for again`, () =>
    visit({}, to, async (page, w) => {
      const item = page.locator('main [data-item]')
      await item.first().waitFor()
      w[items] = Array.from({ length: 70 }, (_, i) => ({ ...w[items][0], id: `x${i}`, seq: 1000 - i, revision: 1000 - i }))
      await page.reload()
      await page.waitForSelector('button:has-text("Show more")')
      const first = await item.count()
      w.broken = path
      await page.click('button:has-text("Show more")')
      await page.waitForSelector('main [role=alert] >> text=Request ID MOCK')
      same(await item.count(), first, 'what stays on the page')
      await accessible(page, `${what} that cannot be had`)
      w.broken = undefined
      await page.click('main [role=alert] button:has-text("Try again")')
      await page.waitForFunction((n) => document.querySelectorAll('main [data-item]').length > n, first)
      same(await page.locator('main [role=alert]').count(), 0, 'complaints that are left')
    }),
  )
}

later('a filter whose entries cannot be loaded shows an error above the previous ones', () =>
  visit({}, 'settings/activity', async (page, w) => {
    await page.waitForSelector('main [data-item]')
    w.broken = '/audit'
    await page.locator('main [role=search] input').first().fill('anna')
    await page.waitForSelector('main [role=alert] >> text=Request ID MOCK')
    w.broken = undefined
    await page.click('main [role=alert] button:has-text("Try again")')
    await page.waitForSelector('main [role=alert]', { state: 'detached' })
  }),
)

later('the result of an apply is scrolled into view, on a phone as well', () =>
  visit({}, 'changes', async (page, w) => {
    await page.setViewportSize({ width: 360, height: 640 })
    w.refuse = { status: 500, code: 'write_failed', detail: 'the files could not be written: permission denied' }
    const button = page.locator('button:has-text("Apply 6 changes")')
    await button.click()
    const inView = (what) => page.waitForFunction((text) => [...document.querySelectorAll('main [role=alert], main [role=status]')].some((el) => el.textContent.includes(text) && el.getBoundingClientRect().top >= 0 && el.getBoundingClientRect().bottom <= innerHeight), what)
    await inView('The files could not be written.')
    w.refuse = undefined
    await button.click()
    await inView('Applied. Asterisk runs it.')
  }),
)

later('the sign-in dialog of an ended session is above an open window', () =>
  visit({}, 'settings/tokens', async (page, w) => {
    await page.click('button:has-text("New token")')
    await page.fill('[role=dialog] form input >> nth=0', 'Address book')
    w.signedIn = false
    await page.click('button:has-text("Create token")')
    const sign = page.locator('[role=dialog]', { hasText: 'Sign in again' })
    await sign.waitFor()
    await page.keyboard.press('Escape')
    await sign.locator('[name=password]').fill('correct horse battery')
    await sign.locator('button[type=submit]').click()
    await sign.waitFor({ state: 'detached' })
    same(await page.inputValue('[role=dialog] form input >> nth=0'), 'Address book', 'what had been typed')
    await page.click('button:has-text("Create token")')
    await page.waitForSelector('[data-once]')
  }),
)

later('the card for a phone is printed alone', () =>
  visit({}, `people/${clara}/phones`, async (page, w) => {
    await page.waitForSelector('[data-person] :text("For one phone:")') // where a second phone is likely to be set up
    await page.evaluate(() => (window.print = () => {}))
    await page.click('button:has-text("Print")')
    await page.waitForSelector('.print-sheet article', { state: 'attached' })
    await page.emulateMedia({ media: 'print', colorScheme: 'dark' })
    must(await page.locator('.print-sheet article').isVisible(), 'the card is not there on paper')
    must(!(await page.locator('#app').isVisible()), 'the page is on the paper as well')
    const text = await page.locator('.print-sheet article').innerText()
    for (const part of ['Clara O’Brien', '1002', w.users[2].extension.secret, 'For one phone:']) must(text.includes(part), `the card does not say ${part}`)
    same(await page.evaluate(() => getComputedStyle(document.querySelector('.print-sheet article')).color), 'rgb(18, 25, 26)', 'the ink')
    if (process.env.CARD) await page.screenshot({ path: process.env.CARD })
    await page.evaluate(() => dispatchEvent(new Event('afterprint')))
    must(!(await page.locator('.print-sheet').count()), 'the card stays in the page')
  }),
)

later('with system colours, controls have an edge, and selected ones look selected', async () => {
  for (const to of ['users', 'changes', 'settings/account', 'settings/tokens']) {
    const { page, close } = await open({}, to, { forcedColors: 'active' })
    const bare = await page.evaluate(() => [...document.querySelectorAll('button:not([role]), a.inline-flex')].filter((el) => el.checkVisibility() && getComputedStyle(el).borderTopStyle === 'none').map((el) => el.ariaLabel || el.innerText))
    same(bare, [], `${to}: buttons without an edge`)
    const alike = await page.evaluate(() => {
      const look = (el) => el && getComputedStyle(el).backgroundColor
      const pairs = [['aside nav a[aria-current=page]', 'aside nav a:not([aria-current])'], ['[aria-pressed=true]', '[aria-pressed=false]'], ['label:has(> input:checked)', 'label:has(> input[type=radio]:not(:checked))']]
      return pairs.filter(([chosen, other]) => document.querySelector(`:is(${other})`) && look(document.querySelector(chosen)) === look(document.querySelector(other))).map(([chosen]) => chosen)
    })
    same(alike, [], `${to}: what is chosen and looks as the rest`)
    await close()
  }
})

later('the users of a restored revision are restored as well', () =>
  visit({}, 'people', async (page, w) => {
    w.plan = { ...w.plan, revision: 9 } // which restored revision 7
    w.runs = w.runs.filter((r) => r.revision <= 9)
    await page.goto(new URL('/app/changes', page.url()).href)
    await named(page, 'Restore these people as well')
    await page.locator('[role=dialog] li', { hasText: '3 people created since will be deleted.' }).waitFor()
    await accessible(page, 'the question before the users of a revision are restored')
    w.refuse = { status: 409, code: 'email_taken', detail: 'other users have the addresses: anna@example.com (1003)' }
    await page.click('[role=dialog] button:has-text("Restore people")')
    await page.locator('[role=dialog]', { hasText: 'anna@example.com (1003)' }).waitFor()
    w.refuse = undefined
    await page.click('[role=dialog] button:has-text("Restore people")')
    await page.locator('[role=status]', { hasText: 'set up the phones of 1003 with the new ones' }).waitFor()
    await page.locator('h2', { hasText: 'Nothing to apply' }).waitFor()
    same(w.requests.filter((r) => r.method === 'POST').map((r) => r.path), ['/apply/revisions/9/users', '/apply/revisions/9/users'], 'what is requested')
  }),
)

later('a restored revision is not undone without a warning', () =>
  visit({}, 'people', async (page, w) => {
    w.plan = { ...w.plan, revision: 9 } // which restored revision 7
    w.runs = w.runs.filter((r) => r.revision <= 9)
    await page.goto(new URL('/app/', page.url()).href)
    await page.waitForSelector('main :text("Revision 7 was restored, but the database still has the later changes.")')
    await page.goto(new URL('/app/changes', page.url()).href)
    await page.waitForSelector('[role=status]:has-text("Revision 7 was restored")')
    must(await page.locator('main li a[href*="/app/people/"]').count(), 'the users to be deleted cannot be reached')
    must(await page.locator('button:has-text("Apply 6 changes")').isDisabled(), 'it is undone with one click')
    await accessible(page, 'a plan after an earlier revision was restored')
    await page.fill('input[maxlength="1000"]', 'a slip')
    await page.keyboard.press('Control+Enter')
    await page.check('label:has-text("Undo the restore of revision 7") input')
    same(w.requests.filter((r) => r.method === 'POST').length, 0, 'applies before it was said')
    await page.click('button:has-text("Apply 6 changes")')
    await page.waitForSelector('text=Applied. Asterisk runs it.')
    await page.goto(new URL('/app/changes/revisions/9', page.url()).href)
    await page.locator('[role=dialog]', { hasText: 'Applied. Another revision is live now.' }).waitFor()
  }),
)

later('Enter in the comment goes to the button, and Ctrl Enter applies', () =>
  visit({}, 'changes', async (page, w) => {
    await page.fill('input[maxlength="1000"]', 'three of support')
    await page.locator('button:has-text("Apply 6 changes"):enabled').waitFor()
    await page.keyboard.press('Enter')
    same(await page.evaluate(() => document.activeElement?.textContent?.trim()), 'Apply 6 changes', 'what has the focus')
    same(w.requests.filter((r) => r.method === 'POST').length, 0, 'applies')
    await page.focus('input[maxlength="1000"]')
    await page.keyboard.press('Control+Enter')
    await page.waitForSelector('text=Applied. Asterisk runs it.')
  }),
)

later('an apply that failed is not shown as applied', () =>
  visit({}, '', async (page, w) => {
    w.audit.unshift({ ...w.audit[3], seq: 999, result: 'failed', after: { result: 'refused', code: 'drift' } })
    await page.reload()
    const line = page.locator('section:has(#recent) [data-item]').first()
    await line.waitFor()
    const text = (await line.innerText()).replace(/\s+/g, ' ')
    must(/^Tried to apply refused/.test(text), `it reads: ${text}`)
    await page.goto(new URL('/app/settings/activity', page.url()).href)
    await page.waitForSelector('summary:has-text("Tried to restore") , summary:has-text("Tried to apply")')
    await page.waitForSelector('summary:has-text("Restored revision 7, as 9")')
  }),
)

later('the plan shows changes of ring groups, and what happens to calls', () =>
  visit({}, 'changes', async (page, w) => {
    const sentence = '600 Sales is new: 1000 Anna rings for 20 seconds without an answer; the call ends: no answer.'
    w.plan = { ...w.plan, changes: [], things: [{ kind: 'changed', thing: 'ring_group', key: 'g1', name: 'Sales', what: ['skip_busy'] }], behaviour: [sentence] }
    await page.reload()
    await page.waitForSelector('h2:has-text("1 change")')
    await page.waitForSelector('li:has-text("Ring group Sales"):has-text("Changed, busy members")')
    await page.waitForSelector(`li:has-text("${sentence}")`)
    await accessible(page, 'a plan with a ring group')
  }),
)

later('the page ends below the files of a plan', () =>
  visit({}, 'changes', async (page, w) => {
    w.plan.diffs[0].text = `@@ -1,2 +1,400 @@\n${'+a line\n'.repeat(390)}`
    await page.reload()
    await page.locator('button:has-text("File changes")').click()
    await page.waitForSelector('[role=region] pre')
    const below = await page.evaluate(() => document.documentElement.scrollHeight - document.querySelector('main').getBoundingClientRect().bottom - scrollY)
    must(below < 100, `there are ${below} px of nothing below the page`)
  }),
)

later('while Asterisk is not running, no reload is offered, and again once it runs', () =>
  visit({}, 'changes', async (page, w) => {
    w.plan = { ...w.plan, pending: false, changes: [], diffs: [], behind: 'Asterisk cannot be asked', behind_code: 'not_asked' }
    w.health = { asterisk: 'There is no such socket.' }
    await page.reload()
    await page.waitForSelector('h2:has-text("Asterisk is not running")')
    must(await page.locator('button:has-text("Reload Asterisk")').isDisabled(), 'the button can be pressed')
    await page.goto(new URL('/app/', page.url()).href)
    await page.waitForSelector('main p:has-text("Asterisk does not answer.")')
    await page.goto(new URL('/app/changes', page.url()).href)
    await page.waitForSelector('h2:has-text("Asterisk is not running")')
    w.health = {} // it is back; the plan is older
    await page.waitForSelector('h2:has-text("Asterisk is out of sync")')
    await page.click('button:has-text("Reload Asterisk")')
    await page.waitForSelector('text=Applied. Asterisk runs it.')
  }),
)

later('the end of an apply leaves the focus where the keyboard moved it meanwhile', () =>
  visit({}, 'changes', async (page, w) => {
    let goOn
    Object.assign(w, { hold: 'reload', held: new Promise((go) => (goOn = go)) })
    await named(page, 'Apply 6 changes')
    await page.waitForSelector('ol li:has-text("Switch")')
    await page.focus('aside nav a:has-text("People")')
    goOn()
    await page.waitForSelector('text=Applied. Asterisk runs it.')
    same(await page.evaluate(() => document.activeElement.innerText.trim().slice(0, 6)), 'People', 'what has the focus')
  }),
)

later('unknown addresses, and those the role cannot open, say so', () =>
  visit({ role: 'operator' }, '', async (page) => {
    const at = async (to, title) => {
      await page.goto(new URL(`/app/${to}`, page.url()).href)
      await page.waitForSelector(`h1:has-text("${title}")`)
      must(await page.locator('main a:has-text("Go to Home")').isVisible(), `${to} leads nowhere`)
    }
    for (const to of ['nowhere', 'apply/revisions/x', 'apply/frob', 'users/1/2', 'settings/frob', 'activity', 'settings/administrators']) await at(to, ['activity', 'settings/administrators'].includes(to) ? 'Your role cannot open this page' : 'Page not found')
    await accessible(page, 'a page that the role does not show')
    await page.click('main a:has-text("Go to Home")')
    await page.waitForSelector('h1:has-text("Home")')
  }),
)

for (const [to, signedIn, setup] of [['invite#100%', false, false], ['invite#%E0%A4%A', true, false], ['setup#100%', false, true]]) {
  later(`a damaged address says so: ${to}`, () =>
    visit({ signedIn, setup }, to, async (page) => {
      await page.waitForSelector('[role=alert]:has-text("is damaged")')
      await accessible(page, to)
    }),
  )
}

later('if another user signs in with this browser, the page says so and keeps no data of the previous user', () =>
  visit({}, 'people?new', async (page, w) => {
    await page.fill('[name=name]', 'A draft of Anna')
    await page.fill('[name=email]', 'draft@example.com')
    w.account = 'b2' // in another tab
    await page.click('form button[type=submit]')
    await page.waitForSelector('h1:has-text("This browser is now signed in with another account")')
    must(!w.users.some((u) => u.name === 'A draft of Anna'), 'the user was made in the name of the other person')
    must(!(await page.innerText('body')).includes('Anna'), 'something of the person before is still shown')
    await accessible(page, 'a page whose browser has another session')
    await page.click('button:has-text("Reload")')
    await page.waitForSelector('[role=dialog] [name=name]')
    same(await page.inputValue('[name=name]'), '', 'the draft in the form of the other person')
    await page.waitForSelector('aside :text("Berta Blum")')
  }),
)

later('a pending deletion is never sent in the name of another user', () =>
  visit({}, `people/${clara}`, async (page, w) => {
    await deleteClara(page)
    w.account = 'b2'
    await page.goto('about:blank') // which sends the pending deletion
    for (let i = 0; i < 250 && !deletes(w); i++) await page.waitForTimeout(20)
    same(w.requests.filter((r) => r.method === 'DELETE').map((r) => r.headers['expected-account']), ['a1'], 'whom the deletion names')
    must(w.users.some((u) => u.id === clara), 'the user is gone')
  }),
)

later('drafts are deleted when the user signs out', () =>
  visit({}, 'people?new', async (page) => {
    await page.fill('[name=name]', 'A draft of Anna')
    await page.reload()
    await page.waitForFunction(() => document.querySelector('[name=name]')?.value === 'A draft of Anna')
    await page.keyboard.press('Escape')
    await page.locator('aside button[aria-haspopup=menu]').click()
    await page.locator('[role=menuitem]:has-text("Sign out")').click()
    await page.waitForSelector('[name=password]')
    same(await page.evaluate(() => JSON.stringify(sessionStorage)), '{}', 'what is kept')
  }),
)

later('a secret is fetched on request, and no secret is visible behind the sign-in dialog', () =>
  visit({}, `people/${clara}/phones`, async (page, w) => {
    const secret = w.users[2].extension.secret
    await page.waitForSelector('[data-secret]')
    must(w.requests.every((r) => !r.path.endsWith('/secret')), 'a secret was fetched before it was asked for')
    await named(page, 'Reveal phone password')
    await page.waitForSelector(`[data-secret]:has-text("${secret}")`)
    must(w.requests.some((r) => r.path.endsWith('/secret')), 'the list of users held the secret')
    await named(page, 'QR code')
    await page.waitForSelector('[data-person] svg[role=img]')
    w.signedIn = false
    await page.evaluate(() => dispatchEvent(new Event('offline')))
    await page.waitForSelector('[role=dialog]:has-text("Sign in again")')
    must(!(await page.locator('body').innerHTML()).includes(secret), 'the secret is still on the page')
    same(await page.locator('[data-person] svg[role=img]').count(), 0, 'QR codes on the page')
  }),
)

later('a token that is shown once is hidden behind the sign-in dialog, and shown again afterwards', () =>
  visit({}, 'settings/tokens', async (page, w) => {
    await named(page, 'New token')
    await page.locator('[role=dialog] input').first().fill('Monitoring')
    await named(page, 'Create token')
    const token = await page.locator('[data-once]').innerText()
    w.signedIn = false
    await page.evaluate(() => dispatchEvent(new Event('offline')))
    const sign = page.locator('[role=dialog]', { hasText: 'Sign in again' })
    await sign.waitFor()
    must(!(await page.locator('body').innerHTML()).includes(token), 'the token is still on the page')
    await sign.locator('[name=password]').fill('correct horse battery')
    await sign.locator('button[type=submit]').click()
    await sign.waitFor({ state: 'detached' })
    same(await page.locator('[data-once]').innerText(), token, 'the token afterwards')
  }),
)

later('single-key shortcuts can be switched off, and stay off for this user', () =>
  visit({}, 'settings/account', async (page) => {
    await page.click('label:has-text("Off"):right-of(:text("Single-key shortcuts"))')
    await page.reload()
    await page.waitForSelector('section:has(#look)')
    for (const key of ['?', 'n', 'g', 'u', '/', 'j']) await page.keyboard.press(key)
    await page.waitForTimeout(100)
    must(page.url().endsWith('/settings/account') && !(await page.locator('[role=dialog]').count()), 'a letter did something')
    await page.keyboard.press('Control+k')
    await page.waitForSelector('[role=combobox]')
    await page.keyboard.press('Escape')
    await page.goto(new URL('/app/people', page.url()).href)
    await page.waitForSelector('[data-row]')
    for (const key of ['j', '/']) await page.keyboard.press(key)
    same(await page.evaluate(() => document.activeElement?.tagName), 'BODY', 'what has the focus')
  }),
)

later('data whose changes the portal reports is not polled frequently', () =>
  visit({ clock: true }, 'people', async (page, w) => {
    await page.waitForSelector('[data-row]')
    const asked = (path) => w.requests.filter((r) => r.path === path).length
    const first = asked('/users')
    while (!w.streams.size) await page.waitForTimeout(20)
    for (const stream of w.streams) stream.write('event: changed\ndata: {"plan":true,"users":true}\n\n')
    while (asked('/users') === first) await page.clock.runFor(100)
    const before = asked('/users')
    await page.clock.runFor(100_000)
    same(asked('/users'), before, 'how often the users were asked for')
    w.users = w.users.slice(1)
    for (const stream of w.streams) stream.write('event: changed\ndata: {"plan":true,"users":true}\n\n')
    await page.waitForSelector('[role=grid][aria-rowcount="120"]')
  }),
)

userSteps(later, visit)
placeSteps(later, visit)
numberSteps(later, visit)
settingsSteps(later, visit)

// Two at a time: each page is its own process.
await Promise.all([worker(), worker()])

await browser.close()
await step('no script broke, and the policy had nothing to stop', async () => same([...new Set(noise)], [], 'what the browser complained of'))
finish()
