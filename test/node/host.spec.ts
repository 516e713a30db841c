import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cp, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ExpertHost, expertHostBytes, hostBaseBytes, type LoadProgress } from '../../node/host/expert-host.js'
import { ExpertSessions } from '../../node/host/expert-session.js'
import { f32Tensor } from '../../node/onnx-session.js'
import { Bundle, decodeRows, ModelError, synthesize, type TensorEntry, WEIGHT_FORMATS, type WeightFormat } from '../../model-tools/index.js'
import { type ExpertBatch, isSwarmError } from '../../swarm/index.js'

const LAYERS = 2
/** Enough experts that the garbage of a process is small beside them. */
const MANY_LAYERS = 16
const ROWS = 3
/** Largest difference from plain arithmetic, as a share of the largest output. Quantised products also round activations, to 8 bits in blocks. */
const TOLERANCE = { f32: 1e-5, f16: 1e-5, q8: 0.02, q4: 0.02, u4: 0.03 }
const EXPERTS = [1, 2, 17, 30]

describe('ExpertHost', function () {
  this.timeout(120_000)
  let scratch: string
  const hosts: ExpertHost[] = []

  before(async () => { scratch = await mkdtemp(join(tmpdir(), 'moeswarm-host-')) })
  afterEach(async () => { for (const host of hosts.splice(0)) await host.stop() })
  after(async () => { await rm(scratch, { recursive: true }) })

  async function synthetic (quant: WeightFormat, layers = LAYERS): Promise<Bundle> {
    const name = `${quant}-${layers}`
    const out = join(scratch, name)
    if (!(await readdir(scratch)).includes(name)) await synthesize({ shape: 'demo', layers, format: 'bundle', out, quant, blockExperts: 8 })
    return await Bundle.open(out)
  }

  async function load (init: Parameters<typeof ExpertHost.load>[0]): Promise<ExpertHost> {
    const host = await ExpertHost.load({ threads: 2, ...init })
    hosts.push(host)
    return host
  }

  for (const quant of WEIGHT_FORMATS) {
    it(`computes ${quant} experts as plain arithmetic does`, async () => {
      const bundle = await synthetic(quant)
      const host = await load({ bundle, blocks: bundle.blocks })
      const batch = batchOf(bundle, 1, EXPERTS)
      const { sum } = await host.compute(batch)
      const expected = await plainSum(bundle, batch)
      const largest = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
      for (const [i, value] of expected.entries()) {
        assert.ok(Math.abs(sum[i] - value) <= TOLERANCE[quant] * largest, `value ${i}: ${sum[i]} instead of ${value}, the largest is ${largest}`)
      }
    })
  }

  for (const quant of ['q8', 'q4', 'u4'] as const) {
    it(`gives equal bits with and without a copy of the scales (${quant})`, async () => {
      const bundle = await synthetic(quant)
      const [expert] = bundle.experts(bundle.blocks[0])
      const outputs = []
      for (const dropScales of [true, false]) {
        const session = await new ExpertSessions(bundle, process.arch === 'x64' && process.platform === 'linux' && dropScales).open(expert, 1)
        const { hidden } = batchOf(bundle, 0, EXPERTS)
        outputs.push((await session.run({ hidden: f32Tensor(hidden, [ROWS, bundle.config.hiddenSize]) })).output.data)
        await session.release()
      }
      assert.deepEqual(outputs[0], outputs[1])
      assert.deepEqual(await scratchFiles(bundle), [])
    })
  }

  it('takes and gives back blocks while others are computed, without a change in a bit', async () => {
    const bundle = await synthetic('q4')
    const blocks = bundle.blocks.filter(({ layer }) => layer === 0)
    const others = bundle.blocks.filter(({ layer }) => layer === 1)
    const host = await load({ bundle, blocks })
    const batch = batchOf(bundle, 0, EXPERTS)
    const { sum: expected } = await host.compute(batch)
    let changing = true
    let batches = 0
    const computing = (async () => {
      for (; changing; batches++) assert.deepEqual((await host.compute(batch)).sum, expected)
    })()
    const progress: LoadProgress[] = []
    await Promise.all([host.add(others, { onProgress: step => { progress.push(step) } }), host.add(others)])
    assert.deepEqual(host.blocks, [...blocks, ...others])
    assert.deepEqual(progress.at(-1), { phase: 'load', done: bundle.config.experts, total: bundle.config.experts })
    const submitted = host.compute(batchOf(bundle, 1, EXPERTS))
    await host.remove(others)
    await submitted
    changing = false
    await computing
    assert.ok(batches > 1)
    await assert.rejects(host.compute(batchOf(bundle, 1, EXPERTS)), error => isSwarmError(error, 'not-hosted'))
    assert.deepEqual(host.blocks, blocks)
  })

  for (const quant of WEIGHT_FORMATS) {
    it(`gives a batch ${quant === 'u4' ? 'the same but for rounding' : 'the same bits'} alone and merged with others (${quant})`, async () => {
      const bundle = await synthetic(quant)
      const host = await load({ bundle, blocks: bundle.blocks })
      const batches = Array.from({ length: 9 }, (_, i) => batchOf(bundle, 1, EXPERTS.map(expert => (expert + i % 3) % bundle.config.experts)))
      const alone: Float32Array[] = []
      for (const batch of batches) alone.push((await host.compute(batch)).sum)
      const together = await Promise.all(batches.map(async batch => (await host.compute(batch)).sum))
      for (const [i, sum] of together.entries()) {
        if (quant !== 'u4') assert.deepEqual([...sum], [...alone[i]], `batch ${i}`)
        // onnxruntime adds up blocks of 64 in another order for one row than for several.
        else for (const [k, value] of sum.entries()) assert.ok(Math.abs(value - alone[i][k]) < 1e-5, `batch ${i}, value ${k}`)
      }
    })
  }

  it('gives the same bits with the calling thread among its threads, and lets go of its experts', async () => {
    const bundle = await synthetic('q8')
    const batch = batchOf(bundle, 1, EXPERTS)
    const workers = await load({ bundle, blocks: bundle.blocks })
    const own = await load({ bundle, blocks: bundle.blocks, inOwnThread: true })
    const [expected, ...sums] = await Promise.all([workers.compute(batch), own.compute(batch), own.compute(batch), own.compute(batch)])
    for (const { sum } of sums) assert.deepEqual(sum, expected.sum)
    await own.stop()
    await assert.rejects(own.compute(batch), error => isSwarmError(error, 'aborted'))
  })

  it('stops in the middle of jobs, and the process lives on', async () => {
    const bundle = await synthetic('f32')
    for (let stops = 0; stops < 10; stops++) {
      const host = await load({ bundle, blocks: bundle.blocks.filter(({ layer }) => layer === 0) })
      const computing = Promise.allSettled(Array.from({ length: 40 }, async () => await host.compute(batchOf(bundle, 0, EXPERTS, 64))))
      await sleep(stops)
      await host.stop()
      const aborted = (await computing).filter(result => result.status === 'rejected' && isSwarmError(result.reason, 'aborted'))
      assert.ok(aborted.length > 0)
    }
  })

  it('says before it loads that memory is not enough', async () => {
    const bundle = await synthetic('q4')
    const bytes = expertHostBytes(bundle, bundle.blocks)
    await assert.rejects(load({ bundle, blocks: bundle.blocks, memoryLimit: bytes - 1 }), (error: unknown) =>
      error instanceof ModelError && error.code === 'no-memory' && error.data.neededBytes === bytes && /take .* of memory/.test(error.message))
    const host = await load({ bundle, blocks: bundle.blocks.slice(1), memoryLimit: bytes - 1 })
    await assert.rejects(host.add(bundle.blocks), (error: unknown) => error instanceof ModelError && error.code === 'no-memory')
    assert.equal(host.blocks.length, bundle.blocks.length - 1)
  })

  it('takes about the memory that it predicts', async function () {
    if (process.platform !== 'linux') this.skip()
    const { dir } = await synthetic('f32', MANY_LAYERS)
    const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(new URL('../fixtures/host-memory.js', import.meta.url)), dir])
    const { workersBytes, blocksBytes, predictedBytes } = JSON.parse(stdout) as Record<string, number>
    assert.ok(workersBytes < 2 * hostBaseBytes(2), `the workers took ${workersBytes} bytes`)
    assert.ok(blocksBytes < 1.15 * predictedBytes && blocksBytes > 0.5 * predictedBytes, `${blocksBytes} bytes, ${predictedBytes} predicted`)
  })

  it('refuses a damaged block and goes on with the others', async () => {
    const dir = join(scratch, 'damaged')
    await cp((await synthetic('q4')).dir, dir, { recursive: true })
    const bundle = await Bundle.open(dir)
    const [damaged, ...sound] = bundle.blocks
    const file = await open(bundle.path(damaged.file), 'r+')
    await file.write(new Uint8Array([255, 254, 253]), 0, 3, 1000)
    await file.close()
    const host = await load({ bundle, blocks: sound })
    await assert.rejects(host.add([damaged]), (error: unknown) => error instanceof ModelError && error.code === 'hash-mismatch' && error.message.includes(damaged.file))
    assert.equal(host.blocks.length, sound.length)
    await host.compute(batchOf(bundle, 1, EXPERTS))
  })

  it('says why when its workers cannot start', async () => {
    const out = join(scratch, 'dying')
    await cp((await synthetic('q8')).dir, out, { recursive: true })
    const bundle = await Bundle.open(out)
    // Workers read it when they start; the error is none that a request has, so it ends their thread.
    await writeFile(join(out, 'manifest.json'), 'no manifest')
    await assert.rejects(load({ bundle, blocks: bundle.blocks }), /manifest\.json/)
  })

  it('starts twice at once, leaves no scratch files, and removes those of the dead', async () => {
    const bundle = await synthetic('q8')
    const dead = join(bundle.dir, '.scales-4194305-0000.tmp') // no process has this id: Linux ends at 2^22
    const alive = join(bundle.dir, `.scales-${process.pid}-0000.tmp`)
    await writeFile(dead, '')
    await writeFile(alive, '')
    const started = await Promise.all([load({ bundle, blocks: bundle.blocks }), load({ bundle, blocks: bundle.blocks })])
    const batch = batchOf(bundle, 0, EXPERTS)
    const [one, two] = await Promise.all(started.map(async host => (await host.compute(batch)).sum))
    assert.deepEqual(one, two)
    assert.deepEqual(await scratchFiles(bundle), [`.scales-${process.pid}-0000.tmp`])
    await rm(alive)
  })
})

