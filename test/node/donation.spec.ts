import assert from 'node:assert/strict'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BlockEntry, Bundle, synthesize } from '../../model-tools/index.js'
import { openBundleStore } from '../../node/bundle-store.js'
import { Donation, type DonationEvent, PROCESS_GROWTH_BYTES } from '../../node/donation.js'
import { ExpertHost, expertHostBytes, hostBaseBytes } from '../../node/host/expert-host.js'
import { type BlockSource, connectBlocks, type FileStore, serveBlocks, serveExperts, SwarmError, type SwarmHost } from '../../swarm/index.js'
import { FakeCompute } from '../swarm/fixtures/fake-compute.js'
import { TestHosts } from '../swarm/fixtures/hosts.js'

/** What goes wrong, once, between the plan of an exchange and its end. */
type Fault = 'none' | 'vanished' | 'wrong-hash' | 'disk-full' | 'not-loaded' | 'replica-gone'

describe('an exchange of blocks with a step that fails', function () {
  this.timeout(60_000)
  let scratch: string
  let bundle: Bundle
  const hosts = new TestHosts()
  const closers: Array<() => Promise<void>> = []

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-exchange-'))
    await synthesize({ shape: 'demo', layers: 2, format: 'bundle', out: join(scratch, 'whole'), quant: 'q8', blockExperts: 8 })
    bundle = await Bundle.open(join(scratch, 'whole'))
  })
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close()
    await hosts.stopAll()
  })
  after(async () => { await rm(scratch, { recursive: true }) })

  async function serve (host: SwarmHost, blocks: BlockEntry[]): ReturnType<typeof serveExperts> {
    const { hiddenSize, experts, layerTypes } = bundle.config
    const serving = await serveExperts({ host, modelId: bundle.id, hiddenSize, experts, layers: layerTypes.length, blocks, compute: new FakeCompute(), version: 'test/1' })
    closers.push(serving.stop)
    return serving
  }

  /** Gives files away, but for what the fault does to the first answers. */
  async function seed (host: SwarmHost, store: FileStore, fault: () => Fault): Promise<void> {
    const source: BlockSource = {
      modelId: store.modelId,
      manifest: store.manifest,
      bytesOf: sha256 => store.bytesOf(sha256),
      read: async (sha256, offset, length) => {
        if (fault() === 'vanished') throw new Error('the disk is gone')
        const bytes = await store.read(sha256, offset, length)
        return fault() === 'wrong-hash' ? bytes.map((byte, at) => at === 0 ? byte ^ 1 : byte) : bytes
      }
    }
    const seeding = await serveBlocks({ host, source })
    closers.push(seeding.stop)
  }

  for (const fault of ['vanished', 'wrong-hash', 'disk-full', 'not-loaded', 'replica-gone'] as const) {
    it(`leaves what was served as it was, and is made later (${fault})`, async () => {
      let current: Fault = 'none'
      const first = await hosts.start({ dht: 'server' })
      const others = [first, await hosts.start({ dht: 'server', bootstrap: [first.addresses[0]] })]
      const host = await hosts.start({ dht: 'server', bootstrap: [first.addresses[0]] })
      const servings = [await serve(others[0], bundle.blocks), await serve(others[1], bundle.blocks)]
      const whole = await openBundleStore(bundle)
      await seed(others[0], whole, () => current)

      const own = await Bundle.open(await copyOf(join(scratch, fault)))
      let store = await openBundleStore(own)
      const disk: FileStore = Object.assign(Object.create(store) as FileStore, {
        bytesOf: (sha256: string) => store.bytesOf(sha256),
        expect: async () => { if (current === 'disk-full') throw new SwarmError('disk-full', 'The disk is full.', { path: '', missingBytes: 1 }) },
        open: async (file: Parameters<FileStore['open']>[0]) => {
          if (current === 'replica-gone') await sleep(1_500) // a download takes longer than a manifest lives
          return await store.open(file)
        }
      })
      const serving = await serve(host, [])
      const events: DonationEvent[] = []
      const blocks = connectBlocks({ host, modelId: bundle.id, patienceMs: 500 })
      closers.push(blocks.stop)
      const room = expertHostBytes(bundle, bundle.blocks.slice(1))
      const donation = new Donation({
        bundle: own, host, store: disk, blocks, threads: 1, clientPart: false, limitBytes: room, residentBytes: () => -hostBaseBytes(1) - PROCESS_GROWTH_BYTES,
        reviewIntervalMs: 50, holdMs: 0, turnMs: 400, farewellMs: 50, onEvent: event => { events.push(event) }
      })
      const before = await donation.begin(serving)
      assert.equal(before.length, bundle.blocks.length - 1)
      const [hole] = bundle.blocks.filter(({ file }) => !before.some(block => block.file === file))
      await rm(own.path(hole.file))
      store = await openBundleStore(own)
      const compute = await ExpertHost.load({ bundle: own, blocks: before, threads: 1 })
      closers.push(async () => { await compute.stop() })
      const announced: string[][] = []
      await serving.setBlocks(before)
      const failed = (): boolean => events.some(({ type }) => type === 'review-failed')
      let tries = 0
      current = fault
      donation.follow({
        compute: {
          add: async (added, options) => {
            if (current === 'not-loaded' && added.some(({ file }) => file === hole.file)) throw new Error('it cannot be loaded')
            await compute.add(added, options)
          },
          remove: async removed => { await compute.remove(removed) }
        },
        serving: { ...serving, setBlocks: async next => {
          announced.push(next.map(({ layer, firstExpert }) => `${layer}:${firstExpert}`))
          await serving.setBlocks(next)
        }, setWanted: wanted => {
          // What is given up has no other holder any more, once the download has begun.
          if (wanted.fetching.length > 0 && tries++ === 0 && current === 'replica-gone') for (const other of servings) void other.setBlocks([hole])
          serving.setWanted(wanted)
        } }
      })
      closers.push(async () => { await donation.stop() })
      const rest = bundle.blocks.filter(block => block !== hole)
      for (const other of servings) await other.setBlocks(rest)

      if (fault === 'replica-gone') {
        while (tries === 0) await sleep(10)
        await sleep(3_000)
      } else {
        while (!failed()) await sleep(10)
        while (fault === 'not-loaded' && donation.hosted.length < before.length) await sleep(10)
      }
      assert.deepEqual(names(donation.hosted), names(before))
      assert.deepEqual(names(compute.blocks), names(before))
      if (fault !== 'not-loaded') assert.deepEqual(announced, [], 'nothing was given up')

      // The liar is not asked again.
      if (fault === 'wrong-hash') await seed(others[1], whole, () => 'none')
      current = 'none'
      for (const other of servings) await other.setBlocks(rest)
      while (!donation.hosted.some(({ file }) => file === hole.file)) await sleep(10)
      assert.equal(donation.hosted.length, before.length)
      await own.verify([hole.file])
    })
  }

  async function copyOf (to: string): Promise<string> {
    await cp(bundle.dir, to, { recursive: true })
    return to
  }
})

function names (blocks: BlockEntry[]): string[] {
  return blocks.map(({ file }) => file).sort()
}
