// Steps with a mock portal: the organisation, the number pools, and what people switch.
import { accessible, must, same } from './lib.mjs'
import { switched } from './mock-settings.mjs'

const clara = '2f9e5a1c-8d8e-4a53-9f5b-000000000002'
const berlin = 'a0000000-0000-0000-0000-000000000004'
const press = (page, name) => page.getByRole('button', { name, exact: true }).last().click()
const field = (page, name) => page.locator(`[name=${name}]`)
const changes = (w, path) => w.requests.filter((r) => r.method !== 'GET' && r.path.startsWith(path)).map((r) => [r.method, r.headers['if-match'], r.body])
const invalid = (page, name) => page.waitForSelector(`[name=${name}][aria-invalid=true]`)
// choose picks an entry of a list by typing.
async function choose(page, name, text) {
  await field(page, name).fill(text)
  await page.locator('[role=option]', { hasText: text }).first().click()
}

export const settingsPages = [
  ['the organisation', 'settings/organisation'],
  ['the number pools', 'settings/pools'],
]

export const settingsStates = [
  ['the settings for phones, with errors', 'settings/organisation', {}, async (page) => {
    await press(page, 'Edit the settings for phones')
    await field(page, 'server_port').fill('0')
    await field(page, 'srtp').selectOption('required')
    await press(page, 'Save')
    await invalid(page, 'srtp')
  }],
  ['a pool, its calls edited', `settings/pools/${berlin}`, {}, async (page) => {
    await press(page, 'Edit the calls')
    await field(page, 'pickup_groups').waitFor()
  }],
  ['the organisation in the set-up', 'setup?step=3', {}, async (page) => page.waitForSelector('[name=server_address]')],
]