async function scratchFiles (bundle: Bundle): Promise<string[]> {
  return (await readdir(bundle.dir)).filter(name => name.startsWith('.scales'))
}

/** Every token asks all of `experts`. */
function batchOf ({ config: { hiddenSize } }: Bundle, layer: number, experts: number[], tokens = ROWS): ExpertBatch {
  return {
    layer, tokens,
    hidden: Float32Array.from({ length: tokens * hiddenSize }, (_, i) => Math.sin(i * 1.7) * 2),
    counts: new Uint16Array(tokens).fill(experts.length),
    experts: Uint16Array.from({ length: tokens * experts.length }, (_, i) => experts[i % experts.length]),
    weights: Float32Array.from({ length: tokens * experts.length }, (_, i) => 0.1 + 0.05 * (i % 7))
  }
}

/** In double precision: sum over experts of weight * down(gelu(gate x) * up x). */
async function plainSum (bundle: Bundle, { layer, hidden, experts, weights }: ExpertBatch): Promise<Float64Array> {
  const { hiddenSize: H, expertIntermediateSize: I } = bundle.config
  const sum = new Float64Array(ROWS * H)
  const each = experts.length / ROWS
  for (let at = 0; at < experts.length; at++) {
    const row = Math.floor(at / each)
    const block = bundle.blocks.find(b => b.layer === layer && experts[at] >= b.firstExpert && experts[at] < b.firstExpert + b.experts)!
    const { gateUp, down } = bundle.experts(block).find(({ expert }) => expert === experts[at])!
    const both = multiply(await decoded(bundle, gateUp), hidden.subarray(row * H, (row + 1) * H), 2 * I)
    const activated = both.slice(0, I).map((gate, i) => gelu(gate) * both[I + i])
    multiply(await decoded(bundle, down), activated, H).forEach((value, i) => { sum[row * H + i] += weights[at] * value })
  }
  return sum
}

async function decoded (bundle: Bundle, entry: TensorEntry): Promise<Float32Array> {
  const [rows, columns] = entry.shape
  return decodeRows(entry.format, await bundle.read(entry), columns, 0, rows)
}

function multiply (matrix: Float32Array, x: ArrayLike<number>, rows: number): Float64Array {
  const out = new Float64Array(rows)
  for (let r = 0; r < rows; r++) for (let c = 0; c < x.length; c++) out[r] += matrix[r * x.length + c] * x[c]
  return out
}

function gelu (x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
}
