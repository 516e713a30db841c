import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { ModelError } from '../../model-tools/index.js'
import { asSwarmError } from '../../swarm/index.js'
import { mutated, Random } from './random.js'
import { FuzzFinding, type FuzzTarget } from './target.js'
import { allocationBound, digestOf } from './targets.js'

/** No input may take longer, whatever it is. Other processes may hold this one up, so a slow input is tried again by what it takes of the CPU. */
const MAX_INPUT_MS = 100
const SLOW_TRIES = 5
/** Most of a random input is read as what it claims to be in its first bytes. */
const MAX_RANDOM_BYTES = 200
/** Inputs between two looks at the memory of all. */
const MEMORY_CHECK_INPUTS = 20_000
const MAX_GROWTH_BYTES = 256 * 1024 * 1024
/** Else a large heap's garbage, which nobody has collected yet, would count as growth. */
setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

export interface FuzzResult {
  target: string
  inputs: number
  accepted: number
  /** Refusals by their code. */
  refused: Record<string, number>
  /** The slowest input, in milliseconds, at its best try. */
  slowestMs: number
  /** What did not hold; empty is what we want. */
  findings: Array<{ input: string, hex: string, what: string }>
  seconds: number
}

/** Feeds a decoder with inputs, six in ten of them valid ones that were changed, one valid, the rest random. Stops after ten findings. */
export async function fuzz (target: FuzzTarget, inputs: number, seed: number): Promise<FuzzResult> {
  const random = new Random(seed)
  const pool = await Promise.all(Array.from({ length: 500 }, async () => await target.valid(random)))
  const result: FuzzResult = { target: target.name, inputs: 0, accepted: 0, refused: {}, slowestMs: 0, findings: [], seconds: 0 }
  const startedAt = performance.now()
  const before = bytesInUse()
  for (; result.inputs < inputs && result.findings.length < 10; result.inputs++) {
    const input = nextInput(target, random, pool)
    const what = await tryOne(target, input, result)
    if (what !== undefined) result.findings.push({ input: digestOf(input), hex: Buffer.from(input.subarray(0, 200)).toString('hex'), what })
    if (result.inputs % MEMORY_CHECK_INPUTS === MEMORY_CHECK_INPUTS - 1) {
      const growth = bytesInUse() - before
      if (growth > MAX_GROWTH_BYTES) result.findings.push({ input: '', hex: '', what: `memory grew by ${growth} bytes` })
    }
  }
  result.seconds = (performance.now() - startedAt) / 1_000
  return result
}

/** Of the heap and of buffers outside it, without garbage. */
function bytesInUse (): number {
  collectGarbage()
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics()
  return heap + external
}

function nextInput (target: FuzzTarget, random: Random, pool: readonly Uint8Array[]): Uint8Array {
  const way = random.below(10)
  if (way < 6) return mutated(random, random.of(pool), () => random.of(pool))
  if (way === 6) return random.of(pool)
  const bytes = random.bytes(random.below(MAX_RANDOM_BYTES))
  if (target.kinds !== undefined && bytes.length > 0 && random.chance(0.8)) bytes[0] = random.of(target.kinds)
  return bytes
}

async function tryOne (target: FuzzTarget, input: Uint8Array, result: FuzzResult): Promise<string | undefined> {
  const before = getHeapStatistics().external_memory
  const startedAt = performance.now()
  const outcome = await decode(target, input)
  let tookMs = performance.now() - startedAt
  // The collector may have freed in between: that only hides, and the same shape comes again.
  const taken = getHeapStatistics().external_memory - before
  for (let tries = 1; tookMs > MAX_INPUT_MS && tries < SLOW_TRIES; tries++) {
    const again = process.cpuUsage()
    await decode(target, input)
    const { user, system } = process.cpuUsage(again)
    tookMs = Math.min(tookMs, (user + system) / 1_000)
  }
  result.slowestMs = Math.max(result.slowestMs, tookMs)
  if (outcome.finding !== undefined) return outcome.finding
  if (outcome.code === undefined) result.accepted++
  else result.refused[outcome.code] = (result.refused[outcome.code] ?? 0) + 1
  if (tookMs > MAX_INPUT_MS) return `it took ${tookMs.toFixed(0)} ms`
  const bound = allocationBound(target, input.byteLength)
  if (outcome.bytes > bound || taken > bound) return `it took ${Math.max(outcome.bytes, taken)} bytes of memory for ${input.byteLength} of input`
  return undefined
}

async function decode (target: FuzzTarget, input: Uint8Array): Promise<{ bytes: number, code?: string, finding?: string }> {
  try {
    const bytes = target.decode(input)
    return { bytes: typeof bytes === 'number' ? bytes : await bytes }
  } catch (error) {
    const code = asSwarmError(error)?.code ?? (error instanceof ModelError ? error.code : undefined)
    if (code !== undefined) return { bytes: 0, code }
    if (error instanceof FuzzFinding) return { bytes: 0, finding: error.message }
    const refused = error instanceof Error ? target.refusal?.(error) : undefined
    if (refused !== undefined) return { bytes: 0, code: refused }
    return { bytes: 0, finding: `it threw ${error instanceof Error ? error.stack ?? error.message : String(error)}` }
  }
}
