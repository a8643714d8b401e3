// The page of numbers with a mock portal: ring groups, and simulated calls.
import { must, same } from './lib.mjs'

const sales = 'numbers/ring-groups/7c1d0b5e-52c5-4f0c-9d55-000000000001'
const support = 'numbers/ring-groups/7c1d0b5e-52c5-4f0c-9d55-000000000002'
const press = (page, name) => page.getByRole('button', { name, exact: true }).last().click()
const group = (w, name) => w.groups.find((g) => g.name === name)
const sent = (w, method) => w.requests.filter((r) => r.method === method && r.path.startsWith('/api/v1/ring-groups'))

// meanwhile changes Support as another administrator does.
const meanwhile = (w) => Object.assign(group(w, 'Support'), { seconds: 45, version: group(w, 'Support').version + 1 })

export const numberPages = [['numbers', 'numbers']]

export const numberStates = [
  ['a new ring group with faults', 'numbers?new=ring-groups', {}, async (page) => {
    await page.selectOption('[name=strategy]', 'hunt')
    await page.fill('[name=seconds]', '4')
    await press(page, 'Create ring group')
    await page.waitForSelector('text=Add at least one member.')
  }],
  ['a ring group that was changed elsewhere, with a call that was tried', support, {}, async (page, w) => {
    await press(page, 'Try the call')
    await page.waitForSelector('text=Step by step')
    await press(page, 'Edit')
    await page.fill('[name=name]', 'Help desk')
    meanwhile(w)
    await press(page, 'Save')
    await page.waitForSelector('[role=dialog] [role=alert]')
  }],
]

