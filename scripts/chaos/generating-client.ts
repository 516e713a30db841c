import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type GenerateInit, SwarmClient, type SwarmClientInit } from '../../node/index.js'
import { DEMO_CHECKPOINT } from '../demo-bundle.js'

const TOKENS = 64
const OPTIONS: GenerateInit = { maxTokens: TOKENS, stopTokenIds: [], draft: 'none', sampling: { temperature: 0, topK: 0, topP: 1, seed: 0 } }

/** A prompt, and what the model writes after it when nobody else is asked. */
export interface Story {
  prompt: number[]
  expected: number[]
}

export interface Failure {
  atMs: number
  code: string
  message: string
}

/** Opens a client with all experts in this process. */
export async function openLocalClient (model: string): Promise<SwarmClient> {
  return await SwarmClient.open({ model, localLayers: 'all', threads: 1, reusePrefixes: false, draft: 'none' })
}

/** The demo model's prompts, continued greedily with all experts in this process. */
export async function localStories (model: string, signal?: AbortSignal): Promise<Story[]> {
  const { prompts } = JSON.parse(await readFile(join(DEMO_CHECKPOINT, 'reference.json'), 'utf8')) as { prompts: Array<{ ids: number[] }> }
  const client = await openLocalClient(model)
  try {
    const stories: Story[] = []
    for (const { ids: prompt } of prompts) {
      const expected: number[] = []
      for await (const event of client.generate(prompt, { ...OPTIONS, signal })) if (event.type === 'token') expected.push(event.id)
      stories.push({ prompt, expected })
    }
    return stories
  } finally {
    await client.close()
  }
}

/** Opens a client of the swarm that computes no experts itself; in fp32, so that its texts must be the local ones. */
export async function openSwarmClient (model: string, bootstrap: string[], init: Pick<SwarmClientInit, 'audit' | 'copyMemory' | 'signal' | 'onEvent'> = {}): Promise<SwarmClient> {
  return await SwarmClient.open({ model, bootstrap, wire: 'fp32', threads: 1, reusePrefixes: false, draft: 'none', ...init })
}

/** Generates the stories over and over, and compares each token. */
export class GeneratingClient {
  tokens = 0
  differing = 0
  generations = 0
  readonly failures: Failure[] = []

  /** `onToken` is told when each token came, as a time of performance.now(), and the milliseconds since the one before, or the story's beginning. */
  constructor (private readonly client: SwarmClient, private readonly stories: readonly Story[], private readonly onToken: (atMs: number, gapMs: number) => void) {}

  /** Returns at the signal; a generation that fails is noted, and the next one begins. `pauseMs` between two tokens; `afterStory` is waited for. */
  async run (signal: AbortSignal, { pauseMs = 0, afterStory }: { pauseMs?: number, afterStory?: () => Promise<void> } = {}): Promise<void> {
    for (let at = 0; !signal.aborted; at++) {
      try {
        await this.tell(this.stories[at % this.stories.length], signal, pauseMs)
        this.generations++
        await afterStory?.()
      } catch (error) {
        if (signal.aborted) return
        const { code = 'unknown', message } = error as Error & { code?: string }
        this.failures.push({ atMs: performance.now(), code, message })
      }
    }
  }

  /** One story, as far as its expected tokens go, with a pause behind each. */
  async tell ({ prompt, expected }: Story, signal: AbortSignal, pauseMs = 0): Promise<void> {
    let place = 0
    let beforeMs = performance.now()
    for await (const event of this.client.generate(prompt, { ...OPTIONS, maxTokens: expected.length, signal })) {
      if (event.type !== 'token') continue
      const nowMs = performance.now()
      this.tokens++
      if (event.id !== expected[place++]) this.differing++
      this.onToken(nowMs, nowMs - beforeMs)
      if (pauseMs > 0) await new Promise(resolve => setTimeout(resolve, pauseMs))
      beforeMs = performance.now()
    }
  }
}
