// The whole way with the built program, a real Asterisk and real phones: from the set-up link to a call, a restored revision, other
// roles, the end of a session, and a restart of the portal.
import { accessible, finish, launch, must, same, shownAt, step, watch, workbench } from './lib.mjs'
import { otp } from './otp.mjs'

const { PORTAL, CONTROL, SETUP } = process.env
const app = `${PORTAL}/app/`
const password = 'one sentence only I know'

const control = workbench(CONTROL)

const browser = await launch()
const noise = []
const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', locale: 'en-GB' })
const page = await context.newPage()
page.setDefaultTimeout(45_000)
watch(page, noise)

// next runs a step that later ones depend on: the first failure ends the suite.
async function next(name, run) {
  if (!(await step(name, run, page))) {
    await browser.close()
    finish()
  }
}
const secrets = {}

const dot = (number, label) => page.waitForSelector(`[data-number="${number}"] [role=img][aria-label="${label}"]`)

await next('set-up: the link creates the first account', async () => {
  await page.goto(PORTAL)
  await page.waitForURL('**/app/')
  await page.waitForSelector('h1:has-text("Set up this portal")')
  await page.goto(SETUP)
  await page.reload()
  await page.fill('[name=name]', 'Olga Owner')
  await page.fill('[name=email]', 'olga@example.com')
  const [first, second] = await page.locator('input[type=password]').all()
  await first.fill('short')
  await second.fill('short')
  await page.click('button[type=submit]')
  await page.waitForSelector('text=At least 12 characters. >> visible=true')
  await first.fill(password)
  await second.fill(password)
  await accessible(page, 'set-up')
  await page.click('button[type=submit]')
  await page.waitForSelector('h2:has-text("Second factor")')
  must(!page.url().includes('#'), 'the code is still in the address')
})

await next('set-up: check-list, first user, first apply', async () => {
  await page.click('button:has-text("Later")')
  await page.waitForSelector('text=Generated files')
  await accessible(page, 'the check-list')
  await page.click('button:has-text("Continue")')
  await page.fill('[name=name]', 'Example')
  await page.click('button[type=submit]')
  await page.waitForSelector('h2:has-text("First person")')
  same([await page.inputValue('[name=name]'), await page.inputValue('[name=email]')], ['Olga Owner', 'olga@example.com'], 'who is proposed as the first user')
  await page.fill('[name=name]', 'Anna Example')
  await page.fill('[name=email]', 'anna@example.com')
  await page.click('button[type=submit]')
  await page.click('button:has-text("Apply 1 change")')
  await page.waitForSelector('text=Applied. Asterisk runs it.')
  await page.waitForSelector('text=Every object was verified in the running Asterisk')
  secrets[1000] = (await page.locator('[data-secret]').innerText()).trim()
  same(secrets[1000].length, 22, 'the length of the secret')
})

await next('set-up: the phone registers', async () => {
  await control('register', { number: 1000, secret: secrets[1000] })
  await page.waitForSelector('text=Your phone is registered')
  await page.click('button:has-text("Go to Home")')
  await page.waitForSelector('text=All is well.')
})

await next('a user: errors are shown at their fields, then a card with everything', async () => {
  await page.keyboard.press('n')
  await page.waitForSelector('[role=dialog] [name=name]')
  await page.click('button:has-text("Create person")')
  await page.waitForSelector('text=Required. >> nth=0')
  await page.fill('[name=name]', 'Ben Example')
  await page.fill('[name=email]', 'ANNA@example.com')
  await page.click('button:has-text("Create person")')
  await page.waitForSelector('text=Another person has this e-mail address.')
  same(await page.getAttribute('[name=email]', 'aria-invalid'), 'true', 'the field at fault')
  await page.fill('[name=email]', 'ben@example.com')
  await page.click('button:has-text("Create person")')
  await page.waitForSelector('text=Ben Example was created')
  must(!(await page.locator('[data-secret]').innerText()).match(/\w{10}/), 'the secret is shown before it is asked for')
  await page.click('button[aria-label="Reveal phone password"]')
  secrets[1001] = (await page.locator('[data-secret]').innerText()).trim()
  same(secrets[1001].length, 22, 'the length of the secret')
  await page.click('button:has-text("QR code")')
  await page.waitForSelector('[role=dialog] svg[role=img]')
})

