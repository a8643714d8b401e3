// Takes the screenshots in docs/screens from the built pages: every page, in both themes, wide and narrow. PICK=name takes only some.
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { launch } from './lib.mjs'
import { serve, world } from './mock.mjs'

const out = process.env.OUT ?? path.resolve(import.meta.dirname, '../../docs/screens')
const pick = process.env.PICK?.split(',')


const pages = [
  ['sign-in', '', { signedIn: false }],
  ['set-up', 'setup#CODE', { setup: true, signedIn: false, empty: true }],
  ['overview', ''],
  ['overview-empty', '', { empty: true }],
  ['users', 'people'],
  ['user', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000002'],
  ['edit-user', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000002', {}, async (p) => {
    await p.click('button:has-text("Edit")')
    await p.fill('[data-person] [name=email]', '')
    await p.fill('[data-person] [name=number]', '1205')
    await p.waitForSelector('[data-person] [role=status]:has-text("1205")')
  }],
  ['edit-conflict', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000002', {}, async (p, w) => {
    await p.click('button:has-text("Edit")')
    await p.fill('[data-person] [name=name]', 'Clara Berger')
    Object.assign(w.users[2], { email: 'clara@example.com', enabled: false, version: 2 })
    await p.click('[data-person] button:has-text("Save")')
    await p.waitForSelector('[data-person] [role=alert]')
    await p.fill('[data-person] [name=number]', '1000')
    await p.click('[data-person] button:has-text("Save my changes")')
    await p.waitForSelector('text=Anna Amsel has 1000')
  }],
  ['disabled', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000012'],
  ['disabling', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000002', {}, async (p) => {
    await p.click('[data-person] button:has-text("Disable")')
    await p.waitForSelector('text=Disable Clara')
  }],
  ['new-secret', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000002/phones', {}, async (p) => {
    await p.click('button:has-text("New phone password")')
    await p.click('button:has-text("Create new phone password")')
    await p.waitForSelector('text=The phone password is new')
    await p.locator('[data-secret]').scrollIntoViewIfNeeded()
  }],
  ['user-phones', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000002/phones'],
  ['user-history', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000002/history'],
  ['phones', 'phones'],
  ['calls', 'calls'],
  ['new-user', 'people?new'],
  ['created', 'people?new', {}, async (p) => {
    await p.fill('[name=name]', 'Matilda Ebert')
    await p.fill('[name=email]', 'matilda.ebert@example.com')
    await p.click('form button[type=submit]')
    await p.click('button[aria-label="Reveal phone password"]')
    await p.click('button:has-text("QR code")')
    await p.waitForSelector('[role=dialog] svg[role=img]')
  }],
  ['deleting', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000005', {}, async (p) => {
    await p.click('button:has-text("Delete person")')
    await p.waitForSelector('text=You can undo this for 8 seconds')
  }],
  ['undo', 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000005', {}, async (p) => {
    await p.click('button:has-text("Delete person")')
    await p.click('button:has-text("Delete 1005")')
    await p.waitForSelector('button:has-text("Undo")')
  }],
  ['numbers', 'numbers'],
  ['numbers-empty', 'numbers', { empty: true }],
  ['number', 'numbers/ring-groups/7c1d0b5e-52c5-4f0c-9d55-000000000002'],
  ['number-edit', 'numbers/ring-groups/7c1d0b5e-52c5-4f0c-9d55-000000000002', {}, async (p) => p.click('[aria-labelledby=details] button')],
  ['number-call', 'numbers/ring-groups/7c1d0b5e-52c5-4f0c-9d55-000000000001', {}, async (p) => {
    await p.locator('[role=dialog] .border-t section > div > button').first().click()
    await p.locator('[role=dialog] ol').waitFor()
  }],
  ['number-in-use', 'numbers/ring-groups/7c1d0b5e-52c5-4f0c-9d55-000000000002', {}, async (p) => {
    await p.locator('[role=dialog] button.mr-auto').click()
    await p.locator('[role=dialog]').last().locator('button').last().click()
    await p.locator('[role=dialog]').last().locator('a').waitFor()
  }],
  ['new-number', 'numbers?new=ring-groups'],
  ['apply', 'changes'],
  ['apply-files', 'changes', {}, async (p) => p.click('button[aria-expanded]:has-text("File changes")')],
  ['apply-done', 'changes', {}, async (p) => {
    await p.click('button:has-text("Apply 6 changes")')
    await p.waitForSelector('text=Applied. Asterisk runs it.')
    await p.click('summary')
  }],
  ['revision', 'changes/revisions/11'],
  ['revision-failed', 'changes/revisions/8'],
  ['activity', 'settings/activity'],
  ['activity-entry', 'settings/activity', {}, async (p) => p.click('summary:has-text("Changed the account")')],
  ['settings', 'settings/account'],
  ['set-up-organisation', 'setup?step=3', {}, async (p) => p.waitForSelector('[name=server_address]')],
  ['organisation', 'settings/organisation'],
  ['organisation-edit', 'settings/organisation', {}, async (p) => p.click('button[aria-label="Edit the settings for phones"]')],
  ['pools', 'settings/pools', {}, async (p, w) => {
    w.pools[2].used = 9
    for (const stream of w.streams) stream.write('event: changed\ndata: {"plan":false,"users":true}\n\n')
    await p.waitForSelector('li:has-text("almost full")')
  }],
  ['pool', 'settings/pools/a0000000-0000-0000-0000-000000000004'],
  ['people', 'settings/administrators'],
  ['tokens', 'settings/tokens'],
  ['new-token', 'settings/tokens', {}, async (p) => {
    await p.click('button:has-text("New token")')
    await p.click('label:has-text("Selected permissions")')
    await p.fill('[role=dialog] form input >> nth=0', 'Address book')
    await p.check('label:has-text("See people") input')
  }],
  ['asterisk', 'settings/asterisk'],
  ['about', 'settings/about'],
  ['keys', '', {}, async (p) => p.keyboard.press('?')],
  ['palette', 'people', {}, async (p) => {
    await p.keyboard.press('Control+k')
    await p.waitForSelector('[role=combobox]')
    await p.keyboard.type('an')
  }],
]

await mkdir(out, { recursive: true })
const browser = await launch()
const noise = []
for (const [name, to, options = {}, act] of pages) {
  if (pick && !pick.includes(name)) continue
  for (const scheme of (process.env.SCHEMES ?? 'light,dark').split(',')) {
    for (const width of (process.env.WIDTHS ?? '1440,360').split(',').map(Number)) {
      const w = world({ now: Date.now(), ...options })
      const portal = await serve(w)
      const context = await browser.newContext({ viewport: { width, height: width > 600 ? 900 : 760 }, colorScheme: scheme, locale: process.env.LOCALE ?? 'en-GB', reducedMotion: 'reduce', deviceScaleFactor: 1 })
      const page = await context.newPage()
      page.on('console', (m) => m.type() === 'error' && !/401|403|409|412/.test(m.text()) && noise.push(`${name}: ${m.text()}`))
      page.on('pageerror', (e) => noise.push(`${name}: ${e.message}`))
      await page.goto(`${portal.url}/app/${to}`)
      await page.waitForSelector('#app h1')
      await page.waitForTimeout(350)
      if (act) await act(page, w)
      await page.waitForTimeout(250)
      const file = path.join(out, `${name}-${scheme}-${width}.png`)
      await rm(file, { force: true })
      await page.screenshot({ path: file })
      await context.close()
      await portal.close()
    }
  }
}
await browser.close()
if (noise.length) {
  console.error([...new Set(noise)].join('\n'))
  process.exit(1)
}
