// Steps with a mock portal: users are edited in place.
import { accessible, fits, must, same } from './lib.mjs'

const clara = '2f9e5a1c-8d8e-4a53-9f5b-000000000002'
const disabled = '2f9e5a1c-8d8e-4a53-9f5b-000000000012'
const lobby = '2f9e5a1c-8d8e-4a53-9f5b-000000000013'
const box = (page, name) => page.locator(`:is([role=dialog],[data-person]) [name=${name}]`)
const press = (page, name) => page.locator(':is([role=dialog],[data-person])').last().getByRole('button', { name, exact: true }).click()
const changes = (w) => w.requests.filter((r) => r.method !== 'GET' && r.path.startsWith('/api/v1/users'))
const focused = (page) => page.evaluate(() => document.activeElement?.name || document.activeElement?.innerText?.trim() || document.activeElement?.tagName)
// getsFocus waits until a control has the focus, which it gets once the page has read what is edited.
async function getsFocus(page, name) {
  for (const end = Date.now() + 5000; (await focused(page)) !== name && Date.now() < end; ) await page.waitForTimeout(20)
  same(await focused(page), name, 'what has the focus')
}
const elsewhere = (w, change) => {
  Object.assign(w.users[2], change, { version: w.users[2].version + 1 })
  for (const stream of w.streams) stream.write('event: changed\ndata: {"plan":true,"users":true}\n\n')
}

// userStates are states of the pages that are checked at each width.
export const userStates = [
  ['a user without an e-mail address', `people/${lobby}`, {}, async (page) => page.waitForSelector(':is([role=dialog],[data-person]) dd:has-text("—")')],
  ['a disabled user', `people/${disabled}`, {}, async (page) => page.waitForSelector(':is([role=dialog],[data-person]) button:has-text("Enable")')],
  ['a user who is edited, with errors', `people/${clara}`, {}, async (page) => {
    await press(page, 'Edit')
    await box(page, 'name').fill('')
    await box(page, 'email').fill('nowhere')
    await box(page, 'number').fill('1205')
    await page.waitForSelector(':is([role=dialog],[data-person]) [role=status]:has-text("must be set up again, with the number 1205")')
    await press(page, 'Save')
    await page.waitForSelector('text=This is not an e-mail address.')
  }],
  ['a user who was changed elsewhere', `people/${clara}`, {}, async (page, w) => {
    await press(page, 'Edit')
    await box(page, 'name').fill('Clara Berger')
    Object.assign(w.users[2], { name: 'C. O’Brien', email: '', version: 2 })
    await press(page, 'Save')
    await page.waitForSelector('[role=alert]:has-text("Not saved")')
  }],
  ['the calls of a user, edited', `people/${clara}`, {}, async (page) => {
    await press(page, 'Edit the calls')
    await box(page, 'ring_seconds').fill('4')
    await box(page, 'when_busy').selectOption('user')
    await press(page, 'Save')
    await page.waitForSelector(':is([role=dialog],[data-person]) [name=ring_seconds][aria-invalid=true]')
  }],
  ['a question before a user is disabled', `people/${clara}`, {}, async (page) => {
    await press(page, 'Disable')
    await page.waitForSelector(':is([role=dialog],[data-person]):has-text("not even to emergency numbers")')
  }],
  ['a user with a further phone, whose secret is new', `people/${clara}/phones`, {}, async (page) => {
    await press(page, 'Add a phone')
    await box(page, 'phone').fill('Mobile phone of the company with a very long name')
    await page.keyboard.press('Enter')
    await page.waitForSelector(':is([role=dialog],[data-person]) [role=status]:has-text("Set up the phone with this phone password")')
  }],
  ['a question before a phone is removed', `people/${clara}/phones`, {}, async (page, w) => {
    await press(page, 'Add a phone')
    await box(page, 'phone').fill('Mobile')
    await page.keyboard.press('Enter')
    await press(page, 'Remove Mobile')
    await page.waitForSelector(':is([role=dialog],[data-person]):has-text("registers as 1002-2"):has-text("not even to emergency numbers")')
  }],
  ['a number that is handed over', `people/${clara}`, {}, async (page) => {
    await page.locator('[data-person]').getByRole('button', { name: 'More actions for Clara O’Brien' }).click()
    await page.getByRole('menuitem', { name: 'Hand over the number' }).click()
    await page.locator('[name=to]').fill('1003')
    await page.keyboard.press('Enter')
    await page.waitForSelector('[role=dialog]:has-text("What this changes"):has-text("has 1002 instead of 1003")')
  }],
  ['a new secret', `people/${clara}/phones`, {}, async (page) => {
    await press(page, 'New phone password')
    await press(page, 'Create new phone password')
    await page.waitForSelector('[role=status]:has-text("The phone password is new")')
  }],
]