await next('apply: the plan, a comment, stage by stage, and the result', async () => {
  await page.click('a:has-text("Review changes")')
  await page.waitForSelector('main li:has-text("Ben Example")')
  await page.click('button:has-text("File changes")')
  await page.waitForSelector('text=[1001]')
  must(!(await page.locator('main').innerText()).includes(secrets[1001]), 'the plan contains a secret')
  await page.fill('input[maxlength="1000"]', 'Ben starts today')
  await page.click('button:has-text("Apply 1 change")')
  await page.waitForSelector('text=Applied. Asterisk runs it.')
  await page.waitForSelector('main a:has-text("Ben starts today")')
  await page.click('summary:has-text("Run details")')
  for (const stage of ['Plan', 'Write', 'Switch', 'Reload', 'Verify']) await page.waitForSelector(`ol li:has-text("${stage}")`)
})

await next('users: the dot turns green when a phone registers, and back', async () => {
  await page.click('nav a:has-text("People") >> visible=true')
  await dot(1001, 'not registered')
  await control('register', { number: 1001, secret: secrets[1001] })
  await page.waitForSelector('[data-number="1001"] circle.fill-ok')
  await control('unregister', { number: 1001 })
  await dot(1001, 'not registered')
})

// soon checks the time from an event to the frame that shows it.
async function soon(what, shown, since) {
  const took = (await shown) - since
  must(took <= 1000, `${what} was on the page after ${took} ms`)
  return took
}

await next('users: a phone is green within a second of its 200 OK, and grey within a second of leaving', async () => {
  const green = '[data-number="1001"] circle.fill-ok'
  const came = []
  const went = []
  for (let round = 0; round < 5; round++) {
    let shown = shownAt(page, green)
    came.push(await soon('the registration', shown, (await control('register', { number: 1001, secret: secrets[1001] })).done))
    shown = shownAt(page, green, true)
    went.push(await soon('its end', shown, (await control('unregister', { number: 1001 })).done))
  }
  await control('register', { number: 1001, secret: secrets[1001] })
  await page.waitForSelector(green)
  return `registered ${Math.max(...came).toFixed(0)} ms, unregistered ${Math.max(...went).toFixed(0)} ms, the longest of 5`
})

await next('a call appears, and goes', async () => {
  await page.click('nav a:has-text("Home") >> visible=true')
  await page.waitForSelector('section[aria-labelledby=calls] >> text=No calls.')
  let shown = shownAt(page, '[data-call]')
  const came = await soon('the call', shown, (await control('call', { number: 1000, to: 1001 })).began) // including ringing and answering
  await page.waitForSelector('[data-call]:has-text("1000"):has-text("1001"):has-text("talking")')
  shown = shownAt(page, '[data-call]', true)
  const went = await soon('its end', shown, (await control('hang-up')).done)
  return `shown ${came.toFixed(0)} ms after it was dialled, gone ${went.toFixed(0)} ms after it ended`
})

await next('restore a revision, and undo that', async () => {
  await page.goto(`${app}changes`)
  const first = page.locator('a[href*="/changes/revisions/"]').last()
  await first.waitFor()
  const number = (await first.getAttribute('href')).split('/').at(-1)
  await first.click()
  await page.click('button:has-text("Restore revision")')
  await page.click(`button:has-text("Restore ${number}")`)
  await page.waitForSelector('text=Applied. Asterisk runs it.')
  await page.waitForSelector(`text=restores ${number}`)
  await page.check(`label:has-text("Undo the restore of revision ${number}") input`)
  await page.click('button:has-text("Apply 1 change")')
  await page.waitForSelector('text=Nothing to apply')
})