export function numberSteps(later, visit) {
  later('a ring group is created with keys alone, with its members in order and the lowest free number', () =>
    visit({}, '', async (page, w) => {
      await page.waitForSelector('aside nav')
      for (const key of ['g', 'n']) await page.keyboard.press(key)
      await page.waitForSelector('[role=table] [data-number="600"]')
      await page.keyboard.press('n')
      await page.waitForFunction(() => document.activeElement?.name === 'name' && document.querySelector('[name=number]')?.value === '603')
      await page.keyboard.type('Night shift')
      await page.keyboard.press('Tab')
      await page.keyboard.press('Tab')
      await page.keyboard.press('ArrowDown')
      await page.keyboard.press('Tab')
      for (const name of ['clara', 'anna a', 'ida']) {
        await page.keyboard.type(name)
        await page.waitForSelector('[role=option]')
        await page.keyboard.press('Enter')
      }
      const members = () => page.$$eval('[data-member]', (all) => all.map((li) => li.dataset.member))
      same(await members(), ['1002', '1000', '1008'], 'the members as they were added')
      await page.keyboard.press('Shift+Tab')
      await page.keyboard.press('Alt+ArrowUp')
      await page.keyboard.press('Alt+ArrowUp')
      same(await members(), ['1008', '1002', '1000'], 'the members after the last one was moved up twice')
      same(await page.evaluate(() => document.activeElement.ariaLabel), 'Remove Ida Großmann', 'what has the focus')
      await page.waitForSelector('[role=status]:has-text("Ida Großmann is number 1 of 3.")', { state: 'attached' })
      for (let i = 0; i < 20 && !(await page.evaluate(() => document.activeElement?.name === 'seconds')); i++) await page.keyboard.press('Tab')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[role=dialog] >> text=603 · Ring group')
      const { body, headers } = sent(w, 'POST')[0]
      same({ ...body, members: body.members.length }, { name: 'Night shift', strategy: 'hunt', members: 3, seconds: 20, skip_busy: true, fallback: { kind: 'hangup' } }, 'what was sent')
      must(headers['idempotency-key'], 'the request has no idempotency key')
      await page.waitForSelector('[role=dialog] >> text=not applied yet')
      await page.keyboard.press('Escape')
      await page.waitForSelector('[data-number="603"]')
    }),
  )
  later('errors of a ring group are shown at their fields, and what was typed stays', () =>
    visit({}, 'numbers?new=ring-groups', async (page, w) => {
      await page.fill('[name=name]', 'sales')
      await page.fill('[name=number]', '1001')
      await page.fill('[name=member]', 'clara')
      await page.keyboard.press('Enter')
      const described = (name) => page.$eval(`[name=${name}]`, (el) => (el.getAttribute('aria-describedby') ?? '').split(' ').map((id) => document.getElementById(id)?.innerText).join(' '))
      await press(page, 'Create ring group')
      await page.waitForSelector('[name=name][aria-invalid=true]')
      must((await described('name')).includes('in use'), `at the name: ${await described('name')}`)
      await page.fill('[name=name]', 'Sales abroad')
      await press(page, 'Create ring group')
      await page.waitForSelector('[name=number][aria-invalid=true]')
      must((await described('number')).includes('Ben Hoffmann has 1001'), `at the number: ${await described('number')}`)
      await page.selectOption('[name=fallback]', 'ring_group')
      await page.fill('[name=number]', '650')
      await press(page, 'Create ring group')
      await page.waitForSelector('[name=target][aria-invalid=true]')
      await page.reload()
      await page.waitForSelector('[data-member="1002"]')
      same([await page.inputValue('[name=name]'), await page.inputValue('[name=number]')], ['Sales abroad', '650'], 'the draft after a reload')
      await page.fill('[name=target]', 'supp')
      await page.keyboard.press('Enter')
      await press(page, 'Create ring group')
      await page.waitForSelector('[role=dialog] >> text=650 · Ring group')
      same(group(w, 'Sales abroad').fallback, { kind: 'ring_group', id: group(w, 'Support').id }, 'the fallback')
    }),
  )
  later('a ring group is edited in place: only what was changed is sent, for the version that was read', () =>
    visit({}, sales, async (page, w) => {
      await press(page, 'Edit')
      await page.waitForFunction(() => document.activeElement?.name === 'name')
      await page.fill('[name=seconds]', '30')
      await page.selectOption('[name=fallback]', 'hangup')
      await press(page, 'Save')
      await page.waitForSelector('text=Sales was saved.')
      const [{ body, headers }] = sent(w, 'PATCH')
      same([body, headers['if-match']], [{ seconds: 30, fallback: { kind: 'hangup', id: null } }, '"1"'], 'what was sent')
      await page.waitForSelector('dd:has-text("30 seconds")')
      same(await page.evaluate(() => document.activeElement?.innerText.trim()), 'Edit', 'what has the focus')
    }),
  )
  later('two administrators change a ring group: what the other changed is shown, and neither loses a change', () =>
    visit({}, support, async (page, w) => {
      await press(page, 'Edit')
      await page.fill('[name=name]', 'Help desk')
      meanwhile(w)
      await press(page, 'Save')
      const note = page.locator('[role=dialog] [role=alert]')
      await note.waitFor()
      must(/Ring time: 15 seconds.*45 seconds/s.test(await note.innerText()), `the note says: ${await note.innerText()}`)
      same([await page.inputValue('[name=name]'), await page.inputValue('[name=seconds]')], ['Help desk', '45'], 'the fields')
      await press(page, 'Close')
      await page.waitForSelector('[role=dialog]', { state: 'detached' })
      await page.click('[data-number="601"]')
      await page.waitForSelector('[role=dialog] [name=name]')
      same(await page.inputValue('[name=name]'), 'Help desk', 'the name after the panel was closed')
      await press(page, 'Save my changes')
      await page.waitForSelector('text=Help desk was saved.')
      same([group(w, 'Help desk').seconds, sent(w, 'PATCH').at(-1).body], [45, { name: 'Help desk' }], 'the other change, and what was sent')
    }),
  )
  later('a ring group that another one needs is not deleted, and the page says by which', () =>
    visit({}, support, async (page, w) => {
      await press(page, 'Delete ring group')
      await page.waitForSelector('text=The number 601 becomes free')
      await press(page, 'Delete 601')
      await page.locator('[role=dialog]').last().locator('a:has-text("Sales")').click()
      await page.waitForSelector('[role=dialog] >> text=600 · Ring group')
      must(group(w, 'Support'), 'it was deleted')
      await press(page, 'Delete ring group')
      await press(page, 'Delete 600')
      await page.waitForSelector('text=Sales was deleted.')
      await page.waitForSelector('[data-number="600"]', { state: 'detached' })
      same(sent(w, 'DELETE').at(-1).headers['if-match'], '"1"', 'the version that was deleted')
    }),
  )
  later('a role without the permission sees ring groups and tries calls, and cannot change them', () =>
    visit({ role: 'auditor' }, sales, async (page) => {
      await page.waitForSelector('dd:has-text("20 seconds")')
      await press(page, 'Try the call')
      await page.waitForSelector('text=Step by step')
      for (const name of ['Edit', 'Delete ring group']) must(!(await page.getByRole('button', { name }).count()), `there is ${name}`)
      await page.goto(new URL('/app/numbers?new=ring-groups', page.url()).href)
      await page.waitForSelector('[data-number="600"]')
      must(!(await page.locator('[role=dialog], button:has-text("New ring group")').count()), 'a ring group can be created')
    }),
  )
  later('numbers are listed page by page, and found by name', () =>
    visit({ groups: 120 }, 'numbers', async (page, w) => {
      await page.waitForSelector('[data-item]')
      same(await page.locator('[data-item]').count(), 50, 'the first page')
      await press(page, 'Show more')
      await page.waitForFunction(() => document.querySelectorAll('[data-item]').length === 100)
      await page.keyboard.press('/')
      await page.keyboard.type('group 117')
      await page.waitForFunction(() => document.querySelectorAll('[data-item]').length === 1)
      await page.waitForSelector('text=1 number found')
      must(sent(w, 'GET').some((r) => r.path.endsWith('ring-groups')), 'the portal searches')
      await page.keyboard.press('ArrowDown')
      await page.keyboard.press('Enter')
      await page.waitForSelector('[role=dialog] >> text=Group 117')
    }),
  )
  later('the history of a ring group names its members and where calls go on to', () =>
    visit({}, '', async (page, w) => {
      const { id } = group(w, 'Support')
      const [anna, ben] = w.users.map((u) => u.id)
      const event = { seq: 999, at: new Date().toISOString(), actor: { kind: 'person', id: 'a1', name: 'Anna Amsel', from: '' }, request_id: 'X', action: 'ring_group.change', object: { type: 'ring_group', id: 'x', name: 'Sales' }, result: 'ok' }
      w.audit.unshift({ ...event, before: { members: anna, strategy: 'all', fallback: 'hangup' }, after: { members: `${anna} ${ben}`, strategy: 'hunt', fallback: `ring_group ${id}` } })
      await page.goto(new URL('/app/settings/activity/999', page.url()).href)
      await page.waitForSelector('td:has-text("Call 601 Support")')
      const cells = await page.locator('td').allInnerTexts()
      for (const text of ['Anna Amsel, Ben Hoffmann', 'One after the other', 'End the call']) must(cells.includes(text), `${text} is not among ${cells}`)
    }),
  )
  later('a call is followed in the language of the page, to the user who answers', () =>
    visit({ locale: 'de-DE' }, sales, async (page, w) => {
      await press(page, 'Anruf probieren')
      await page.waitForSelector('text=der Anruf geht weiter an 601 Support')
      await page.getByLabel('Wer nimmt ab').selectOption({ label: '1007 Henry Zimmermann' })
      await page.waitForSelector('li:has-text("1007 Henry Zimmermann nimmt ab")')
      same(w.requests.filter((r) => r.path === '/api/v1/simulate').at(-1).body.keys, ['no_answer', 'no_answer', `answer:${w.users[7].id}`], 'what becomes of each attempt')
      same(await page.locator('[role=dialog] [lang=en]').allInnerTexts(), [], 'texts in English')
    }),
  )
  later('in German, phones that are busy do not ring, and every reason is in German', () =>
    visit({ locale: 'de-DE' }, sales, async (page, w) => {
      const group = { kind: 'ring_group', id: w.groups[0].id, number: '600', name: 'Sales' }
      const user = (i) => ({ kind: 'user', id: w.users[i].id, number: String(w.users[i].extension.number), name: w.users[i].name })
      const step = (kind, thing, more) => ({ kind, thing, rings: [], seconds: 0, outcome: null, cause: null, text: 'English', ...more })
      const anna = `${user(0).number} ${user(0).name}`
      w.simulation = {
        sentence: 'English', taken: '', faults: [],
        steps: [step('enter', group), step('ring', group, { rings: [user(0), user(1)], seconds: 20, outcome: 'busy' }), step('hangup', group, { cause: 19 })],
        why: [
          { thing: group, field: 'skip_busy', text: `${anna} is in a call, and 600 Sales skips users who are busy.` },
          { thing: group, field: 'skip_busy', text: `${anna} is in this call, and 600 Sales skips users who are busy.` },
          { thing: group, field: '', text: 'A call comes to at most 10 objects one after the other.' },
          { thing: user(0), field: '', text: `The phone of ${anna} is not registered: it does not ring.` },
          { thing: user(0), field: '', text: `${anna} cannot answer, because the phone does not ring.` },
        ],
      }
      await press(page, 'Anruf probieren')
      const sentence = await page.locator('[role=dialog] [role=status] p').first().innerText()
      must(sentence.includes('sind besetzt') && !sentence.includes('klingel'), sentence)
      must(!(await page.locator('[role=dialog] li [lang=en]').count()), 'a reason is in English')
      await page.waitForSelector(`text=${anna} ist im Gespräch, und 600 Sales übergeht Personen, die besetzt sind.`)
    }),
  )
  later('names that are written from right to left do not move what is around them', () =>
    visit({}, 'numbers', async (page, w) => {
      const { groups, users } = w
      users[0].name = 'שירה'
      Object.assign(groups[0], { name: 'מכירות', members: [users[0].id, users[1].id] })
      Object.assign(groups[1], { fallback: { kind: 'ring_group', id: groups[0].id } })
      await page.reload()
      await page.waitForSelector(`[data-number="600"][dir=auto]`)
      await page.waitForSelector('[role=cell]:has-text("\u2068שירה\u2069")')
      await page.waitForSelector('[role=cell]:has-text("600 \u2068מכירות\u2069")')
      await page.click('[data-number="600"]')
      await press(page, 'Try the call')
      await page.waitForSelector('[role=dialog] [role=status]:has-text("A caller calls 600 \u2068מכירות\u2069; 1000 \u2068שירה\u2069"), [role=dialog] [role=status]:has-text("a caller calls 600 \u2068מכירות\u2069; 1000 \u2068שירה\u2069")')
      await page.waitForSelector('[role=dialog] li:has-text("1000 \u2068שירה\u2069")')
    }),
  )
  later('the number of a new ring group is the next one of the pools for ring groups, where the page knows it', () =>
    visit({}, 'numbers', async (page, w) => {
      const proposed = (number, change) => {
        Object.assign(w.pools[1], change)
        return page.reload().then(() => page.waitForFunction((number) => document.querySelector('[name=number]')?.value === number && document.body.innerText.includes('Empty: assigned from 650–659.'), number))
      }
      await page.goto(new URL('/app/numbers?new=ring-groups', page.url()).href)
      await proposed('650', { from: '650', to: '659' })
      await proposed('', { order: 'random' })
      await proposed('', { order: 'lowest', cool_down_days: 1 })
    }),
  )
  later('before a user is deleted, the page names the ring groups that list the user', () =>
    visit({}, 'people/2f9e5a1c-8d8e-4a53-9f5b-000000000002', async (page) => {
      await page.click('button:has-text("Delete person")')
      await page.waitForSelector('[role=dialog] li:has-text("No longer a member of: 601 Support.")')
    }),
  )
}