export function userSteps(later, visit) {
  later('a user gets a further phone with its settings, which is renamed, gets a new secret, and is removed by keys alone', () =>
    visit({}, `people/${clara}/phones`, async (page, w) => {
      const rows = () => page.locator(':is([role=dialog],[data-person]) ul[aria-labelledby=phones] > li')
      const row = (text) => rows().filter({ hasText: text })
      await row('First phone').waitFor()
      same(await rows().count(), 1, 'phones of a user')
      await press(page, 'Add a phone')
      await getsFocus(page, 'phone')
      await page.keyboard.press('Enter')
      await page.waitForSelector(':is([role=dialog],[data-person]) form :text("Required.")')
      await page.keyboard.type(' Mobile ')
      await page.keyboard.press('Enter')
      await row('1002-2').filter({ hasText: 'p3K9vQ2mX7pLw0ZrT5yNcA' }).waitFor()
      must((await row('1002-2').innerText()).includes('Waiting for apply') || (await row('1002-2').locator('[role=img]').getAttribute('aria-label')).length > 0, 'the dot of the new phone says nothing')
      same(changes(w).map((r) => [r.method, r.headers['if-match'], r.body, !!r.headers['idempotency-key']]), [['POST', '"1"', { name: 'Mobile' }, true]], 'what was sent')
      await accessible(page)

      await press(page, 'Rename Mobile')
      await page.keyboard.press('Control+A')
      await page.keyboard.type('Car')
      await page.keyboard.press('Enter')
      await row('Car').waitFor()
      same([changes(w).at(-1).method, changes(w).at(-1).headers['if-match'], changes(w).at(-1).body], ['PATCH', '"2"', { name: 'Car' }], 'what was sent of another name')
      await row('Car').getByRole('button', { name: 'New phone password', exact: true }).click()
      await press(page, 'Create new phone password')
      await row('Car').filter({ hasText: 'D4wSecretT5yNcAh3K9vQ2' }).waitFor()
      for (const stream of w.streams) stream.write(`event: registration\ndata: ${JSON.stringify({ number: 1002, device: 2, state: 'reachable', address: '192.0.2.9:5060', user_agent: 'Car kit', since: new Date().toISOString() })}\n\n`)
      await row('Car').locator('[role=img][aria-label="Car kit"]').waitFor()

      await page.locator(':is([role=dialog],[data-person])').getByRole('button', { name: 'Remove Car', exact: true }).focus()
      await page.keyboard.press('Enter')
      await press(page, 'Remove phone')
      await row('Car').waitFor({ state: 'detached' })
      same(changes(w).at(-1).method, 'DELETE', 'what was sent at last')
      await page.locator(':is([role=dialog],[data-person]) a:has-text("Review changes")').click()
      await page.waitForSelector('main li:has-text("1002"):has-text("phones"):has-text("1002-2 is deregistered")')
    }),
  )

  later('a user’s name, e-mail address and number are edited in place, and the consequences of another number are shown first', () =>
    visit({}, `people/${clara}`, async (page, w) => {
      await press(page, 'Edit')
      await getsFocus(page, 'name')
      await box(page, 'name').fill('Clara Berger')
      await box(page, 'email').fill(' ')
      await box(page, 'number').fill('1205')
      const says = await page.locator(':is([role=dialog],[data-person]) [role=status]:has-text("1205")').innerText()
      for (const part of ['must be set up again', 'The plan names this change', 'The number 1002 becomes free']) must(says.includes(part), `before it is saved, it does not say “${part}”`)
      await press(page, 'Save')
      await page.waitForSelector('[data-number="1205"]:has-text("Clara Berger")')
      await page.waitForSelector('[data-person] dd:has-text("—")')
      same(changes(w).map((r) => [r.method, r.headers['if-match'], r.body]), [['PATCH', '"1"', { name: 'Clara Berger', email: null, number: '1205' }]], 'what was sent')
      await page.waitForFunction(() => document.activeElement?.innerText?.trim() === 'Edit')
      same(await page.locator('[data-person] header p .tnum').innerText(), '1205', 'the number below the name')
      await page.waitForSelector(':is([role=dialog],[data-person]) :text("Changes to this person are not applied yet.")')
      await press(page, 'Edit')
      await box(page, 'email').fill('clara@example.com')
      await press(page, 'Save')
      await page.waitForSelector(':is([role=dialog],[data-person]) dd:has-text("clara@example.com")')
      same(changes(w).at(-1).body, { email: 'clara@example.com' }, 'what was sent of one changed field')
      await press(page, 'Edit')
      await press(page, 'Save')
      await page.locator(':is([role=dialog],[data-person])').getByRole('button', { name: 'Edit', exact: true }).waitFor()
      same(changes(w).length, 2, 'requests to change, after nothing was changed')
      await page.locator(':is([role=dialog],[data-person]) a:has-text("Review changes")').click()
      await page.waitForSelector('main li:has-text("1205"):has-text("Clara Berger"):has-text("formerly 1002"):has-text("phone must be set up again")')
    }),
  )

  later('where calls to a user go on to is edited in place, in the words of the default where nothing is set', () =>
    visit({}, `people/${clara}`, async (page, w) => {
      const rows = async () => (await page.locator(':is([role=dialog],[data-person]) section[aria-labelledby=calls] dd').allInnerTexts()).join(' | ')
      await page.waitForSelector(':is([role=dialog],[data-person]) section[aria-labelledby=calls] dd')
      same(await rows(), '25 seconds default | No limit default | End the call default | End the call default | End the call default | None default | As in Asterisk default | Never default | None default', 'what is said')
      await press(page, 'Edit the calls')
      await page.waitForFunction(() => document.activeElement?.name === 'ring_seconds')
      must(!(await page.locator(':is([role=dialog],[data-person])').getByRole('button', { name: 'Delete person', exact: true }).count()), 'the user can be deleted while the calls are edited')
      await box(page, 'ring_seconds').fill('40')
      await box(page, 'call_limit').fill('11')
      await box(page, 'when_unanswered').selectOption('user')
      await press(page, 'Save')
      await page.waitForSelector(':is([role=dialog],[data-person]) [name=call_limit][aria-invalid=true]')
      await page.waitForFunction(() => document.activeElement?.name === 'call_limit')
      same(changes(w).length, 0, 'requests to change with an error')
      await box(page, 'call_limit').fill('2')
      const choose = async (name) => {
        await box(page, 'target').fill(name)
        await page.locator('[role=option]', { hasText: name }).first().click()
      }
      await choose(w.users[1].name)
      await press(page, 'Save')
      await page.waitForSelector(':is([role=dialog],[data-person]) :text("Calls would go in a circle: 1002 Clara O’Brien → 1001 Ben Bach → 1002 Clara O’Brien. Choose another destination.")')
      await choose(w.users[0].name)
      await box(page, 'caller_number').fill('+4930123')
      await press(page, 'Save')
      await page.waitForSelector(':is([role=dialog],[data-person]) dd:has-text("+4930123")')
      const to = { kind: 'user', id: w.users[0].id }
      same(changes(w).at(-1).body, { calls: { ring_seconds: 40, call_limit: 2, when_unanswered: to, caller_number: '+4930123' } }, 'what was sent')
      same(await rows(), `40 seconds | 2 calls at a time | End the call default | Call 1000 ${w.users[0].name} | Call 1000 ${w.users[0].name} default | +4930123 | None default | As in Asterisk default | Never default | None default`, 'what is said')
      await page.waitForFunction(() => document.activeElement?.innerText?.trim() === 'Edit')
      await press(page, 'Edit the calls')
      await box(page, 'when_unanswered').selectOption('')
      await box(page, 'ring_seconds').fill('')
      await box(page, 'caller_number').fill('')
      await press(page, 'Save')
      await page.waitForSelector(':is([role=dialog],[data-person]) dd:has-text("25 seconds")')
      same(changes(w).at(-1).body, { calls: { ring_seconds: null, when_unanswered: null, caller_number: null } }, 'what was sent of settings that are inherited again')
    }),
  )

  later('errors of an edited user are at their fields, with what to do, and nothing typed is lost', () =>
    visit({}, `people/${clara}`, async (page, w) => {
      await press(page, 'Edit')
      for (const [name, value, says] of [
        ['number', '1000', 'Anna Amsel has 1000. Choose another number.'],
        ['number', '112', 'This is an emergency number in some countries. Choose another one.'],
        ['number', '0999', 'Enter a number from 10 to 999999, without a leading zero.'],
        ['number', '', 'Enter a number from 10 to 999999, without a leading zero.'],
        ['email', 'anna.amsel@example.com', 'Another person has this e-mail address. Use a different one.'],
        ['email', 'nowhere', 'This is not an e-mail address. Enter one like anna@example.com.'],
        ['name', ' ', 'Required.'],
      ]) {
        const before = await box(page, name).inputValue()
        await box(page, name).fill(value)
        await press(page, 'Save')
        await page.waitForSelector(`:is([role=dialog],[data-person]) [name=${name}][aria-invalid=true]`)
        same(await page.locator(`:is([role=dialog],[data-person]) div:has(> div > [name=${name}]) > [aria-live]`).innerText(), says, `what is said at ${name} with “${value}”`)
        await page.waitForFunction((name) => document.activeElement?.name === name, name)
        same(await box(page, name).inputValue(), value, `what is left in ${name}`)
        await box(page, name).fill(before)
      }
      must(w.users[2].version === 1, 'something was changed')
    }),
  )

  later('a change by another administrator is shown when one saves, and neither change is lost', () =>
    visit({}, `people/${clara}`, async (page, w) => {
      await press(page, 'Edit')
      await box(page, 'name').fill('Clara Berger')
      Object.assign(w.users[2], { name: 'C. O’Brien', email: 'c@example.com', enabled: false, version: 2 })
      await press(page, 'Save')
      const note = page.locator(':is([role=dialog],[data-person]) [role=alert]:has-text("Not saved: it was changed elsewhere since you began")')
      await note.waitFor()
      same((await note.locator('li').allInnerTexts()).map((s) => s.replace(/\s+/g, ' ')), ['Name: Clara O’Brien → C. O’Brien', 'E-mail: clara.obrien@example.com → c@example.com', 'Status: enabled → disabled'], 'what was changed elsewhere')
      same([await box(page, 'name').inputValue(), await box(page, 'email').inputValue()], ['Clara Berger', 'c@example.com'], 'the form')
      await press(page, 'Save my changes')
      await page.waitForSelector('#person:has-text("Clara Berger")')
      same(changes(w).map((r) => [r.headers['if-match'], r.body]), [['"1"', { name: 'Clara Berger' }], ['"2"', { name: 'Clara Berger' }]], 'what was sent')
      same([w.users[2].name, w.users[2].email, w.users[2].enabled], ['Clara Berger', 'c@example.com', false], 'the user')
      await page.waitForSelector('[data-number="1002"]:has-text("disabled")')
    }),
  )

  later('a change by another administrator is shown while one types', () =>
    visit({}, `people/${clara}`, async (page, w) => {
      await page.waitForSelector('[data-number="1002"]')
      while (!w.streams.size) await page.waitForTimeout(20)
      elsewhere(w, { name: 'Clara B.' })
      await page.waitForSelector('#person:has-text("Clara B.")') // nothing is edited: the panel follows
      await press(page, 'Edit')
      await box(page, 'number').fill('1300')
      elsewhere(w, { name: 'Clara Berger' })
      await page.waitForSelector(':is([role=dialog],[data-person]) [role=alert]:has-text("Changed elsewhere since you began"):has-text("Clara Berger")')
      same([await box(page, 'name').inputValue(), await box(page, 'number').inputValue()], ['Clara Berger', '1300'], 'the form')
      await press(page, 'Save my changes')
      await page.waitForSelector('[data-number="1300"]:has-text("Clara Berger")')
      same(changes(w).map((r) => [r.headers['if-match'], r.body]), [['"3"', { number: '1300' }]], 'what was sent')
    }),
  )

  later('a user is disabled after what callers get is shown, and enabled again', () =>
    visit({}, `people/${clara}`, async (page, w) => {
      await press(page, 'Disable')
      for (const part of ['Callers hear that 1002 is unavailable', 'not even to emergency numbers']) await page.waitForSelector(`:is([role=dialog],[data-person]) li:has-text("${part}")`)
      elsewhere(w, { name: 'Clara Berger' })
      await page.waitForSelector(':is([role=dialog],[data-person]) [role=alert]:has-text("Clara Berger"):has-text("confirm again")')
      await press(page, 'Disable 1002')
      await page.waitForSelector('[data-number="1002"]:has-text("disabled")')
      same(changes(w).map((r) => r.body), [{ enabled: false }], 'what was sent')
      await page.waitForSelector(':is([role=dialog],[data-person]) dd:has-text("disabled")')
      await page.click('[data-person] nav a:has-text("Phones")')
      await page.waitForSelector('[data-person] :text("This person is disabled: the phone cannot register or make calls.")')
      await page.keyboard.press('Escape')
      await page.locator('button[aria-pressed]:has-text("Disabled")').click()
      same(await page.locator('[data-row]').evaluateAll((rows) => rows.map((r) => r.dataset.number)), ['1002', '1012'], 'the disabled users')
      await page.keyboard.press('Control+k')
      await page.keyboard.type('1002')
      await page.waitForSelector('[role=option]:has-text("Clara Berger"):has-text("disabled")')
      await page.keyboard.press('Escape')
      await page.goto(new URL('/app/', page.url()).href)
      await page.waitForSelector('dl :text("2 disabled")')
      await page.goto(new URL('/app/changes', page.url()).href)
      await page.waitForSelector('main li:has-text("1002"):has-text("disabled"):has-text("phone can no longer register")')
      await page.goto(new URL(`/app/people/${clara}`, page.url()).href)
      await press(page, 'Enable')
      await page.locator(':is([role=dialog],[data-person])').getByRole('button', { name: 'Disable', exact: true }).waitFor()
      await getsFocus(page, 'Disable')
      same(changes(w).map((r) => r.body).at(-1), { enabled: true }, 'what was sent')
    }),
  )

  later('a new secret is shown with the card for the phone, and not longer than it is valid', () =>
    visit({}, `people/${clara}/phones`, async (page, w) => {
      await press(page, 'Reveal phone password')
      await page.waitForSelector(`[data-secret]:has-text("${w.users[2].extension.secret}")`)
      await press(page, 'New phone password')
      await page.waitForSelector(':is([role=dialog],[data-person]) li:has-text("From then on it needs the new one.")')
      await press(page, 'Create new phone password')
      await page.waitForSelector('[data-secret]:has-text("N2wSecret")')
      await page.waitForSelector(':is([role=dialog],[data-person]) [role=status]:has-text("Set up the phone with it")')
      const [sent] = changes(w)
      must(sent.method === 'POST' && sent.headers['if-match'] === '"1"' && sent.headers['idempotency-key'], `sent: ${sent.method} ${JSON.stringify(sent.headers)}`)
      await press(page, 'QR code')
      await page.waitForSelector(':is([role=dialog],[data-person]) svg[role=img]')
      while (!w.streams.size) await page.waitForTimeout(20)
      elsewhere(w, { extension: { ...w.users[2].extension, secret: 'AnotherNewSecret123456' } })
      await page.waitForSelector('[data-secret]:has-text("N2wSecret")', { state: 'detached' })
      await press(page, 'Reveal phone password')
      await page.waitForSelector('[data-secret]:has-text("AnotherNewSecret123456")')
      await press(page, 'New phone password')
      await press(page, 'Create new phone password')
      await page.waitForSelector('[data-secret]:has-text("N4wSecret")')
      w.signedIn = false
      await page.evaluate(() => dispatchEvent(new Event('offline')))
      await page.waitForSelector(':is([role=dialog],[data-person]):has-text("Sign in again")')
      must(!(await page.locator('body').innerHTML()).includes('N4wSecret'), 'the secret is on the page behind the sign-in dialog')
    }),
  )

  later('who may only look at users cannot change them', () =>
    visit({ role: 'auditor' }, `people/${disabled}/phones`, async (page) => {
      await page.waitForSelector(':is([role=dialog],[data-person]) dd:has-text("disabled")')
      await page.waitForSelector(':is([role=dialog],[data-person]) :text("Your role cannot see phone passwords.")')
      const buttons = await page.locator(':is([role=dialog],[data-person]) button').evaluateAll((all) => all.map((b) => (b.ariaLabel || b.innerText).trim()))
      for (const name of ['Edit', 'Enable', 'Disable', 'New phone password', 'Delete person', 'Reveal phone password']) must(!buttons.includes(name), `there is a button “${name}”`)
      await page.click('[data-person] a:has-text("Calls")')
      await press(page, 'Try the call')
    }),
  )

  later('a user is edited with keys alone, and Esc leaves the form before the panel', () =>
    visit({}, 'users', async (page, w) => {
      const tabTo = async (name) => {
        for (let i = 0; i < 40 && (await focused(page)) !== name; i++) await page.keyboard.press('Tab')
        same(await focused(page), name, 'what has the focus')
      }
      await page.waitForSelector('[data-row]')
      await page.keyboard.press('/')
      await page.waitForSelector('input[type=search]:focus')
      await page.keyboard.type('clara')
      await page.waitForSelector('[role=grid][aria-rowcount="4"]')
      await page.keyboard.press('Enter')
      await page.waitForSelector('#person:has-text("Clara O’Brien")')
      await tabTo('Edit')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[name=name]:focus')
      await page.keyboard.type('typed')
      await page.keyboard.press('Escape')
      await page.waitForSelector(':is([role=dialog],[data-person]) [name=name]', { state: 'detached' })
      same(await page.locator('#person').innerText(), 'Clara O’Brien', 'the panel')
      await page.waitForFunction(() => document.activeElement?.innerText?.trim() === 'Edit')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[name=name]:focus')
      await page.keyboard.press('Control+a')
      await page.keyboard.type('Clara Berger')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[data-number="1002"]:has-text("Clara Berger")')
      await tabTo('Disable')
      await page.keyboard.press('Enter')
      await page.waitForSelector(':is([role=dialog],[data-person]):has-text("Disable Clara Berger?")')
      await tabTo('Disable 1002')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[data-number="1002"]:has-text("disabled")')
      await tabTo('Phones')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[data-secret]')
      await tabTo('New phone password')
      await page.keyboard.press('Enter')
      await page.waitForSelector(':is([role=dialog],[data-person]):has-text("Create a new phone password for Clara Berger?")')
      await getsFocus(page, 'Create new phone password')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[data-secret]:has-text("N4wSecret")')
      must((await page.evaluate(() => document.activeElement?.closest(':is([role=dialog],[data-person])') !== null)), 'the focus left the panel')
      await page.keyboard.press('Escape')
      await page.waitForSelector(':is([role=dialog],[data-person])', { state: 'detached' })
      same(w.users[2].name, 'Clara Berger', 'the name')
    }),
  )

  later('an e-mail address is optional, and a missing one is a dash', () =>
    visit({}, 'people?new', async (page, w) => {
      await box(page, 'name').fill('Front door')
      await press(page, 'Create person')
      await page.waitForSelector('text=Front door was created')
      same(changes(w)[0].body, { name: 'Front door', email: null }, 'what was sent')
      must(changes(w)[0].headers['idempotency-key'], 'no idempotency key was sent')
      await page.keyboard.press('Escape')
      await page.fill('input[type=search]', 'front door')
      await page.waitForSelector('[data-row]:has-text("Front door"):has-text("—")')
      await page.keyboard.press('Enter')
      await page.waitForSelector(':is([role=dialog],[data-person]) dd:has-text("—")')
      await page.setViewportSize({ width: 360, height: 740 })
      await fits(page, 'a user without an address')
      await accessible(page, 'a user without an address')
    }),
  )

  later('a user is created once although the response was lost', () =>
    visit({}, 'people?new', async (page, w) => {
      w.lose = true
      await box(page, 'name').fill('Only One')
      await press(page, 'Create person')
      await page.waitForSelector(':is([role=dialog],[data-person]) [role=alert]')
      w.lose = false
      await press(page, 'Create person')
      await page.waitForSelector('text=Only One was created')
      same(w.users.filter((u) => u.name === 'Only One').length, 1, 'users that were created')
    }),
  )

  later('a user who was changed since the question, or is needed elsewhere, is not deleted, and the reason is shown', () =>
    visit({}, `people/${clara}`, async (page, w) => {
      const remove = async () => {
        await press(page, 'Delete person')
        await press(page, 'Delete 1002')
        await page.waitForSelector('button:has-text("Undo")')
      }
      await remove()
      Object.assign(w.users[2], { name: 'Clara Berger', version: 2 })
      await page.evaluate(() => fetch('/health')) // any request; the deletion is sent after its time, or before the next change
      await page.keyboard.press('n')
      await box(page, 'name').fill('Next One')
      await press(page, 'Create person')
      await page.waitForSelector('text=Clara O’Brien was not deleted. It was changed since you opened it.')
      must(w.users.some((u) => u.id === clara), 'the changed user is gone')
      w.uses = [{ kind: 'ring_group', id: 'g1', name: 'Sales', field: 'fallback' }]
      await page.goto(new URL(`/app/people/${clara}`, page.url()).href)
      await remove()
      await page.keyboard.press('n')
      await box(page, 'name').fill('And another')
      await press(page, 'Create person')
      await page.waitForSelector('text=Clara Berger was not deleted. Needed by Ring group Sales.')
    }),
  )

  later('a user leaves after the consequences were shown, with a successor', () =>
    visit({}, `people/${clara}`, async (page, w) => {
      await page.getByRole('button', { name: 'More actions for Clara O’Brien' }).click()
      await page.getByRole('menuitem', { name: 'Offboard' }).click()
      await page.waitForSelector('[role=dialog]:has-text("is deleted, with these phones: 1002")')
      await page.locator('[name=successor]').fill('1003')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[role=dialog]:has-text("Sales: the successor takes the place")')
      await page.getByRole('button', { name: 'Delete person', exact: true }).last().click()
      await page.waitForSelector('text=Clara O’Brien was deleted. Not applied yet.')
      same(changes(w).map((r) => JSON.stringify(r.body)).join(), `{"dry_run":true},${[true, false].map((dry) => `{"successor":"2f9e5a1c-8d8e-4a53-9f5b-000000000003","dry_run":${dry}}`).join()}`, 'the requests')
      same(new URL(page.url()).pathname, '/app/people', 'the page afterwards')
    }),
  )

  later('a number is handed over, and the user gets the number that was announced', () =>
    visit({}, `people/${clara}`, async (page, w) => {
      await page.getByRole('button', { name: 'More actions for Clara O’Brien' }).click()
      await page.getByRole('menuitem', { name: 'Hand over the number' }).click()
      await page.locator('[name=to]').fill('1003')
      await page.keyboard.press('Enter')
      const says = await page.waitForSelector('[role=dialog] :text("has 1002 instead of 1003")').then(() => page.locator('[role=dialog]').innerText())
      const announced = /has (\d+) instead of 1002/.exec(says)?.[1]
      await page.getByRole('button', { name: 'Hand over 1002', exact: true }).click()
      await page.waitForSelector('text=1002 was handed over. Not applied yet.')
      same(changes(w).at(-1).body.number, announced, 'the number that was sent')
    }),
  )

  later('the printed card of a disabled user says so', () =>
    visit({}, `people/${disabled}/phones`, async (page) => {
      await page.evaluate(() => (window.print = () => {}))
      await press(page, 'Print')
      await page.waitForSelector('.print-sheet article:has-text("This person is disabled")', { state: 'attached' })
    }),
  )

  later('in German, users are edited in German', () =>
    visit({ locale: 'de-DE' }, `people/${clara}`, async (page, w) => {
      await press(page, 'Bearbeiten')
      await box(page, 'number').fill('1000')
      await press(page, 'Speichern')
      await page.waitForSelector('text=Anna Amsel hat die 1000. Wählen Sie eine andere Nummer.')
      await box(page, 'number').fill('1205')
      await page.waitForSelector('[role=status]:has-text("Das Telefon muss neu eingerichtet werden, mit der Nummer 1205")')
      Object.assign(w.users[2], { email: '', version: 2 })
      await press(page, 'Speichern')
      await page.waitForSelector('[role=alert]:has-text("Nicht gespeichert")')
      same(await page.locator(':is([role=dialog],[data-person]) [lang=en]').allTextContents(), [], 'English in the panel')
      await page.setViewportSize({ width: 360, height: 740 })
      await page.waitForTimeout(100)
      same(await page.locator(':is([role=dialog],[data-person]) form button').evaluateAll((all) => all.filter((b) => b.getBoundingClientRect().right > innerWidth - 16).map((b) => b.innerText)), [], 'buttons that extend beyond the form on a phone')
      await page.setViewportSize({ width: 1280, height: 800 })
      await press(page, 'Meine Änderungen speichern')
      await page.waitForSelector('[data-number="1205"]')
    }),
  )
}