await next('a changed plan is not applied', async () => {
  await page.evaluate(() => fetch('/users', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ name: 'Cem', email: 'cem@example.com' }) }))
  await page.click('button:has-text("Check again")')
  await page.waitForSelector('button:has-text("Apply 1 change")')
  // The page does not load the new plan before the apply of the reviewed one is sent.
  let load
  const sent = new Promise((done) => (load = done))
  await page.route('**/apply/plan', (route) => sent.then(() => route.continue()))
  await page.evaluate(() => fetch('/users', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ name: 'Dana', email: 'dana@example.com' }) }))
  await page.click('button:has-text("Apply 1 change")')
  load()
  await page.waitForSelector('text=The plan has changed since you reviewed it.')
  await page.unroute('**/apply/plan')
  await page.click('button:has-text("Apply 2 changes")')
  await page.waitForSelector('text=Nothing to apply')
})

await next('delete: the consequences are shown first', async () => {
  await page.goto(`${app}people`)
  await page.click('[data-number="1003"]')
  await page.click('button:has-text("Delete person")')
  await page.waitForSelector('text=The number 1003 becomes free')
  await page.click('button:has-text("Delete 1003")')
  await page.waitForSelector('text=Dana was deleted. 1003 is free again.')
  await page.waitForSelector('[data-number="1003"]', { state: 'detached' })
})

await next('a user is renamed and renumbered: the plan names the phone, and Asterisk runs it', async () => {
  const { id, version } = await page.evaluate(() => fetch('/api/v1/users?number=1002').then((r) => r.json()).then((l) => l.items[0]))
  await page.click('[data-number="1002"]')
  const panel = page.locator('[data-person]')
  await panel.getByRole('button', { name: 'Edit', exact: true }).click()
  await panel.locator('[name=number]').fill('1001')
  await panel.getByRole('button', { name: 'Save', exact: true }).click()
  await page.waitForSelector('text=Ben Example has 1001. Choose another number.')
  await panel.locator('[name=number]').fill('1234')
  await page.waitForSelector('[role=status]:has-text("must be set up again, with the number 1234")')
  await panel.locator('[name=name]').fill('Cem Example')
  const meanwhile = await page.evaluate(([id, version]) => fetch(`/api/v1/users/${id}`, { method: 'PATCH', headers: { 'Content-Type': 'application/merge-patch+json', 'If-Match': `"${version}"` }, body: '{"email":null}' }).then((r) => r.status), [id, version])
  same(meanwhile, 200, 'the status of a change by another administrator')
  await page.waitForSelector('[role=alert]:has-text("Changed elsewhere since you began"):has-text("cem@example.com")') // as the live events report it
  await accessible(page, 'a user who was changed elsewhere')
  await panel.getByRole('button', { name: 'Save my changes' }).click()
  await page.waitForSelector('[data-number="1234"]:has-text("Cem Example")')
  await page.waitForSelector('[data-person] dd:has-text("—")')
  await panel.locator('nav a:has-text("Phones")').click()
  await panel.getByRole('button', { name: 'New phone password' }).click()
  await page.click('button:has-text("Create new phone password")')
  await page.waitForSelector('text=The phone password is new')
  secrets[1234] = (await page.locator('[data-secret]').innerText()).trim()
  same(secrets[1234].length, 22, 'the length of the new secret')
  await panel.locator('a:has-text("Review changes")').first().click()
  await page.waitForSelector('main li:has-text("1234"):has-text("Cem Example")')
  await page.click('button:has-text("Apply")')
  await page.waitForSelector('text=Nothing to apply')
  await control('register', { number: 1234, secret: secrets[1234] })
  await page.goto(`${app}people`)
  await page.waitForSelector('[data-number="1234"] circle.fill-ok')
})

