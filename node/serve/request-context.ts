import type { ServerResponse } from 'node:http'
import type { GenerateEvent, Generation } from '../client/generate.js'
import type { GenerateInit, SwarmClient } from '../swarm-client.js'
import type { Admission } from './admission.js'
import type { ModelNames } from './model-names.js'
import type { CommonRequest } from './request-schema.js'
import type { GenerationTraces } from '../trace/index.js'
import type { TrafficMonitor } from './traffic-monitor.js'

/** What the handlers of one server share. */
export interface ApiContext {
  client: SwarmClient
  monitor: TrafficMonitor
  onGenerate?: (event: GenerateEvent) => void
  traces?: GenerationTraces
  names: ModelNames
  admission: Admission
  /** Tokens of one text at most, whatever the request says. */
  maxTokens: number
  /** Whether what a peer that lied had a part in is computed again. */
  paranoid: boolean
  /** Of all answers: tells builds and models apart. */
  fingerprint: string
}

/** One request to a handler. */
export interface ApiCall {
  body: object
  response: ServerResponse
  traceId: string
  /** Aborts when the client has left or the server ends. */
  signal: AbortSignal
}

/** How a request's options read in our terms, for its choice number `choice`: each choice has a seed of its own. */
export function generateOptions (request: CommonRequest, maxTokens: number | undefined, context: ApiContext, signal: AbortSignal, choice: number): GenerateInit {
  return {
    maxTokens: Math.min(maxTokens ?? Infinity, context.maxTokens),
    stop: request.stop,
    paranoid: context.paranoid,
    sampling: {
      temperature: request.temperature,
      topP: request.top_p,
      topK: request.top_k,
      seed: request.seed === undefined ? undefined : request.seed + choice
    },
    signal
  }
}

export interface Usage {
  prompt_tokens: number
  completion_tokens: number
  total_tokens: number
  /** Of the prompt's tokens, those that an earlier request's cache held. */
  prompt_tokens_details: { cached_tokens: number }
}

/** Of the answers to one prompt each; `n` answers to the same prompt count it once. */
export function usage (generations: readonly Generation[], n: number): Usage {
  const sum = (numbers: number[]): number => numbers.reduce((all, each) => all + each, 0)
  const firsts = generations.filter((_, index) => index % n === 0)
  const promptTokens = sum(firsts.map(generation => generation.promptTokens.length))
  const completionTokens = sum(generations.map(({ tokens }) => tokens.length))
  const cachedTokens = sum(firsts.map(({ cachedTokens }) => cachedTokens))
  return { prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: promptTokens + completionTokens, prompt_tokens_details: { cached_tokens: cachedTokens } }
}

export function sendJson (response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  const text = JSON.stringify(body)
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(text), ...headers })
  response.end(text)
}

/** Runs the jobs at a time; the first failure ends the others. Rejects with it when all have come to rest. */
export async function together<T> (jobs: Array<(signal: AbortSignal) => Promise<T>>, signal: AbortSignal): Promise<T[]> {
  const failed = new AbortController()
  const any = AbortSignal.any([signal, failed.signal])
  const results = await Promise.allSettled(jobs.map(async job => {
    try {
      return await job(any)
    } catch (error) {
      // The first one only: a controller keeps its first reason.
      failed.abort(error)
      throw error
    }
  }))
  if (failed.signal.aborted) throw failed.signal.reason
  return results.flatMap(result => result.status === 'fulfilled' ? [result.value] : [])
}
