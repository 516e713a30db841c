import type { Generation } from '../client/generate.js'
import type { LapTimes } from '../client/lap-profile.js'
import type { LayerEvent } from '../client/observation.js'

/** Weight of the newest lap in a layer's means: about the last ten laps count. */
const SMOOTHING = 0.2

/** What passed through a layer. Times in milliseconds, smoothed; of one lap, waiting for experts included. */
export interface LayerTraffic {
  layer: number
  /** Laps since the start. */
  laps: number
  tokens: number
  ms: number
  networkMs: number
  queueMs: number
  serviceMs: number
}

/** A generation that runs. */
export interface RunningGeneration {
  id: number
  promptTokens: number
  /** Prompt tokens that are through. */
  prefilled: number
  tokens: number
  /** Of the tokens so far; 0 before the second one. */
  tokensPerSecond: number
}

/** The last generation that came to its end. */
export interface FinishedGeneration {
  promptTokens: number
  tokens: number
  tokensPerSecond: number
  firstTokenMs: number
  lap: LapTimes
}

/** How a generation tells the monitor of itself. */
export interface Watched {
  prefill: (done: number) => void
  token: () => void
  done: (generation: Generation) => void
  end: () => void
}

/** Keeps what a view of the running generations shows. Give its `onLayer` to SwarmClient.open. */
export class TrafficMonitor {
  private readonly byLayer: LayerTraffic[] = []
  private readonly generations = new Map<number, RunningGeneration>()
  private count = 0
  private finished?: FinishedGeneration

  readonly onLayer = (event: LayerEvent): void => {
    const { layer, tokens } = event
    const traffic = this.byLayer[layer] ??= { layer, laps: 0, tokens: 0, ms: 0, networkMs: 0, queueMs: 0, serviceMs: 0 }
    if (event.type === 'asked') {
      traffic.laps++
      traffic.tokens += tokens
      return
    }
    const smooth = (mean: number, value: number): number => mean === 0 ? value : mean + SMOOTHING * (value - mean)
    traffic.ms = smooth(traffic.ms, event.ms)
    for (const part of ['networkMs', 'queueMs', 'serviceMs'] as const) traffic[part] = smooth(traffic[part], event.timing[part])
  }

  begin (promptTokens: number): Watched {
    const running: RunningGeneration = { id: this.count++, promptTokens, prefilled: 0, tokens: 0, tokensPerSecond: 0 }
    this.generations.set(running.id, running)
    let firstAt = 0
    return {
      prefill: done => { running.prefilled = done },
      token: () => {
        const now = performance.now()
        if (running.tokens === 0) firstAt = now
        else running.tokensPerSecond = running.tokens / (now - firstAt) * 1000
        running.tokens++
      },
      done: ({ tokens, tokensPerSecond, firstTokenMs, lap }) => {
        this.finished = { promptTokens, tokens: tokens.length, tokensPerSecond, firstTokenMs, lap }
      },
      end: () => { this.generations.delete(running.id) }
    }
  }

  /** By layer, of the layers that had traffic. */
  layers (): LayerTraffic[] { return this.byLayer.filter(layer => layer !== undefined) }
  running (): RunningGeneration[] { return [...this.generations.values()] }
  last (): FinishedGeneration | undefined { return this.finished }
}
