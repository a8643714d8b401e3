// Shared by all suites: a browser, steps with a name and a time, and checks that hold on every page.
import os from 'node:os'
import { chromium } from 'playwright-core'
import { axe, origins } from './mock.mjs'

const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--hide-scrollbars', '--font-render-hinting=none']

// launch starts a browser that computes on few threads, which takes a seventh less time in total on a machine with two cores.
export const launch = () => start([...flags, '--js-flags=--single-threaded'])

// launchAsShipped starts a browser to measure with.
export const launchAsShipped = () => start(flags)

const start = (args) => chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium-headless-shell', args })

let passed = 0
let failed = 0

// step runs one step and reports its result. A suite continues after a failure only if the steps are independent.
export async function step(name, run, page) {
  if (process.env.ONLY && !new RegExp(process.env.ONLY).test(name)) return true
  const start = Date.now()
  try {
    const seen = await run()
    passed++
    console.log(`  ✓ ${name}${seen ? `: ${seen}` : ''} (${Date.now() - start} ms)`)
  } catch (e) {
    failed++
    console.log(`  ✗ ${name} (${Date.now() - start} ms)\n${String(e.message ?? e).replace(/^/gm, '      ')}`)
    if (page) {
      console.log(`      at ${page.url()}\n${(await page.locator('body').innerText().catch(() => '')).slice(0, 1500).replace(/^/gm, '      | ')}`)
      if (process.env.FAILURES) await page.screenshot({ path: `${process.env.FAILURES}/${name.replace(/\W+/g, '-')}.png` }).catch(() => {})
    }
    return false
  }
  return true
}

export function finish() {
  console.log(`${passed} passed, ${failed} failed`)
  process.exit(failed ? 1 : 0)
}

export function must(condition, what) {
  if (!condition) throw new Error(what)
}

export function same(got, want, what) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)]
  if (a !== b) throw new Error(`${what}: got ${a}, want ${b}`)
}

// watch collects the errors of a browser: broken scripts, and everything that the content security policy blocked.
export function watch(page, noise, quiet = () => false) {
  page.on('pageerror', (e) => noise.push(e.message))
  page.on('console', (m) => {
    if (m.type() !== 'error' && m.type() !== 'warning') return
    const text = m.text()
    if (!/Failed to load resource|net::ERR/.test(text) && !quiet(text)) noise.push(text)
  })
  page.on('dialog', (d) => (noise.push(`a dialog opened: ${d.message()}`), void d.dismiss()))
}

// accessible checks the page in its present state against WCAG 2.2 AA, in both themes. They differ only in colours, so rules that ignore
// colours run once. Of a page under an open dialog only the dialog is checked: the page is, without it.
export async function accessible(page, what) {
  const all = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
  const ofColours = { type: 'rule', values: ['color-contrast', 'link-in-text-block'] }
  for (const [colorScheme, runOnly] of [['light', all], ['dark', ofColours]]) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    if (!(await page.evaluate(() => 'axe' in window))) await (origins.has(new URL(page.url()).origin) ? page.addScriptTag({ url: '/axe.js' }) : page.evaluate(axe))
    const violations = await page.evaluate(async (runOnly) => {
      const dialogs = [...document.querySelectorAll('[role=dialog]')].filter((el) => el.checkVisibility())
      const found = await window.axe.run(dialogs.at(-1) ?? document, { runOnly, resultTypes: ['violations'], preload: false })
      return found.violations.map((v) => `${v.id}: ${v.help}\n${v.nodes.slice(0, 3).map((n) => `  ${n.html.slice(0, 160)} ${n.any.map((c) => c.message).join('; ').slice(0, 160)}`).join('\n')}`)
    }, runOnly)
    must(!violations.length, `${what}, ${colorScheme}: ${violations.length} violations\n${violations.join('\n')}`)
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' })
}

// fits checks that nothing extends beyond the right edge of the page.
export async function fits(page, what) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  must(over <= 0, `${what} is ${over} px too wide at ${page.viewportSize().width} px`)
}

// workbench returns a client of the Go test that runs this suite: it controls phones and the parts that can be stopped. Answers have the times
// at which the action began and ended.
export const workbench = (url) => async (what, order = {}) => {
  const answer = await fetch(`${url}/${what}`, { method: 'POST', body: JSON.stringify(order) })
  if (!answer.ok) throw new Error(`${what}: ${await answer.text()}`)
  return answer.json()
}

// shownAt waits until something is on the screen, and returns the time of that frame. `gone` waits until it is not.
export const shownAt = (page, selector, gone = false) =>
  page.evaluate(
    ([what, gone]) =>
      new Promise((done) => {
        const look = () => requestAnimationFrame(() => (!document.querySelector(what) === gone ? done(Date.now()) : look()))
        look()
      }),
    [selector, gone],
  )

// waysOn returns the controls of the page that continue the task, without those of language and theme.
export const waysOn = (page) =>
  page.evaluate(() => {
    const open = document.querySelector('[role=dialog]') ?? document.querySelector('main') ?? document.createElement('main')
    const can = (el) => el.checkVisibility() && !el.disabled && el.getAttribute('aria-disabled') !== 'true'
    return [...open.querySelectorAll('button, a[href], input')].filter(can).map((el) => (el.ariaLabel || el.labels?.[0]?.innerText || el.innerText).trim().replace(/\s+/g, ' '))
  })

// The best of three rounds counts, because other programs run on the machine as well. If they disturb all three, there are more, each
// once the machine is idle, or after ten seconds. The limit is for a machine with dedicated cores. If the host provides
// less, it grows like the time of a fixed computation just before and just after the round: the smaller of the two.
export async function best(measure, limit) {
  const rounds = []
  const within = () => rounds.some((r) => r.measured <= limit * r.pace)
  while (rounds.length < 3 || (!within() && rounds.length < 12)) {
    if (rounds.length >= 3) await rest()
    const before = pace()
    const measured = await measure()
    rounds.push({ measured, pace: Math.max(1, Math.min(before, pace())) })
  }
  return { within: within(), took: `${rounds.map((r) => r.measured.toFixed(0)).join(', ')} ms (pace ${rounds.map((r) => r.pace.toFixed(2)).join(', ')})` }
}

// pace returns the time of a computation relative to that on two cores of an idle host, which is 25 ms; one median of
// five in ten reaches it on a busy host as well.
function pace() {
  const compute = () => {
    const begin = performance.now()
    let rows = Array.from({ length: 10_000 }, (_, i) => ({ name: `Person ${(i * 7919) % 20_011}`, number: i }))
    for (let k = 0; k < 3; k++) rows = JSON.parse(JSON.stringify(rows)).sort((a, b) => (a.name < b.name ? -1 : 1)).reverse()
    return performance.now() - begin
  }
  return Array.from({ length: 5 }, compute).sort((a, b) => a - b)[2] / 25
}

async function rest() {
  const idle = () => os.cpus().reduce((sum, c) => sum + c.times.idle, 0) / os.cpus().length
  for (let tries = 0; tries < 20; tries++) {
    const before = idle()
    await new Promise((next) => setTimeout(next, 500))
    if (idle() - before > 400) return
  }
}
