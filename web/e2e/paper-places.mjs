// Steps with a mock portal: the places, the pages of people, and how far the ways are.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { brotliCompressSync } from 'node:zlib'
import { must, same } from './lib.mjs'

const dist = path.resolve(import.meta.dirname, '../../internal/webui/dist')
const clara = '2f9e5a1c-8d8e-4a53-9f5b-000000000002'

// counted counts the clicks and the fields from Home; Enter sends a form.
async function counted(page, act) {
  const done = { clicks: 0, fields: 0 }
  await page.goto(new URL('/app/', page.url()).href)
  await page.waitForSelector('[data-attention]')
  await act({
    click: async (selector) => (done.clicks++, page.locator(selector).first().click()),
    fill: async (selector, text) => (done.fields++, page.locator(selector).first().fill(text)),
    enter: () => page.keyboard.press('Enter'),
  })
  return `${done.clicks}+${done.fields}`
}

export function placeSteps(later, visit) {
  later('the usual jobs take few clicks and fields from Home', () =>
    visit({}, '', async (page) => {
      const took = {}
      took['add a person'] = await counted(page, async ({ click, fill }) => {
        await click('aside nav a:has-text("People")')
        await click('button:has-text("New person")')
        await fill('[role=dialog] [name=name]', 'Nora Neu')
        await fill('[role=dialog] [name=email]', 'nora@example.com')
        await click('button:has-text("Create person")')
        await page.waitForSelector('text=Nora Neu was created')
      })
      const details = async ({ click, fill, enter }, field, text) => {
        await click('aside nav a:has-text("People")')
        await click('[data-number="1000"]')
        await click('[data-person] button:has-text("Edit")')
        await fill(`[data-person] [name=${field}]`, text)
        await enter()
        await page.waitForSelector(`[data-row]:has-text("${text}")`)
      }
      took.rename = await counted(page, (by) => details(by, 'name', 'Anna Abel'))
      took.renumber = await counted(page, (by) => details(by, 'number', '1900').then(() => page.waitForSelector('[data-number="1900"]')))
      took['new phone password'] = await counted(page, async ({ click, enter }) => {
        await click('aside nav a:has-text("Phones")')
        await click('[data-phone="1002"]')
        await click('button:has-text("New phone password")')
        await page.waitForSelector('[role=dialog] button:has-text("Create new phone password"):focus')
        await enter()
        await page.waitForSelector('text=The phone password is new')
      })
      took['add a second phone'] = await counted(page, async ({ click, fill, enter }) => {
        await click('aside nav a:has-text("Phones")')
        await click('[data-phone="1003"]')
        await click('button:has-text("Add a phone")')
        await fill('[data-person] [name=phone]', 'Mobile')
        await enter()
        await page.waitForSelector('[data-person] li:has-text("1003-2")')
      })
      took['forward calls'] = await counted(page, async ({ click, fill, enter }) => {
        await click('aside nav a:has-text("People")')
        await click('[data-number="1003"]')
        await fill('[data-person] [name=forward_always]', '1004')
        await enter()
        await page.waitForSelector('[data-person] button:has-text("Turn off")')
      })
      took['who talks now'] = await counted(page, async ({ click }) => {
        await click('aside nav a:has-text("Calls")')
        await page.waitForSelector('h1:has-text("Calls")')
        same(await page.locator('[data-call]').count(), 3, 'calls')
      })
      same(took, { 'add a person': '3+2', rename: '3+1', renumber: '3+1', 'new phone password': '3+0', 'add a second phone': '3+1', 'forward calls': '2+1', 'who talks now': '1+0' }, 'clicks and fields')
    }),
  )

  later('addresses of earlier versions lead to the places of today', () =>
    visit({}, '', async (page) => {
      for (const [from, to, shows] of [
        ['users', 'people', 'h1:has-text("People")'], [`users/${clara}`, `people/${clara}`, '[data-person] h2:has-text("Clara")'], ['users?q=anna', 'people?q=anna', '[data-row]'], ['apply', 'changes', 'h1:has-text("Changes")'],
        ['apply/revisions/8', 'changes/revisions/8', '[role=dialog]:has-text("Revision 8")'], ['activity?actor=anna', 'settings/activity?actor=anna', 'main summary'], ['settings/people', 'settings/administrators', 'h2:has-text("Administrators")'],
      ]) {
        await page.goto(new URL(`/app/${from}`, page.url()).href)
        await page.waitForSelector(shows)
        same(page.url().split('/app/')[1], to, `where ${from} leads`)
      }
    }),
  )

  later('the page of a person is beside the list or instead of it, each tab has an address, and j and k go to the next person', () =>
    visit({}, `people/${clara}`, async (page) => {
      await page.waitForSelector('[data-person] h2:has-text("Clara"):focus')
      must(await page.locator('[data-row]').count(), 'the list is not beside the person')
      same(await page.locator('[role=dialog]').count(), 0, 'windows over the list')
      for (const [name, tab, shows] of [['Phones', '/phones', '[data-secret]'], ['Numbers', '/numbers', 'h3:has-text("Own number")'], ['History', '/history', '[data-person] p, [data-person] details'], ['Calls', '', 'h3:has-text("Calls")']]) {
        await page.click(`[data-person] nav a:has-text("${name}")`)
        await page.waitForURL(`**/people/${clara}${tab}`)
        await page.waitForSelector(shows)
      }
      await page.click('[data-person] nav a:has-text("Numbers")')
      await page.keyboard.press('j')
      await page.waitForSelector('[data-person] h2:has-text("David"):focus')
      must(page.url().endsWith('000000000003/numbers'), `the tab is not kept: ${page.url()}`)
      await page.keyboard.press('k')
      await page.waitForSelector('[data-person] h2:has-text("Clara"):focus')
      await page.setViewportSize({ width: 1279, height: 800 })
      await page.waitForSelector('[data-row]', { state: 'detached' })
      await page.click('[data-person] a:has-text("People")')
      await page.waitForSelector('[data-number="1002"]:focus')
    }),
  )

  later('what was typed about a person is there again after another one was shown', () =>
    visit({}, `people/${clara}`, async (page) => {
      await page.click('[data-person] button:has-text("Edit") >> nth=0')
      await page.fill('[data-person] [name=name]', 'Clara Berger')
      await page.click('[data-number="1000"]')
      await page.waitForSelector('[data-person] h2:has-text("Anna")')
      same(await page.locator('[data-person] [name=name]').count(), 0, 'forms of the other person')
      await page.click('[data-number="1002"]')
      await page.waitForFunction(() => document.querySelector('[data-person] [name=name]')?.value === 'Clara Berger')
    }),
  )

  later('on a phone, five ways lead on, and the rest is under More', () =>
    visit({}, '', async (page) => {
      await page.setViewportSize({ width: 360, height: 740 })
      const bar = page.locator('nav.fixed')
      same((await bar.locator('li').allInnerTexts()).map((s) => s.trim()), ['Home', 'People', 'Calls', 'Changes', 'More'], 'the ways')
      await bar.getByRole('button', { name: 'More' }).click()
      same(await page.locator('[role=menuitem]').allInnerTexts(), ['Numbers', 'Phones', 'Settings'], 'the rest')
      await page.keyboard.press('ArrowDown')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[data-phone]')
    }),
  )

  later('Home says what needs attention, with the way to it, or that all is well', () =>
    visit({}, '', async (page, w) => {
      await page.waitForSelector('[data-attention] :text("6 changes are not applied yet.")')
      w.pools = [{ ...w.pools[0], name: 'Berlin', used: 940, taken_on_host: 1 }]
      for (const stream of w.streams) stream.write('event: changed\ndata: {"plan":false,"users":true}\n\n')
      await page.waitForSelector('[data-attention] :text("The number pool Berlin is almost full: 941 of 1,000 numbers are in use.")')
      w.plan = { ...w.plan, waiting_since: new Date(Date.now() - 25 * 3.6e6).toISOString() }
      for (const stream of w.streams) stream.write('event: changed\ndata: {"plan":true,"users":false}\n\n')
      await page.waitForSelector('[data-attention] :text("6 changes are not applied yet, the first since ")')
      w.pools = []
      await page.locator('[data-attention] a[href$="phones?show=off"]').click()
      await page.waitForSelector('[data-phone]')
      must((await page.locator('main li:has([data-phone])').allInnerTexts()).every((text) => text.includes('not registered')), 'phones that are registered')
      w.registrations = w.users.map((u) => ({ number: u.extension.number, device: 1, state: 'reachable', address: '192.0.2.1:5060', user_agent: '', since: new Date().toISOString() }))
      w.plan = { ...w.plan, pending: false, changes: [] }
      await page.goto(new URL('/app/', page.url()).href)
      await page.waitForSelector('[data-attention] :text("All is well.")')
      await page.waitForSelector('[data-attention] :text("120 people, 120 phones online.")')
      await page.waitForSelector('[data-tray]:has-text("All changes are live")')
    }),
  )

  later('scripts and styles of Home weigh at most 110 kB, in at most 14 files', () =>
    visit({}, 'nowhere', async (page) => {
      const context = await page.context().browser().newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB' })
      const fresh = await context.newPage()
      await fresh.addInitScript(() => {
        const later = setTimeout
        window.setTimeout = (act, ms, ...rest) => (ms === 1500 ? 0 : later(act, ms, ...rest)) // nothing is loaded in advance
      })
      const loaded = new Set()
      fresh.on('request', (r) => /\/app\/.*\.(js|css)$/.test(r.url()) && loaded.add(new URL(r.url()).pathname.slice(5)))
      await fresh.goto(new URL('/app/', page.url()).href)
      await fresh.waitForSelector('[data-attention] :text("changes are not applied yet")')
      await fresh.waitForSelector('[data-call]')
      let total = 0
      for (const name of loaded) total += (await readFile(path.join(dist, `${name}.br`))).length
      await context.close()
      must(total <= 110_000 && loaded.size <= 14, `${loaded.size} files, ${total} bytes compressed`)
      return `${loaded.size} files, ${(total / 1000).toFixed(1)} kB as brotli`
    }),
  )

  later('an idle tab asks for at most 5 kB a minute', () =>
    visit({ clock: true }, '', async (page, w) => {
      await page.waitForSelector('[data-attention]')
      while (!w.streams.size) await page.waitForTimeout(20)
      for (const stream of w.streams) stream.write('event: changed\ndata: {"plan":true,"users":true}\n\n')
      await page.clock.runFor(5000)
      await page.waitForTimeout(300)
      const sizes = []
      // 600: the headers of request and answer
      page.on('response', (r) => !r.url().includes('/app/') && sizes.push(r.body().then((body) => [new URL(r.url()).pathname, brotliCompressSync(body).length + 600], () => ['', 0])))
      for (let i = 0; i < 60; i++) {
        // The stream is heard before time goes on.
        const state = i % 2 ? 'ringing' : 'up'
        for (const stream of w.streams) stream.write(`event: call\ndata: ${JSON.stringify({ ...w.calls[2], state })}\n\n`)
        await page.waitForSelector(`[data-call]:has-text("${w.calls[2].from.number}"):has-text("${i % 2 ? 'ringing' : 'talking'}")`)
        await page.clock.runFor(4000)
      }
      await page.waitForTimeout(300)
      const all = await Promise.all(sizes)
      const minute = all.reduce((sum, [, n]) => sum + n, 0) / 4
      must(minute <= 5000, `${minute.toFixed(0)} bytes a minute: ${all.map(([name]) => name).join(' ')}`)
      return `${(minute / 1000).toFixed(1)} kB, ${all.length / 4} requests`
    }),
  )
}
