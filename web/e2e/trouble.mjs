// Open pages with input, while one part after another becomes unavailable and recovers: the portal, the database,
// Asterisk, the link to it. No page is reloaded.
import { accessible, finish, fits, launch, must, same, step, watch, workbench } from './lib.mjs'

const { PORTAL, CONTROL, SETUP } = process.env
const control = workbench(CONTROL)
const app = `${PORTAL}/app/`
const password = 'one sentence only I know'

const browser = await launch()
const noise = []
const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', locale: 'en-GB' })

async function open(path) {
  const page = await context.newPage()
  page.setDefaultTimeout(30_000)
  watch(page, noise)
  await page.goto(app + path)
  return page
}

let last // the page to report when a step fails
async function next(name, run) {
  if (await step(name, run, last)) return
  await browser.close()
  finish()
}

// The portal has two users with registered phones, and one that is not applied yet.
let overview, users, apply, views
const secrets = {}
await next('three pages are open, two of them with input', async () => {
  last = await open('')
  const post = async (path, body) => {
    const answer = await last.evaluate(([path, body]) => fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }).then(async (r) => ({ status: r.status, body: await r.json() })), [path, body])
    must(answer.status < 300, `${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.body
  }
  await post('/setup', { code: SETUP.split('#')[1], name: 'Olga Owner', email: 'olga@example.com', password })
  for (const name of ['Anna', 'Ben']) {
    const { extension } = await post('/users', { name, email: `${name}@example.com` })
    secrets[extension.number] = extension.secret
  }
  await post('/apply', { triggered_by: 'olga' })
  for (const number of [1000, 1001]) await control('register', { number, secret: secrets[number] })
  await post('/users', { name: 'Cem', email: 'cem@example.com' })
  await last.close()
  ;[overview, users, apply] = views = await Promise.all([open(''), open('people'), open('changes')])
  last = users
  await overview.waitForSelector('text=1 change is not applied yet')
  await users.waitForSelector('[data-number="1001"] circle.fill-ok')
  await users.keyboard.press('n')
  await users.waitForSelector('[role=dialog] [name=name]')
  await users.fill('[name=name]', 'Dana Draft')
  await users.fill('[name=email]', 'dana@example.com')
  await apply.waitForSelector('button:has-text("Apply 1 change")')
  await apply.fill('input[maxlength="1000"]', 'a reason that must not be lost')
  for (const page of views) await page.evaluate(() => (window.neverLoadedAgain = true))
})

await next('a proxy buffers the stream: the page says so and polls until live data arrives', async () => {
  last = await context.newPage()
  watch(last, noise)
  const held = []
  let holding = true
  await last.route('**/live/events', (route) => (holding ? void held.push(route) : route.continue()))
  await last.goto(`${app}people`)
  await last.waitForSelector('[role=alert][data-trouble=held]:has-text("Live data is delayed.")')
  await last.waitForSelector('[data-number="1001"] circle.fill-ok')
  await accessible(last, 'the users while a proxy holds back live data')
  await control('unregister', { number: 1001 })
  await last.waitForSelector('[data-number="1001"] circle:not(.fill-ok)')
  await control('register', { number: 1001, secret: secrets[1001] })
  holding = false
  for (const route of held) await route.continue()
  await last.waitForSelector('[data-trouble]', { state: 'detached' })
  await last.waitForSelector('[data-number="1001"] circle.fill-ok')
  await last.close()
  last = users
})

await next('below a path prefix the page says that it cannot be served there', async () => {
  last = await context.newPage()
  await last.route('**/pbx/app/', async (route) => route.fulfill({ response: await route.fetch({ url: app }) }))
  await last.goto(`${PORTAL}/pbx/app/`)
  await last.waitForSelector('h1:has-text("The portal cannot be used at this address")')
  must((await last.innerText('#app')) === '', 'the portal at the root is shown below a path')
  await last.unroute('**/pbx/app/')
  await last.route('**/app/**', async (route) => (route.request().url().endsWith('/pbx/app/') ? route.fulfill({ response: await route.fetch({ url: app }) }) : route.fulfill({ status: 404 })))
  await last.reload()
  await last.waitForSelector('h1:has-text("The portal cannot be used at this address")')
  await last.close()
  last = users
})

// away stops a part, waits until each page says so in these words, and returns how long that took.
async function away(what, part, ...words) {
  const since = Date.now()
  await control(what)
  await Promise.all(views.map((page) => page.waitForSelector(`[role=alert][data-trouble=${part}]:has-text("retries automatically")`)))
  const took = Date.now() - since
  for (const page of views) for (const w of words) must((await page.innerText(`[data-trouble=${part}]`)).includes(w), `the page does not say “${w}” but ${await page.innerText('[data-trouble]')}`)
  return took
}

// back waits until no page reports an outage, and checks that no input is lost.
async function back(what) {
  if (what) await control(what)
  const since = Date.now()
  await Promise.all(views.map((page) => page.waitForSelector('[data-trouble]', { state: 'detached' })))
  const took = Date.now() - since
  for (const page of views) must(await page.evaluate(() => window.neverLoadedAgain), `${page.url()} was loaded again`)
  if (await users.locator('[role=dialog] [name=name]').count()) {
    same([await users.inputValue('[role=dialog] [name=name]'), await users.inputValue('[role=dialog] [name=email]')], ['Dana Draft', 'dana@example.com'], 'the form of a new user')
  }
  return took
}
const says = (noticed, healed) => `said after ${noticed} ms, healed ${healed} ms after it was back`
const kept = async () => same(await apply.inputValue('input[maxlength="1000"]'), 'a reason that must not be lost', 'the comment of the apply')

await next('the link to Asterisk is cut: phones are unknown, everything else works', async () => {
  const noticed = await away('link/cut', 'link', 'There are no live events from Asterisk.', 'Registrations and calls are not shown.', 'People, plan and apply work as usual.')
  await users.waitForSelector('[data-number="1000"] [role=img][aria-label="unknown"]')
  await overview.waitForSelector('text=Calls cannot be shown.')
  await overview.waitForSelector('dl:has-text("Phones registered") :text("unknown")')
  await accessible(overview, 'the overview without the link')
  await overview.setViewportSize({ width: 360, height: 740 })
  await fits(overview, 'the overview without the link')
  await accessible(overview, 'the overview without the link on a phone')
  await overview.setViewportSize({ width: 1280, height: 860 })
  const healed = await back('link/restore')
  await users.waitForSelector('[data-number="1000"] circle.fill-ok')
  await kept()
  return says(noticed, healed)
})

await next('Asterisk is killed: the pages say what that means, users can be created, an apply waits for it', async () => {
  last = apply
  const noticed = await away('asterisk/kill', 'asterisk', 'Asterisk does not answer.', 'Phones cannot register or make calls.', 'what you apply now takes effect when Asterisk is back', 'Start Asterisk')
  await overview.waitForSelector('main p:has-text("Asterisk does not answer.")')
  await users.waitForSelector('[data-number="1000"] [role=img][aria-label="unknown"]')
  await accessible(overview, 'the overview without Asterisk')
  await accessible(users, 'a form without Asterisk')
  await kept()
  await apply.click('button:has-text("Apply 1 change")')
  await apply.waitForSelector('text=The files are in place. Asterisk has not loaded them yet.')
  await accessible(apply, 'an apply without Asterisk')
  const healed = await back('asterisk/start')
  await overview.waitForSelector('[data-attention] :text("not registered")')
  await apply.waitForSelector('text=Nothing to apply')
  for (const number of [1000, 1001]) await control('register', { number, secret: secrets[number] })
  await users.waitForSelector('[data-number="1000"] circle.fill-ok')
  return says(noticed, healed)
})

await next('the database is killed: the pages say what still works, and a form waits', async () => {
  last = users
  const noticed = await away('database/kill', 'database', 'The database does not answer.', 'Phones and calls keep working.', 'You cannot change or apply anything until it is back')
  await users.click('button:has-text("Create person")')
  await users.waitForSelector('[role=dialog] [role=alert]:has-text("The database does not answer. Nothing was changed.")')
  await overview.waitForSelector('text=Current state unavailable.')
  await accessible(users, 'a form without a database')
  await accessible(overview, 'the overview without a database')
  // A new visitor reads the same, and the same page continues later.
  const late = await open('')
  await late.waitForSelector('h1:has-text("The database does not answer.")')
  await accessible(late, 'the door without a database')
  // Live state continues: it does not depend on the database.
  await control('unregister', { number: 1001 })
  await users.waitForSelector('[data-number="1001"] [role=img][aria-label="not registered"]')
  const healed = await back('database/start')
  await overview.waitForSelector('[data-attention] :text("not registered")')
  await late.waitForSelector('h1:has-text("Home")')
  await late.close()
  await users.click('button:has-text("Create person")')
  await users.waitForSelector('text=Dana Draft was created')
  await users.keyboard.press('Escape')
  return says(noticed, healed)
})

await next('the portal is killed: a page that was never opened is shown once it is back', async () => {
  await apply.click('button:has-text("Check again")')
  await apply.waitForSelector('button:has-text("Apply 1 change")')
  await apply.fill('input[maxlength="1000"]', 'a reason that must not be lost')
  last = overview
  const noticed = await away('kill', 'portal', 'The portal does not answer.', 'What you typed is kept.')
  await overview.click('aside nav a:has-text("Settings")')
  await overview.waitForSelector('main :text("The portal does not answer.")')
  await accessible(overview, 'a page that could not be fetched')
  const healed = await back('start')
  await overview.click('main nav a:has-text("Activity")')
  await overview.waitForSelector('summary:has-text("Created person"):has-text("Dana Draft")')
  await kept()
  await apply.click('button:has-text("Apply 1 change")')
  await apply.waitForSelector('text=Applied. Asterisk runs it.')
  return says(noticed, healed)
})

await next('no script failed, and the content security policy blocked nothing', async () => same([...new Set(noise)], [], 'what the browser complained of'))
await browser.close()
finish()