await next('a user is disabled: the plan says so, and the phone is no longer registered', async () => {
  await page.click('[data-number="1234"]')
  await page.locator('[data-person]').getByRole('button', { name: 'Disable', exact: true }).click()
  await page.click('button:has-text("Disable 1234")')
  await page.waitForSelector('[data-number="1234"]:has-text("disabled")')
  await page.locator('[data-person] a:has-text("Review changes")').click()
  await page.waitForSelector('main li:has-text("1234"):has-text("disabled"):has-text("phone can no longer register")')
  await page.click('button:has-text("Apply 1 change")')
  await page.waitForSelector('text=Nothing to apply')
  await page.goto(`${app}people`)
  await dot(1234, 'disabled')
})

await next('the session ends in the middle of a form: sign in and continue', async () => {
  await page.keyboard.press('n')
  await page.waitForSelector('[role=dialog] [name=name]')
  await page.fill('[name=name]', 'Elif Example')
  await page.fill('[name=email]', 'elif@example.com')
  await page.evaluate(() => fetch('/session', { method: 'DELETE' }))
  await page.click('button:has-text("Create person")')
  await page.waitForSelector('[role=dialog]:has-text("Sign in again")')
  const dialog = page.locator('[role=dialog]', { hasText: 'Sign in again' })
  same(await dialog.locator('input[name=email]').inputValue(), 'olga@example.com', 'who signs in again')
  await dialog.locator('input[name=password]').fill('not this one at all')
  await dialog.locator('button[type=submit]').click()
  await page.waitForSelector('text=E-mail address, password or code is wrong.')
  await dialog.locator('input[name=password]').fill(password)
  await dialog.locator('button[type=submit]').click()
  await dialog.waitFor({ state: 'detached' })
  same(await page.inputValue('[name=name]'), 'Elif Example', 'the form after signing in again')
  await page.click('button:has-text("Create person")')
  await page.waitForSelector('text=Elif Example was created')
  await page.keyboard.press('Escape')
})

await next('the portal restarts: the page says so and recovers', async () => {
  await page.goto(`${app}people`)
  await page.waitForSelector('[data-number="1000"]')
  await control('stop')
  await page.waitForSelector('[role=alert]:has-text("The portal does not answer")')
  must(await page.locator('[data-number="1000"]').isVisible(), 'the list is gone with the portal')
  await control('start')
  await page.waitForSelector('[role=alert]:has-text("The portal does not answer")', { state: 'detached' })
  await page.waitForFunction(() => document.querySelector('[data-number="1000"] [role=img]')?.ariaLabel !== 'not registered')
})

await next('activity: who did what, with before and after', async () => {
  await page.goto(`${app}settings/activity`)
  await page.waitForSelector('summary:has-text("Created person"):has-text("Elif Example")')
  await page.locator('summary', { hasText: 'Deleted person' }).first().click()
  await page.waitForSelector('details[open] :text("dana@example.com")')
  await page.selectOption('select', 'user.delete')
  await page.waitForSelector('summary:has-text("Created person")', { state: 'detached' })
  await accessible(page, 'activity')
})

