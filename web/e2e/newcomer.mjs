// A new user with the link that the portal printed, and a phone. First the direct way, with every
// action counted and timed; then, on a second portal, the way through everything that can go wrong.
import { accessible, fits, finish, launch, must, same, step, watch, waysOn, workbench } from './lib.mjs'

const { PORTAL, CONTROL, SETUP, ROUGH_PORTAL, ROUGH_CONTROL, ROUGH_SETUP } = process.env
const most = 12
const password = 'one sentence only I know'

const browser = await launch()
const noise = []
const options = { viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', locale: 'en-GB' }

// visit opens a page in a new browser. All actions on it go through `person`, which counts them: a field that
// is filled in is one action, a click is one, a key is one. The page also counts the events it receives, and both must agree.
async function visit() {
  const context = await browser.newContext(options)
  const page = await context.newPage()
  page.setDefaultTimeout(30_000)
  watch(page, noise)
  await page.addInitScript(() => {
    const filled = new Set()
    const acts = { clicks: 0, keys: 0, fields: filled }
    addEventListener('click', (e) => e.isTrusted && e.detail && acts.clicks++, true) // a click that a key made has no detail
    addEventListener('keydown', () => acts.keys++, true)
    addEventListener('input', (e) => filled.add(e.target), true)
    window.acts = acts
  })
  const person = {
    acts: [],
    async fill(label, text) {
      this.acts.push(`fill in ${label}`)
      await page.getByLabel(label, { exact: true }).fill(text)
    },
    async click(name) {
      this.acts.push(`press ${name}`)
      await page.getByRole('button', { name, exact: true }).click()
    },
    async key(name) {
      this.acts.push(`key ${name}`)
      await page.keyboard.press(name)
    },
  }
  return { page, person, close: () => context.close() }
}

// at waits for a step of the set-up, and checks that it has a way on.
async function at(page, heading, ...ways) {
  await page.waitForSelector(`h2:has-text("${heading}")`)
  await offers(page, ...ways)
}

let states = 0 // number of states checked to have a way on

// offers waits until each of these can be pressed or filled in.
async function offers(page, ...ways) {
  for (let tries = 0; ; tries++) {
    const there = await waysOn(page)
    const missing = ways.filter((w) => !there.includes(w))
    if (!missing.length && there.length) return void states++
    must(tries < 200, `there is no ${missing.join(', ') || 'way on'}; there is ${there.join(', ')}`)
    await page.waitForTimeout(50)
  }
}

async function next(name, run, page) {
  if (await step(name, run, page)) return
  await browser.close()
  finish()
}

const registered = 'section:has(h2:has-text("Your phone")) p[role=status]:has-text("Your phone is registered") circle.fill-ok'

{
  const control = workbench(CONTROL)
  const { page, person, close } = await visit()
  await next(`from the link to a registered phone in at most ${most} actions`, async () => {
    const began = Date.now()
    await page.goto(SETUP)
    await at(page, 'Your account', 'Your name', 'E-mail address', 'Password', 'Repeat password', 'Create account')
    await person.fill('Your name', 'Olga Owner')
    await person.fill('E-mail address', 'olga@example.com')
    await person.fill('Password', password)
    await person.fill('Repeat password', password)
    await person.key('Enter')
    await at(page, 'Second factor', 'Set up', 'Later')
    await person.click('Later')
    await at(page, 'Check', 'Continue', 'Check again', 'Skip the rest')
    await person.click('Continue')
    await at(page, 'Organisation', 'Name', 'Country', 'Time zone', 'Address for phones', 'Save and continue', 'Later', 'Skip the rest')
    await person.fill('Name', 'Example')
    await person.key('Enter')
    await at(page, 'First person', 'Name', 'E-mail', 'Create person', 'Skip the rest')
    await person.key('Enter') // the owner is the default
    await at(page, 'Apply', 'Apply 1 change', 'Skip the rest')
    await person.click('Apply 1 change')
    await at(page, 'Your phone', 'Go to Home')
    await page.waitForSelector('text=Applied. Asterisk runs it.')
    // The next action is at the phone: server, number and secret are shown on the page.
    const secret = (await page.locator('[data-secret]').innerText()).trim()
    await control('register', { number: 1000, secret })
    await page.waitForSelector(registered)
    const seconds = (Date.now() - began) / 1000
    const seen = await page.evaluate(() => acts.clicks + acts.keys + acts.fields.size)
    same(seen, person.acts.length, `acts that the page saw, beside those that were counted (${person.acts.join(', ')})`)
    must(seen <= most, `${seen} acts: ${person.acts.join(', ')}`)
    return `${seen} acts, 0 dead ends, ${seconds.toFixed(1)} s for a hand that does not have to think`
  }, page)

  await next('the used link leads to the overview, or to the sign-in for other users', async () => {
    await page.goto('about:blank')
    await page.goto(SETUP)
    await offers(page, 'Go to Home')
    const stranger = await visit()
    await stranger.page.goto(SETUP)
    await stranger.page.waitForSelector('text=This portal is already set up.')
    await offers(stranger.page, 'Sign in')
    await accessible(stranger.page, 'a used link')
    await stranger.person.click('Sign in')
    await stranger.page.waitForSelector('h1:has-text("Sign in")')
    await offers(stranger.page, 'E-mail address', 'Password', 'Sign in')
    await stranger.close()
  }, page)
  await close()
}

{
  const control = workbench(ROUGH_CONTROL)
  const { page, person, close } = await visit()
  const late = await visit() // opens the same link too late
  await late.page.goto(ROUGH_SETUP)
  await late.page.waitForSelector('h2:has-text("Your account")')

  await next('a wrong code can be corrected on the page', async () => {
    await page.goto(`${ROUGH_PORTAL}/app/setup#WRONG-CODE`)
    await at(page, 'Your account')
    await person.fill('Your name', 'Rita Rough')
    await person.fill('E-mail address', 'rita@example.com')
    await person.fill('Password', 'short')
    await person.fill('Repeat password', 'other')
    await person.key('Enter')
    await page.waitForSelector('text=At least 12 characters. >> visible=true')
    await offers(page, 'Password', 'Repeat password', 'Create account')
    await person.fill('Password', password)
    await person.key('Enter')
    await page.waitForSelector('text=The passwords do not match.')
    await offers(page, 'Password', 'Repeat password', 'Create account')
    await person.fill('Repeat password', password)
    await person.key('Enter')
    await page.waitForSelector('text=pbxportal admin setup-link') // the command for another code
    await offers(page, 'Set-up code', 'Create account')
    same(await page.evaluate(() => document.activeElement.labels?.[0]?.innerText), 'Set-up code', 'the field that has the focus')
    await accessible(page, 'a wrong code')
    await page.setViewportSize({ width: 360, height: 740 })
    await fits(page, 'a wrong code')
    await accessible(page, 'a wrong code on a phone')
    await page.setViewportSize(options.viewport)
    await person.fill('Set-up code', ROUGH_SETUP.split('#')[1])
  }, page)

  await next('a common password: the field shows the error', async () => {
    await person.fill('Password', 'passwordpassword')
    await person.fill('Repeat password', 'passwordpassword')
    await person.key('Enter')
    await page.waitForSelector('input[type=password][aria-invalid=true]')
    await offers(page, 'Password', 'Repeat password', 'Create account')
    await person.fill('Password', password)
    await person.fill('Repeat password', password)
  }, page)

  await next('the network fails on the first step: no input is lost', async () => {
    await page.context().setOffline(true)
    await person.key('Enter')
    await page.waitForSelector('[data-trouble=portal]')
    await offers(page, 'Create account')
    await page.context().setOffline(false)
    await page.waitForSelector('[data-trouble]', { state: 'detached' })
    await person.click('Create account')
    await at(page, 'Second factor', 'Later')
  }, page)

  await next('a link that was used meanwhile leads to the sign-in', async () => {
    await late.person.fill('Your name', 'Leo Late')
    await late.person.fill('E-mail address', 'leo@example.com')
    await late.person.fill('Password', password)
    await late.person.fill('Repeat password', password)
    await late.person.key('Enter')
    await late.page.waitForSelector('[role=alert]')
    await offers(late.page, 'Sign in')
    await late.person.click('Sign in')
    await late.page.waitForSelector('h1:has-text("Sign in")')
    await late.close()
  }, late.page)

  await next('a wrong code of the second factor: try again, or later', async () => {
    await person.click('Set up')
    await page.waitForSelector('[name=otp]')
    await page.locator('[name=otp]').fill('000000')
    await person.click('Confirm')
    await page.waitForSelector('[aria-invalid=true], [role=alert]')
    await offers(page, 'Six-digit code', 'Confirm', 'Later')
    await accessible(page, 'a wrong code of the second factor')
    await person.click('Later')
  }, page)

  await next('Asterisk is unavailable at the checklist: it is shown with its fix, and the user can continue', async () => {
    await control('asterisk/kill')
    await at(page, 'Check', 'Continue', 'Check again', 'Skip the rest')
    await page.waitForSelector('[data-trouble=asterisk]')
    await page.waitForSelector('text=You can continue anyway.')
    await accessible(page, 'the check-list without Asterisk')
    await person.click('Check again')
    await page.waitForSelector('text=You can continue anyway.')
    await person.click('Continue')
    await at(page, 'Organisation', 'Save and continue', 'Later')
    await person.click('Later')
  }, page)

  await next('an invalid address: the field shows the error', async () => {
    await at(page, 'First person', 'Create person')
    await person.fill('E-mail', 'nowhere')
    await person.key('Enter')
    await page.waitForSelector('text=This is not an e-mail address.')
    await offers(page, 'Name', 'E-mail', 'Create person', 'Skip the rest')
    await person.fill('E-mail', 'rita@example.com')
    await person.key('Enter')
  }, page)

  await next('an external file is in the folder: the apply is refused, and works once it is gone', async () => {
    await at(page, 'Apply', 'Apply 1 change', 'Skip the rest')
    await control('foreign/put')
    await person.click('Apply 1 change')
    await page.waitForSelector('text=does not belong to the portal')
    await page.waitForSelector('text=Move that file to another folder on the host')
    await offers(page, 'Check again', 'Skip the rest')
    await accessible(page, 'an apply that was refused')
    await control('foreign/take')
    // The page also checks by itself every three seconds: the button may be gone before it is pressed.
    await Promise.race([person.click('Check again').catch(() => {}), offers(page, 'Apply 1 change')])
    await offers(page, 'Apply 1 change')
  }, page)

  await next('the apply fails because Asterisk is unavailable: the page says so, and continues when it is back', async () => {
    await person.click('Apply 1 change')
    await page.waitForSelector('text=The files are in place. Asterisk has not loaded them yet.')
    await page.waitForSelector('h2:has-text("Asterisk is not running")')
    must(await page.locator('button:has-text("Reload Asterisk")').isDisabled(), 'a reload is offered while Asterisk is not running')
    await offers(page, 'Comment optional', 'Skip the rest')
    await accessible(page, 'an apply without Asterisk')
    await control('asterisk/start')
    await at(page, 'Your phone', 'Go to Home')
  }, page)

  await next('the link to Asterisk is cut while the phone registers: the page says so, and shows the phone once it is back', async () => {
    await control('link/cut')
    await page.waitForSelector('text=The registration cannot be checked from here.')
    await page.waitForSelector('[data-trouble=link]')
    await offers(page, 'Go to Home')
    await accessible(page, 'the last step without the link')
    await control('register', { number: 1000, secret: (await page.locator('[data-secret]').innerText()).trim() })
    await control('link/restore')
    await page.waitForSelector(registered)
    await person.click('Go to Home')
    await page.waitForSelector('text=All is well.')
  }, page)
  await close()
}

await next('no script failed, and the content security policy blocked nothing', async () => {
  same([...new Set(noise)], [], 'what the browser complained of')
  return `${states} states had a way on`
})
await browser.close()
finish()
