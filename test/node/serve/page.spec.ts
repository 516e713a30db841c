import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import axe, { type AxeResults } from 'axe-core'
import type { Browser, Page, Viewport } from 'puppeteer-core'
import { Dashboard, SwarmPeer, TrafficMonitor } from '../../../node/index.js'
import { demoBundle } from '../../../scripts/demo-bundle.js'
import { chromiumPath, openBrowser } from '../../fixtures/browser.js'
import { ServedSwarm, until } from '../../fixtures/served-swarm.js'

const DESKTOP: Viewport = { width: 1240, height: 940 }
const PHONE: Viewport = { width: 390, height: 844, deviceScaleFactor: 2, isMobile: true, hasTouch: true }

const LOOKS = [
  { name: 'light', viewport: DESKTOP, scheme: 'light' },
  { name: 'dark', viewport: DESKTOP, scheme: 'dark' },
  { name: 'phone', viewport: PHONE, scheme: 'light' }
] as const

describe('the web page', function () {
  this.timeout(240_000)
  let swarm: ServedSwarm
  let browser: Browser
  let url: string
  let pictures: string
  let scratch: string
  const problems: string[] = []

  before(async function () {
    const chromium = chromiumPath()
    if (chromium === undefined) {
      process.stderr.write('No Chromium here: the page is not tested. "apt-get install chromium" brings it.\n')
      return this.skip()
    }
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-page-test-'))
    // DOCS_IMAGES=docs/images renews the pictures of the documentation.
    pictures = process.env.DOCS_IMAGES ?? scratch
    await mkdir(pictures, { recursive: true })
    swarm = await ServedSwarm.start()
    ;({ url } = await swarm.serve())
    browser = await openBrowser(chromium)
  })

  after(async () => {
    await browser?.close()
    await swarm?.stop()
    if (scratch !== undefined) await rm(scratch, { recursive: true })
  })

  async function open (at = url, viewport: Viewport = DESKTOP, scheme = 'light'): Promise<Page> {
    const page = await browser.newPage()
    page.setDefaultTimeout(120_000)
    await page.setViewport(viewport)
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
    page.on('request', request => { if (!request.url().startsWith(at)) problems.push(`asks ${request.url()}`) })
    page.on('pageerror', error => { problems.push(String(error)) })
    page.on('console', message => { if (message.type() === 'error') problems.push(message.text()) })
    await page.goto(at, { waitUntil: 'domcontentloaded' })
    return page
  }

  async function text (page: Page, selector: string): Promise<string> {
    return await page.evaluate(`document.querySelector(${JSON.stringify(selector)}).textContent`) as string
  }

  async function askInChat (page: Page, message: string): Promise<string> {
    await page.waitForSelector('#chat:not([hidden])')
    await page.type('#message', message)
    await page.keyboard.press('Enter')
    await page.waitForFunction('document.querySelector("#send").textContent === "Send" && document.querySelector("#log article:not(.user)")')
    return await text(page, '#log article:last-child')
  }

  async function serious (page: Page): Promise<string[]> {
    await page.evaluate(axe.source)
    const { violations } = await page.evaluate('axe.run()') as AxeResults
    return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical').map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)
  }

  for (const { name, viewport, scheme } of LOOKS) {
    it(`${name}: shows the swarm, answers in its chat, says where the time went, and has no serious fault for axe`, async () => {
      const page = await open(url, viewport, scheme)
      await page.waitForSelector('#map .cell')
      assert.equal((await page.$$('#map .r2')).length, 24, 'each of 6 x 4 blocks has two live copies')
      assert.equal(await text(page, '#state'), 'All experts are within reach')
      assert.equal((await page.$$('#peers tbody tr')).length, 3)

      assert.match(await askInChat(page, 'Tell me a story about a dog.'), /\w+ \w+/)
      await page.waitForSelector('#lap .total')
      assert.match(await text(page, '#speed'), /^\d+(\.\d)?$/)
      const widths = await page.evaluate('[...document.querySelectorAll("#map .time .compute")].map(bar => bar.getBoundingClientRect().width)') as number[]
      assert.equal(widths.length, 6)
      assert.ok(widths.every(width => width > 0), `bars of ${widths.join(' ')}`)
      const wide = await page.evaluate('document.documentElement.scrollWidth - innerWidth') as number
      assert.ok(wide <= 0, `${wide} pixels do not fit`)

      // With somebody else's text and this page's next one under way.
      const elsewhere = new AbortController()
      const asked = fetch(`${url}/v1/completions`, { method: 'POST', body: JSON.stringify({ prompt: 'One day', max_tokens: 400, stop: ['NEVER'] }), signal: elsewhere.signal }).catch(() => {})
      await page.type('#message', 'And then?')
      await page.keyboard.press('Enter')
      await page.waitForFunction('document.querySelectorAll("#running .writes").length === 2')
      const file = join(pictures, `dashboard-${name}.png`)
      await page.screenshot({ path: file, fullPage: true })
      assert.ok((await stat(file)).size > 10_000)
      elsewhere.abort()
      await asked
      await page.click('#send')
      await page.waitForFunction('document.querySelector("#running").textContent === "None at the moment."')
      assert.deepEqual(await serious(page), [])
      await page.close()
    })
  }

  it('works by keyboard alone, and Stop stops', async () => {
    const page = await open()
    await page.waitForSelector('#chat:not([hidden])')
    const seen: string[] = []
    for (let i = 0; i < 12 && seen.at(-1) !== 'message'; i++) {
      await page.keyboard.press('Tab')
      seen.push(await page.evaluate('document.activeElement.id || document.activeElement.className') as string)
    }
    assert.equal(seen[0], 'skip')
    assert.equal(seen.at(-1), 'message', seen.join(', '))
    await page.keyboard.type('Write a long story.')
    await page.keyboard.press('Enter')
    await page.waitForFunction('document.querySelector("#log article:not(.user)")?.textContent.length > 10')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.waitForFunction('document.querySelector("#send").textContent === "Send"')
    await until(() => swarm.monitor.running().length === 0)
    await page.close()
  })

  it('asks for the key that the server wants', async () => {
    const { url: guarded } = await swarm.serve({ apiKey: 'secret' })
    const page = await open(guarded)
    await page.waitForSelector('#key-dialog[open]')
    await page.type('#key', 'secret')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#map .cell')
    assert.match(await askInChat(page, 'Hello.'), /\w/)
    await page.close()
    // A browser reports the 401 of its own accord.
    for (const [i, problem] of [...problems.entries()].reverse()) if (problem.includes('401')) problems.splice(i, 1)
  })

  it('of a peer shows the swarm and what the peer computes, without a chat', async () => {
    const monitor = new TrafficMonitor()
    const peer = await SwarmPeer.start({ model: await demoBundle('f32'), threads: 1, layers: '0', bootstrap: [swarm.peers[0].addresses[0]], onLayer: monitor.onLayer })
    const dashboard = await Dashboard.start({ peer, monitor, port: 0 })
    try {
      const page = await open(dashboard.url)
      await page.waitForFunction('document.querySelectorAll("#peers tbody tr").length === 4 && document.querySelectorAll("#map .r3").length === 4')
      assert.match(await text(page, '#peers tbody'), /this peer/)
      // Somebody generates until some of it comes by here.
      while (monitor.layers().length === 0) await fetch(`${url}/v1/completions`, { method: 'POST', body: JSON.stringify({ prompt: 'One day', max_tokens: 20 }) })
      await page.waitForFunction('/^[1-9]/.test(document.querySelector("#speed").textContent)')
      assert.equal(await page.$('#chat:not([hidden])'), null)
      assert.deepEqual(await serious(page), [])
      await page.close()
    } finally {
      await dashboard.stop()
      await peer.stop()
    }
  })

  it('asked nobody else, and nothing failed', () => { assert.deepEqual(problems, []) })

  it('marks holes', async () => {
    const page = await open()
    await page.waitForSelector('#map .cell')
    await swarm.peers.pop()!.stop()
    await swarm.peers.pop()!.stop()
    await page.waitForSelector('#map .r0')
    await page.waitForFunction('document.querySelector("#state").textContent.includes("no live copy")')
    assert.deepEqual(await serious(page), [])
    await page.close()
  })
})