await next('roles: an auditor sees no secrets and no buttons', async () => {
  await page.goto(`${app}settings/administrators`)
  await page.click('button:has-text("Invite")')
  const dialog = page.locator('[role=dialog]')
  await dialog.locator('input').first().fill('Axel Auditor')
  await dialog.locator('input[type=email]').fill('axel@example.com')
  await dialog.locator('select').selectOption('auditor')
  await dialog.locator('button[type=submit]').click()
  await page.waitForSelector('text=A link for Axel Auditor')
  const link = (await page.locator('[data-once]').innerText()).trim()
  await page.click('button:has-text("I have copied it")')
  await accessible(page, 'people')

  const other = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', locale: 'en-GB' })
  const auditor = await other.newPage()
  auditor.setDefaultTimeout(45_000)
  watch(auditor, noise)
  await auditor.goto(link)
  await auditor.waitForSelector('input[type=password]') // all() below does not wait
  for (const field of await auditor.locator('input[type=password]').all()) await field.fill('another sentence for axel')
  await auditor.click('button[type=submit]')
  await auditor.waitForSelector('aside nav')
  await auditor.click('nav a:has-text("People") >> visible=true')
  await auditor.waitForSelector('[data-number="1000"]')
  must(!(await auditor.locator('button:has-text("New person")').count()), 'an auditor is offered to create users')
  await auditor.click('[data-number="1000"]')
  await auditor.click('[data-person] nav a:has-text("Phones")')
  await auditor.waitForSelector('text=Your role cannot see phone passwords.')
  must(!(await auditor.locator('button:has-text("Delete person")').count()), 'an auditor is offered to delete users')
  await auditor.goto(`${app}changes`)
  await auditor.waitForSelector('text=Your role can view the plan, but not apply it.')
  const status = await auditor.evaluate(() => fetch('/apply', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"triggered_by":"axel"}' }).then((r) => r.status))
  same(status, 403, 'the status of an apply by an auditor')
  await other.close()
})

await next('tokens: shown once, and revoked', async () => {
  await page.goto(`${app}settings/tokens`)
  await page.click('button:has-text("New token") >> nth=0')
  await page.locator('[role=dialog] input').first().fill('Monitoring')
  await page.locator('[role=dialog] button[type=submit]').click()
  const token = (await page.locator('[data-once]').innerText()).trim()
  must(token.startsWith('pbx_'), `a token is ${token}`)
  const answer = await fetch(`${PORTAL}/users`, { headers: { Authorization: `Bearer ${token}` } })
  same(answer.status, 200, 'the status with the token')
  await page.click('button:has-text("I have copied it")')
  await page.click('button[aria-label="Revoke: Monitoring"]')
  await page.locator('[role=dialog] button:has-text("Revoke")').click()
  await page.waitForSelector('text=Monitoring was revoked.')
  same((await fetch(`${PORTAL}/users`, { headers: { Authorization: `Bearer ${token}` } })).status, 401, 'the status with the revoked token')
})

await next('numbers: a ring group is created, applied and tried', async () => {
  const apply = async () => {
    await page.click('a:has-text("Review changes")')
    await page.click('button:has-text("Apply "):has-text("change")')
    await page.waitForSelector('text=Applied. Asterisk runs it.')
    await page.click('nav a:has-text("Numbers") >> visible=true')
  }
  await page.goto(`${app}numbers`)
  await page.click('main button:has-text("New ring group")')
  await page.fill('[name=name]', 'Front desk')
  await page.waitForFunction(() => document.querySelector('[name=number]').value === '600')
  await page.selectOption('[name=strategy]', 'hunt')
  for (const number of ['1001', '1000']) {
    await page.fill('[name=member]', number)
    await page.press('[name=member]', 'Enter')
    await page.waitForSelector(`[data-member="${number}"]`)
  }
  await page.click('button[aria-label^="Move"][aria-label$="down"] >> nth=0')
  same(await page.$$eval('[data-member]', (all) => all.map((li) => li.dataset.member)), ['1000', '1001'], 'the members in order')
  await page.click('button:has-text("Create ring group")')
  await page.waitForSelector('[role=dialog] >> text=600 · Ring group')
  await apply()
  await page.waitForSelector('[role=row]:has-text("600"):has-text("ring one after the other, 20 seconds each, then the call ends.")')
  must(!(await page.locator('text=not applied yet').count()), 'the list says that something is not applied')
  await page.click('[data-number="600"]')
  await page.click('button:has-text("Try the call")')
  await page.waitForSelector('[role=status]:has-text("A caller calls 600 Front desk")')
  await page.locator('[role=dialog] select').selectOption({ index: 2 })
  await page.waitForSelector('[role=dialog] li:has-text("answers")')
  await accessible(page, 'a ring group')
})

await next('switches: Asterisk has a forward at once, and another page shows it within a second', async () => {
  const anna = await page.evaluate(async () => (await (await fetch('/users')).json()).users.find((u) => u.extension.number === 1000).id)
  const other = await page.context().newPage()
  for (const tab of [other, page]) {
    await tab.goto(`${app}people/${anna}`)
    await tab.waitForSelector('[name=forward_busy]')
  }
  const shown = other.waitForFunction(() => document.querySelector('[name=forward_busy]').value === '1001').then(() => Date.now())
  await page.fill('[name=forward_busy]', '1001')
  const began = Date.now()
  await page.press('[name=forward_busy]', 'Enter')
  const took = await soon('the forward', shown, began)
  await page.click('[data-person] button:has-text("Turn off")')
  await other.waitForFunction(() => document.querySelector('[name=forward_busy]').value === '')
  same(await page.evaluate(async (id) => (await (await fetch(`/api/v1/users/${id}/switches`)).json()).forward_busy, anna), null, 'what Asterisk has')
  await other.close()
  return `shown after ${took.toFixed(0)} ms`
})

await next('numbers: the ring group is deleted, and switches are no longer offered', async () => {
  await page.goto(`${app}numbers`)
  await page.click('[data-number="600"]')
  await page.click('button:has-text("Delete ring group")')
  await page.click('button:has-text("Delete 600")')
  await page.waitForSelector('text=No ring groups yet')
  await page.goto(`${app}changes`)
  await page.click('button:has-text("Apply "):has-text("change")')
  await page.waitForSelector('text=Nothing to apply')
  await page.goto(`${app}people`)
  await page.click('[data-number="1000"]')
  await page.waitForSelector('[data-person]:has-text("Set FEATURE_CODES=on, restart the portal, then apply.")')
})

let recovery = ''
await next('a second factor is set up', async () => {
  await page.goto(`${app}settings/account`)
  await page.waitForSelector('text=Where you are signed in.')
  await accessible(page, 'my account')
  await page.click('section:has(#totp) button:has-text("Set up")')
  const dialog = page.locator('[role=dialog]')
  await dialog.locator('input[type=password]').fill('not this one at all')
  await dialog.locator('button[type=submit]').click()
  await dialog.locator('[aria-invalid=true]').waitFor()
  await dialog.locator('input[type=password]').fill(password)
  await dialog.locator('button[type=submit]').click()
  await dialog.locator('svg[role=img]').waitFor()
  await accessible(page, 'the second factor')
  await dialog.locator('[name=otp]').fill(otp(await dialog.locator('code').innerText()))
  await dialog.locator('button[type=submit]').click()
  await dialog.locator('text=Each works once').waitFor()
  recovery = (await dialog.locator('li').first().innerText()).trim()
  await dialog.locator('button:has-text("I have saved them")').click()
  await page.waitForSelector('text=On. Signing in asks for a code')
})

await next('sign out, and in again with the second factor', async () => {
  await page.locator('aside button[aria-haspopup=menu]').click()
  await page.locator('[role=menuitem]:has-text("Sign out")').click()
  await page.waitForSelector('h1:has-text("Sign in")')
  await page.fill('[name=email]', 'olga@example.com')
  await page.fill('[name=password]', password)
  await page.keyboard.press('Enter')
  await page.waitForSelector('[name=otp]')
  await accessible(page, 'sign in with a code')
  await page.fill('[name=otp]', recovery)
  await page.keyboard.press('Enter')
  await page.waitForSelector('h1:has-text("Home")')
  await accessible(page, 'overview')
})

// From here on only the keyboard is used.

// reach presses Tab, or another key, until the control with this name has the focus, and checks that the focus is visible.
async function reach(name, key = 'Tab') {
  const here = () =>
    page.evaluate(() => {
      const el = document.activeElement
      const { outlineStyle, outlineWidth } = getComputedStyle(el)
      return { name: (el.ariaLabel || el.labels?.[0]?.innerText || el.innerText || '').trim().replace(/\s+/g, ' '), seen: el.checkVisibility() && outlineStyle !== 'none' && outlineWidth !== '0px' }
    })
  const passed = []
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press(key)
    const at = await here()
    must(at.seen, `the focus cannot be seen on “${at.name}”`)
    if (at.name === name || (name instanceof RegExp && name.test(at.name))) return
    passed.push(at.name)
  }
  throw new Error(`“${name}” is not reached by Tab, only ${passed.join(', ')}`)
}
const keys = async (...all) => {
  for (const k of all) await page.keyboard.press(k)
}

