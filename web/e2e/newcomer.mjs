// Somebody who has never seen the portal, with nothing but the link that it printed, and a telephone. First the straight way, with every
// act counted and timed; then, on a second portal, the way through everything that can go wrong on it.
import { accessible, fits, finish, launch, must, same, step, watch, waysOn, workbench } from './lib.mjs'

const { PORTAL, CONTROL, SETUP, ROUGH_PORTAL, ROUGH_CONTROL, ROUGH_SETUP } = process.env
const most = 12
const password = 'one sentence nobody else knows'

const browser = await launch()
const noise = []
const options = { viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', locale: 'en-GB' }

// visit opens a page as somebody who has never been here. Whatever a person does on it goes through `person`, which counts: a field that
// is filled in is one act, a click is one, a key is one. The page counts for itself what reaches it, and both must agree.
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

// at waits for a step of the set-up, and sees that it is no dead end.
async function at(page, heading, ...ways) {
  await page.waitForSelector(`h2:has-text("${heading}")`)
  await offers(page, ...ways)
}

let states = 0 // that were seen to have a way on

// offers waits until each of these can be pressed or filled in: what is fetched first may come a moment later.
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
  await next(`from the link to a registered phone in at most ${most} acts`, async () => {
    const began = Date.now()
    await page.goto(SETUP)
    await at(page, 'Your account', 'Your name', 'E-mail address', 'Password', 'The same again', 'Create account')
    await person.fill('Your name', 'Olga Owner')
    await person.fill('E-mail address', 'olga@example.com')
    await person.fill('Password', password)
    await person.fill('The same again', password)
    await person.key('Enter')
    await at(page, 'Second factor', 'Set up', 'Later')
    await person.click('Later')
    await at(page, 'Check', 'Continue', 'Check again', 'Skip the rest')
    await person.click('Continue')
    await at(page, 'First user', 'Name', 'E-mail', 'Create user', 'Skip the rest')
    await person.key('Enter') // it is the owner, unless somebody else is put in
    await at(page, 'Apply', 'Apply 1 change', 'Skip the rest')
    await person.click('Apply 1 change')
    await at(page, 'Your phone', 'Go to the overview')
    await page.waitForSelector('text=Applied. Asterisk runs it.')
    // What follows happens at the telephone: server, number and secret stand on the page to be read.
    const secret = (await page.locator('[data-secret]').innerText()).trim()
    await control('register', { number: 1000, secret })
    await page.waitForSelector(registered)
    const seconds = (Date.now() - began) / 1000
    const seen = await page.evaluate(() => acts.clicks + acts.keys + acts.fields.size)
    same(seen, person.acts.length, `acts that the page saw, beside those that were counted (${person.acts.join(', ')})`)
    must(seen <= most, `${seen} acts: ${person.acts.join(', ')}`)
    return `${seen} acts, 0 dead ends, ${seconds.toFixed(1)} s for a hand that does not have to think`
  }, page)

  await next('the link is used up: it leads to the overview, and a stranger to the sign-in', async () => {
    await page.goto('about:blank')
    await page.goto(SETUP)
    await offers(page, 'Go to the overview')
    const stranger = await visit()
    await stranger.page.goto(SETUP)
    await stranger.page.waitForSelector('text=This portal is set up already.')
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
  const late = await visit() // opens the same link, and is too late
  await late.page.goto(ROUGH_SETUP)
  await late.page.waitForSelector('h2:has-text("Your account")')

  await next('a wrong code: it can be put right on the spot', async () => {
    await page.goto(`${ROUGH_PORTAL}/app/setup#WRONG-CODE`)
    await at(page, 'Your account')
    await person.fill('Your name', 'Rita Rough')
    await person.fill('E-mail address', 'rita@example.com')
    await person.fill('Password', 'short')
    await person.fill('The same again', 'other')
    await person.key('Enter')
    await page.waitForSelector('text=At least 12 characters. >> visible=true')
    await offers(page, 'Password', 'The same again', 'Create account')
    await person.fill('Password', password)
    await person.key('Enter')
    await page.waitForSelector('text=The two are not the same.')
    await offers(page, 'Password', 'The same again', 'Create account')
    await person.fill('The same again', password)
    await person.key('Enter')
    await page.waitForSelector('text=pbxportal admin setup-link') // where another code comes from
    await offers(page, 'Set-up code', 'Create account')
    same(await page.evaluate(() => document.activeElement.labels?.[0]?.innerText), 'Set-up code', 'the field that has the focus')
    await accessible(page, 'a wrong code')
    await page.setViewportSize({ width: 360, height: 740 })
    await fits(page, 'a wrong code')
    await accessible(page, 'a wrong code on a phone')
    await page.setViewportSize(options.viewport)
    await person.fill('Set-up code', ROUGH_SETUP.split('#')[1])
  }, page)

  await next('a password that everybody uses: the portal says so at the field', async () => {
    await person.fill('Password', 'passwordpassword')
    await person.fill('The same again', 'passwordpassword')
    await person.key('Enter')
    await page.waitForSelector('input[type=password][aria-invalid=true]')
    await offers(page, 'Password', 'The same again', 'Create account')
    await person.fill('Password', password)
    await person.fill('The same again', password)
  }, page)

  await next('the network fails on the first step: nothing typed is lost', async () => {
    await page.context().setOffline(true)
    await person.key('Enter')
    await page.waitForSelector('[data-trouble=portal]')
    await offers(page, 'Create account')
    await page.context().setOffline(false)
    await page.waitForSelector('[data-trouble]', { state: 'detached' })
    await person.click('Create account')
    await at(page, 'Second factor', 'Later')
  }, page)

  await next('a link that somebody else was quicker with leads to the sign-in', async () => {
    await late.person.fill('Your name', 'Leo Late')
    await late.person.fill('E-mail address', 'leo@example.com')
    await late.person.fill('Password', password)
    await late.person.fill('The same again', password)
    await late.person.key('Enter')
    await late.page.waitForSelector('[role=alert]')
    await offers(late.page, 'Sign in')
    await late.person.click('Sign in')
    await late.page.waitForSelector('h1:has-text("Sign in")')
    await late.close()
  }, late.page)

  await next('a wrong code of the second factor: another try, or later', async () => {
    await person.click('Set up')
    await page.waitForSelector('[name=otp]')
    await page.locator('[name=otp]').fill('000000')
    await person.click('Confirm')
    await page.waitForSelector('[aria-invalid=true], [role=alert]')
    await offers(page, 'Six-digit code', 'Confirm', 'Later')
    await accessible(page, 'a wrong code of the second factor')
    await person.click('Later')
  }, page)

  await next('Asterisk is away at the check-list: it is named with its cure, and there is a way past it', async () => {
    await control('asterisk/kill')
    await at(page, 'Check', 'Continue', 'Check again', 'Skip the rest')
    await page.waitForSelector('[data-trouble=asterisk]')
    await page.waitForSelector('text=You can go on all the same.')
    await accessible(page, 'the check-list without Asterisk')
    await person.click('Check again')
    await page.waitForSelector('text=You can go on all the same.')
    await person.click('Continue')
  }, page)

  await next('an address that is none: the field says so', async () => {
    await at(page, 'First user', 'Create user')
    await person.fill('E-mail', 'nowhere')
    await person.key('Enter')
    await page.waitForSelector('text=This is not an e-mail address.')
    await offers(page, 'Name', 'E-mail', 'Create user', 'Skip the rest')
    await person.fill('E-mail', 'rita@example.com')
    await person.key('Enter')
  }, page)

  await next('somebody left a file where it has no place: the apply is refused, and works once it is gone', async () => {
    await at(page, 'Apply', 'Apply 1 change', 'Skip the rest')
    await control('foreign/put')
    await person.click('Apply 1 change')
    await page.waitForSelector('text=is not the portal’s file')
    await page.waitForSelector('text=Move it away on the machine')
    await offers(page, 'Look again', 'Skip the rest')
    await accessible(page, 'an apply that was refused')
    await control('foreign/take')
    // The page also looks again by itself, every three seconds: the button may be gone before it is pressed.
    await Promise.race([person.click('Look again').catch(() => {}), offers(page, 'Apply 1 change')])
    await offers(page, 'Apply 1 change')
  }, page)

  await next('the apply fails because Asterisk is away: the page says so, and goes on when it is back', async () => {
    await person.click('Apply 1 change')
    await page.waitForSelector('text=The files are in place. Asterisk has not taken them yet.')
    await page.waitForSelector('h2:has-text("Asterisk is not running")')
    must(await page.locator('button:has-text("Have Asterisk read them again")').isDisabled(), 'Asterisk is to read files while it is not running')
    await offers(page, 'Comment optional', 'Skip the rest')
    await accessible(page, 'an apply without Asterisk')
    await control('asterisk/start')
    await at(page, 'Your phone', 'Go to the overview')
  }, page)

  await next('the link to Asterisk is cut while the phone registers: the page says that it cannot see, and then does', async () => {
    await control('link/cut')
    await page.waitForSelector('text=Whether it registers cannot be seen from here.')
    await page.waitForSelector('[data-trouble=link]')
    await offers(page, 'Go to the overview')
    await accessible(page, 'the last step without the link')
    await control('register', { number: 1000, secret: (await page.locator('[data-secret]').innerText()).trim() })
    await control('link/mend')
    await page.waitForSelector(registered)
    await person.click('Go to the overview')
    await page.waitForSelector('text=Everything is live.')
  }, page)
  await close()
}

await next('no script broke, and the policy had nothing to stop', async () => {
  same([...new Set(noise)], [], 'what the browser complained of')
  return `${states} states had a way on`
})
await browser.close()
finish()