export function settingsSteps(later, visit) {
  later('the organisation is edited in place, with what applies and where it comes from, and no change of others is lost', () =>
    visit({}, 'settings/organisation', async (page, w) => {
      const rows = async (id) => (await page.locator(`section[aria-labelledby=${id}] dd`).allInnerTexts()).join(' | ')
      await page.waitForSelector('section[aria-labelledby=calls] dd')
      same(await rows('general'), 'Default | Not set | Not set | Not set | As in Asterisk | None default', 'the general settings')
      same(await rows('phones'), 'Not set | 5060 reported by Asterisk | UDP reported by Asterisk | Not set | ulaw, alaw default | Off default', 'the settings for phones')
      must((await rows('calls')).startsWith('25 seconds default | No limit default'), `the call settings: ${await rows('calls')}`)
      await page.waitForSelector('text=Reserved emergency numbers: 110, 112')

      await press(page, 'Edit general settings')
      same(await page.getByRole('button', { name: 'Edit the call settings', exact: true }).count(), 0, 'a second section that can be edited meanwhile')
      await field(page, 'name').fill('')
      await field(page, 'language').fill('german')
      await press(page, 'Save')
      await page.waitForFunction(() => document.activeElement?.name === 'name')
      await invalid(page, 'language')
      await field(page, 'name').fill('Example')
      await field(page, 'language').fill('de')
      await choose(page, 'country', 'Germany')
      await choose(page, 'time_zone', 'Europe/Berlin')
      await field(page, 'cool_down_days').fill('30')
      w.organisation = { ...w.organisation, main_number: '+4930123', version: 2 }
      await press(page, 'Save')
      await page.waitForSelector('[role=alert]:has-text("Not saved"):has-text("+4930123")')
      await press(page, 'Save my changes')
      await page.waitForSelector('section[aria-labelledby=general] dd:has-text("Germany (DE)")')
      same(await rows('general'), 'Example | Germany (DE) | Europe/Berlin | +4930123 | de | 30 days', 'the general settings')
      const sent = { name: 'Example', country: 'DE', time_zone: 'Europe/Berlin', language: 'de', cool_down_days: 30 }
      same(changes(w, '/api/v1/organisation'), [['PATCH', '"1"', sent], ['PATCH', '"2"', sent]], 'what was sent')

      await press(page, 'Edit the settings for phones')
      await field(page, 'server_address').fill('pbx.example.com')
      await field(page, 'server_port').fill('5071')
      await field(page, 'codecs').fill('G722, alaw')
      await field(page, 'transport').selectOption('tls')
      await field(page, 'srtp').selectOption('offered')
      await press(page, 'Save')
      await page.waitForSelector('section[aria-labelledby=phones] dd:has-text("pbx.example.com")')
      same(changes(w, '/api/v1/organisation').at(-1), ['PATCH', '"3"', { phones: { server_address: 'pbx.example.com', server_port: 5071, transport: 'tls', codecs: ['g722', 'alaw'], srtp: 'offered' } }], 'what was sent for phones')
      await press(page, 'Edit the call settings')
      await field(page, 'ring_seconds').fill('40')
      await field(page, 'pickup_groups').fill('1 64')
      await press(page, 'Save')
      await invalid(page, 'pickup_groups')
      await field(page, 'pickup_groups').fill('1 2')
      await page.keyboard.press('Enter')
      await page.waitForSelector('section[aria-labelledby=calls] dd:has-text("40 seconds")')
      same(changes(w, '/api/v1/organisation').at(-1)[2], { calls: { ring_seconds: 40, pickup_groups: [1, 2] } }, 'what was sent of call settings')
      await page.goto(new URL(`/app/people/${clara}/phones`, page.url()).href)
      await page.waitForSelector('[data-server]:has-text("pbx.example.com:5071"):has-text("TLS")')
    }),
  )

  later('a number pool is created, changed and deleted, and says when it is almost full', () =>
    visit({}, 'settings/pools', async (page, w) => {
      await page.waitForSelector('li:has-text("Users"):has-text("1000–1999"):has-text("120 used, 880 free"):has-text("default")')
      await press(page, 'New pool')
      await field(page, 'name').fill('Hamburg')
      await field(page, 'from').fill('1500')
      await field(page, 'to').fill('1400')
      await page.keyboard.press('Enter')
      await page.waitForSelector('text=Not below the first number.')
      await field(page, 'to').fill('1600')
      await page.keyboard.press('Enter')
      await page.waitForSelector('text=Some of these numbers are in another pool.')
      await field(page, 'from').fill('3000')
      await field(page, 'to').fill('3009')
      await field(page, 'order').selectOption('random')
      await press(page, 'Create pool')
      await page.waitForSelector('li:has-text("Hamburg"):has-text("3000–3009"):has-text("0 used, 10 free"):has-text("Random")')
      same(changes(w, '/api/v1/pools').at(-1)[2], { name: 'Hamburg', kind: 'users', from: '3000', to: '3009', order: 'random', cool_down_days: null }, 'what was sent')

      w.pools.find((p) => p.id === berlin).used = 9
      await page.locator('[data-pool="2000"]').focus()
      await page.keyboard.press('Enter')
      await page.waitForSelector('[role=dialog]:has-text("At least 90 % of the numbers are in use.")')
      await press(page, 'Edit')
      await field(page, 'to').fill('2099')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[role=dialog] dd:has-text("2000–2099")')
      await press(page, 'Edit the calls')
      await field(page, 'ring_seconds').fill('')
      await field(page, 'when_busy').selectOption('hangup')
      await press(page, 'Save')
      await page.waitForSelector('[role=dialog] dd:has-text("End the call")')
      same(changes(w, '/api/v1/pools').slice(-2).map((c) => c.slice(1)), [['"2"', { to: '2099' }], ['"3"', { calls: { ring_seconds: null, when_busy: { kind: 'hangup', id: null } } }]], 'what was sent of a change')
      await press(page, 'Delete pool')
      await press(page, 'Delete pool')
      await page.waitForSelector('[data-pool="2000"]', { state: 'detached' })
      await page.locator('[data-pool="1000"]').click()
      await page.waitForSelector('[role=dialog]:has-text("A default pool cannot be deleted.")')
      same(await page.locator('[role=dialog] [name=kind]').count(), 0, 'another kind for a default pool')
    }),
  )

  later('do not disturb and forwards are shown as they change, and set at once', () =>
    visit({}, `people/${clara}`, async (page, w) => {
      const busy = field(page, 'forward_busy')
      const disturb = field(page, 'do_not_disturb')
      await page.waitForSelector('[data-person] form:has([name=forward_busy]):has-text("Ben Berger"), [data-person] form:has([name=forward_busy]) p')
      same(await busy.inputValue(), '1001', 'the forward if busy')
      while (!w.streams.size) await page.waitForTimeout(20)
      const began = Date.now()
      switched(w, '1002', { do_not_disturb: true, forward_busy: null, forward_always: '0171555' })
      await page.waitForFunction(() => document.querySelector('[name=do_not_disturb]').checked && document.querySelector('[name=forward_always]').value === '0171555' && !document.querySelector('[name=forward_busy]').value)
      const took = Date.now() - began
      must(took < 1000, `a feature code is shown after ${took} ms`)
      const sent = () => changes(w, `/api/v1/users/${clara}/switches`).map((c) => c[2])
      await disturb.focus()
      await page.keyboard.press('Space')
      await page.waitForFunction(() => !document.querySelector('[name=do_not_disturb]').checked)
      await field(page, 'forward_unanswered').fill('1002')
      await page.keyboard.press('Enter')
      await page.waitForSelector('text=This is the person’s own number. Choose another one.')
      await field(page, 'forward_unanswered').fill(' 1003 ')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[data-person] button[aria-label="Turn off: Forward if no one answers"]')
      await page.locator('button[aria-label="Turn off: Forward all calls"]').click()
      await page.waitForFunction(() => !document.querySelector('[name=forward_always]').value)
      same(sent(), [{ do_not_disturb: false }, { forward_unanswered: '1003' }, { forward_always: null }], 'what was sent')
      same(w.plan.hash, '0f4a6c2d9b8e7351a2c4e6f80b1d3957', 'the plan')

      w.switchless = { status: 503, code: 'asterisk_unavailable', detail: 'Asterisk does not answer' }
      await field(page, 'forward_busy').fill('1004')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[data-person] [role=alert]:has-text("Forwards and do not disturb are unknown.")')
      w.switchless = undefined
      await press(page, 'Try again')
      same(await busy.inputValue(), '1004', 'what was typed')
      w.switchless = { status: 409, code: 'not_deployed', detail: '' }
      await page.keyboard.press('k')
      await page.waitForSelector('[data-person]:has-text("Set FEATURE_CODES=on, restart the portal, then apply.")')
      await accessible(page, 'no switches')
    }),
  )

  later('the set-up proposes the organisation, keeps what was typed across a reload, and can go on without it', () =>
    visit({}, 'setup?step=3', async (page, w) => {
      await field(page, 'name').fill('Example')
      same([await field(page, 'country').inputValue(), await field(page, 'server_address').inputValue()], ['GB United Kingdom', ''], 'what is proposed')
      await field(page, 'server_address').fill('pbx.example.com')
      await page.reload()
      await page.waitForFunction(() => document.querySelector('[name=name]')?.value === 'Example')
      same(await field(page, 'server_address').inputValue(), 'pbx.example.com', 'the address after a reload')
      await press(page, 'Save and continue')
      await page.waitForSelector('h2:has-text("First person")')
      const [[method, match, body]] = changes(w, '/api/v1/organisation')
      same([method, match, body.name, body.country, body.phones], ['PATCH', '"1"', 'Example', 'GB', { server_address: 'pbx.example.com' }], 'what was sent')
      await page.reload()
      await page.waitForSelector('h2:has-text("First person")')
      await page.goto(new URL('/app/setup?step=3', page.url()).href)
      await press(page, 'Later')
      await page.waitForSelector('h2:has-text("First person")')
      same(changes(w, '/api/v1/organisation').length, 1, 'changes')
    }),
  )

  later('an outage bar pushes no list below the screen', () =>
    visit({}, 'people', async (page, w) => {
      await page.waitForSelector('[data-row]')
      w.health = { asterisk: 'no answer from its control socket' }
      await page.reload()
      await page.waitForSelector('[data-trouble=asterisk]')
      for (const [width, height] of [[1280, 800], [360, 740]]) {
        await page.setViewportSize({ width, height })
        await page.waitForFunction(() => document.documentElement.scrollHeight <= innerHeight)
      }
    }),
  )
}
