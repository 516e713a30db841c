import { once } from 'node:events'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { LapTimes } from '../../node/client/lap-profile.js'
import { type Generation, SwarmClient, type SwarmClientInit } from '../../node/index.js'
import type { Measurement, Work } from './decode-measurement.js'
import { processMemory } from './process-memory.js'

// Our client in a process of its own: `node decode-client.js JOB` prints a Measurement. The rest of this file is how others start it.

const PROMPT = 'the sun went down over the harbour and'
const WARM_UP_TOKENS = 8
const GREEDY = { temperature: 0, topK: 0, topP: 1, seed: 0 }

/** What the process is told. */
export interface ClientJob {
  client: Pick<SwarmClientInit, 'model' | 'bootstrap' | 'localLayers' | 'threads'>
  work: Omit<Work, 'signal'>
}

export async function runClientProcess (job: ClientJob, signal?: AbortSignal): Promise<Measurement> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), JSON.stringify(job)], { stdio: ['ignore', 'pipe', 'pipe'], signal })
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { errors = (errors + chunk.toString()).slice(-4000) })
  const [code] = await once(child, 'close') as [number | null]
  if (code !== 0) throw new Error(`our client ended with ${code}:\n${errors}`)
  return JSON.parse(output) as Measurement
}

async function measure ({ client: init, work: { tokens, repeats, prefill } }: ClientJob): Promise<Measurement> {
  const started = performance.now()
  const client = await SwarmClient.open({ ...init, reusePrefixes: false })
  const loadSeconds = (performance.now() - started) / 1000
  try {
    const prompt = client.encode(PROMPT)
    const measured: Measurement & { laps: { decode: LapTimes[], prefill: Record<string, LapTimes> } } = { loadSeconds, decode: [], prefill: {}, processes: [], laps: { decode: [], prefill: {} } }
    for (const length of prefill) {
      const ids = randomTokens(length, client.config.vocabSize)
      await generate(client, ids, 1) // warms up: graphs see this length for the first time
      const { firstTokenMs, prefillLap } = await generate(client, randomTokens(length, client.config.vocabSize), 1)
      measured.prefill[length] = [length / firstTokenMs * 1000]
      measured.laps.prefill[length] = prefillLap
    }
    await generate(client, prompt, WARM_UP_TOKENS)
    for (let i = 0; i < repeats; i++) {
      const { tokensPerSecond, lap } = await generate(client, prompt, tokens)
      measured.decode.push(tokensPerSecond)
      measured.laps.decode.push(lap)
    }
    measured.processes.push({ name: 'client', memory: await processMemory('self') })
    return measured
  } finally {
    await client.close()
  }
}

function randomTokens (count: number, vocabSize: number): number[] {
  return Array.from({ length: count }, () => Math.floor(Math.random() * vocabSize))
}

async function generate (client: SwarmClient, ids: number[], maxTokens: number): Promise<Generation> {
  for await (const event of client.generate(ids, { maxTokens, stopTokenIds: [], sampling: GREEDY, draft: 'none' })) if (event.type === 'done') return event.generation
  throw new Error('the generation ended without a result')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdout.write(JSON.stringify(await measure(JSON.parse(process.argv[2]) as ClientJob)))
}