await next('keys alone: a user is created', async () => {
  await page.waitForSelector('aside nav')
  await keys('n')
  await page.waitForSelector('[role=dialog] [name=name]:focus')
  await page.keyboard.type('Kim Keys')
  await keys('Tab')
  await page.keyboard.type('kim@example.com')
  await keys('Enter')
  await page.waitForSelector('text=Kim Keys was created')
})

let before = 0
await next('keys alone: it is applied', async () => {
  await reach('Review changes')
  await keys('Enter')
  await page.waitForSelector('main li:has-text("Kim Keys")')
  before = Number((await page.locator('a[href*="/changes/revisions/"]').first().getAttribute('href')).split('/').at(-1))
  await reach(/^Apply \d+ changes?$/)
  await keys('Enter')
  await page.waitForSelector('text=Applied. Asterisk runs it.')
})

await next('keys alone: a revision is restored, and the restore undone', async () => {
  await reach(new RegExp(`^Open revision ${before}\\b`))
  await keys('Enter')
  await page.waitForSelector(`[role=dialog]:has-text("Revision ${before}")`)
  await page.waitForSelector('[role=dialog] button:has-text("Restore revision")')
  await reach('Restore revision')
  await keys('Enter')
  await page.waitForSelector(`[role=dialog]:has-text("Restore revision ${before}?")`)
  await reach(`Restore ${before}`)
  await keys('Enter')
  await page.waitForSelector(`text=restores ${before}`)
  await page.waitForSelector(`label:has-text("Undo the restore of revision ${before}")`)
  await reach(new RegExp(`^Undo the restore of revision ${before}\\b`))
  await keys('Space')
  await reach(/^Apply \d+ changes?$/)
  await keys('Enter')
  await page.waitForSelector('text=Nothing to apply')
})

await next('keys alone: the user is deleted', async () => {
  await keys('g', 'p')
  await page.waitForSelector('[role=grid]')
  await keys('/')
  await page.keyboard.type('kim keys')
  await page.waitForSelector('[role=grid][aria-rowcount="2"]')
  await keys('ArrowDown', 'Enter')
  await page.waitForSelector('[data-person]:has-text("kim@example.com")')
  await reach('Delete person')
  await keys('Enter')
  await page.waitForSelector('text=becomes free')
  await reach(/^Delete \d{4}$/)
  await keys('Enter')
  await page.waitForSelector('text=Kim Keys was deleted.')
  await page.waitForSelector('[role=dialog]', { state: 'detached' })
})

await next('keys alone: sign out', async () => {
  await reach(/^Account menu/, 'Shift+Tab') // from the search, which has the focus as the list is empty
  await keys('Enter')
  await page.waitForSelector('[role=menu]')
  await keys('End', 'Enter')
  await page.waitForSelector('h1:has-text("Sign in")')
  await page.waitForSelector('[name=email]:focus')
})

await next('no script failed, and the content security policy blocked nothing', async () => same([...new Set(noise)], [], 'what the browser complained of'))
await browser.close()
finish()
