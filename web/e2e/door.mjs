// Sign-in with the built program: a portal that requires a second factor of owners, and an OpenID provider with its own sign-in page,
// which states that it asked only for a password.
import { accessible, finish, launch, must, same, step, watch } from './lib.mjs'
import { otp } from './otp.mjs'

const { PORTAL, SETUP } = process.env
const app = `${PORTAL}/app/`
const password = 'one sentence only I know'
const browser = await launch()
const noise = []

async function visitor(locale = 'en-GB') {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', locale })
  const page = await context.newPage()
  page.setDefaultTimeout(45_000)
  watch(page, noise, (text) => text.includes('/login/username')) // the provider's own page
  return page
}
const page = await visitor()

async function next(name, run) {
  if (!(await step(name, run, page))) {
    await browser.close()
    finish()
  }
}

// atTheProvider signs in at the provider, from the button on the page.
async function atTheProvider(guest, username) {
  await guest.click('a[href="/auth/oidc/start"]')
  await guest.waitForURL((url) => !url.href.startsWith(PORTAL))
  await guest.fill('[name=username]', username)
  await guest.fill('[name=password]', 'verysecure')
  await guest.click('button[type=submit]')
  await guest.waitForURL(`${app}**`)
}

await next('set-up: the second factor cannot be skipped', async () => {
  await page.goto(SETUP)
  await page.fill('[name=name]', 'Olga Owner')
  await page.fill('[name=email]', 'olga@example.com')
  await page.waitForSelector('input[type=password]')
  for (const field of await page.locator('input[type=password]').all()) await field.fill(password)
  await page.click('button[type=submit]')
  await page.waitForSelector('h2:has-text("Second factor")')
  must(!(await page.locator('button:has-text("Later")').count()), 'it is offered to come later')
})

await next('other addresses lead back to it: nothing else is shown, and nothing else answers', async () => {
  for (const path of ['', 'people', 'settings/account']) {
    await page.goto(app + path)
    await page.waitForSelector('h1:has-text("Set up your second factor")')
    must(!(await page.locator('nav').count()), `${path} is shown`)
  }
  const statuses = await page.evaluate(async () => {
    const ask = async (method, path) => (await fetch(path, { method })).status
    return [await ask('GET', '/users'), await ask('GET', '/audit'), await ask('GET', '/account/sessions'), await ask('GET', '/session')]
  })
  same(statuses, [403, 403, 403, 200], 'the answers')
  await accessible(page, 'the second factor that is demanded')
})

let factor = ''
await next('with it, the user is signed in and cannot turn it off', async () => {
  await page.fill('input[type=password]', password)
  await page.click('button[type=submit]')
  await page.waitForSelector('svg[role=img]')
  factor = await page.locator('code').innerText()
  await page.fill('[name=otp]', otp(factor))
  await page.click('button[type=submit]')
  await page.click('button:has-text("I have saved them")')
  await page.waitForSelector('section:has(#totp)')
  await page.waitForSelector('text=This portal requires it for your role.')
  must(!(await page.locator('button:has-text("Turn off")').count()), 'it is offered to be turned off')
})

let link = ''
await next('an account is invited', async () => {
  await page.goto(`${app}settings/administrators`)
  await page.click('button:has-text("Invite")')
  const dialog = page.locator('[role=dialog]')
  await dialog.locator('input').first().fill('Ida Example')
  await dialog.locator('input[type=email]').fill('ida@example.com')
  await dialog.locator('select').selectOption('auditor')
  await dialog.locator('button[type=submit]').click()
  await page.waitForSelector('text=A link for Ida Example')
  link = (await page.locator('[data-once]').innerText()).trim()
  must(link.startsWith(app), `the link is ${link}`)
})

await next('the provider signs the user in, with the permissions of the account', async () => {
  const ida = await visitor()
  await ida.goto(app)
  await ida.waitForSelector('text=Sign in with your organisation')
  await accessible(ida, 'signing in with the button of the provider')
  await atTheProvider(ida, 'ida')
  await ida.waitForSelector('aside nav')
  same(new URL(ida.url()).pathname, '/app/', 'where she is')
  const session = await ida.evaluate(() => fetch('/session').then((r) => r.json()))
  same([session.account.email, session.account.role, session.account.totp_demanded], ['ida@example.com', 'auditor', false], 'who she is')
  await ida.context().close()
})

for (const [username, locale, text] of [
  ['nobody', 'en-GB', 'There is no account with the e-mail address that your organisation sent.'],
  ['nobody', 'de-DE', 'Es gibt hier kein Konto mit der E-Mail-Adresse, die Ihre Organisation übermittelt hat.'],
]) {
  await next(`a rejected user reads the reason: ${username}, ${locale}`, async () => {
    const guest = await visitor(locale)
    await guest.goto(app)
    await guest.waitForSelector('a[href="/auth/oidc/start"]')
    await atTheProvider(guest, username)
    await guest.waitForSelector(`main :text("${text}")`)
    must(await guest.locator('[name=email]').isVisible(), 'there is no other way in beside it')
    same(await guest.evaluate(() => fetch('/session').then((r) => r.status)), 401, 'the status of /session')
    await accessible(guest, 'a sign-in that was refused')
    await guest.context().close()
  })
}

await next('an account with its own second factor is asked for it after the provider', async () => {
  const theirs = await visitor()
  await theirs.goto(app)
  await theirs.waitForSelector('a[href="/auth/oidc/start"]')
  await atTheProvider(theirs, 'olga')
  await theirs.waitForSelector('main :text("This account also has its own second factor")')
  same(await theirs.evaluate(() => fetch('/session').then((r) => r.status)), 401, 'the answer to who they are')
  same(await theirs.evaluate(() => fetch('/users').then((r) => r.status)), 401, 'the answer to who there is')
  await accessible(theirs, 'the second factor behind the provider')
  await theirs.fill('[name=otp]', otp(factor, 1)) // the code of this half minute may be the one that switched it on
  await theirs.click('button[type=submit]')
  await theirs.waitForSelector('aside nav')
  same(await theirs.evaluate(() => fetch('/session').then((r) => r.json()).then((s) => s.account.email)), 'olga@example.com', 'who they are')
  await theirs.context().close()
})

await next('no script broke, and the policy had nothing to stop', async () => same([...new Set(noise)], [], 'what the browser complained of'))
await browser.close()
finish()
