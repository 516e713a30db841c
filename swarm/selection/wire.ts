import * as limits from '../constants.js'
import type { WireChoice, WireDtype } from '../interface.js'
import type { LatencyEstimate, RequestSize } from './latency.js'

/** What a stream agrees on and every peer of the model must take. */
export function baseWire (choice: WireChoice): WireDtype {
  return choice === 'auto' ? 'fp16' : choice
}

/**
 * The form of one request: what the user asked for, or for 'auto' int8 where the measured bandwidth makes fp16 cost a clear part of the request's time,
 * and fp16 elsewhere. `bytesIn` is the size of request and reply together in a form.
 */
export function wireOf (choice: WireChoice, taken: readonly WireDtype[], latency: LatencyEstimate, size: RequestSize, bytesIn: (dtype: WireDtype) => number): WireDtype {
  const base = baseWire(choice)
  if (choice !== 'auto' || !taken.includes('int8')) return base
  const savedMs = latency.transferMs(bytesIn(base)) - latency.transferMs(bytesIn('int8'))
  if (savedMs < limits.WIRE_MIN_GAIN_MS) return base
  return savedMs >= limits.WIRE_MIN_GAIN * latency.expectedMs({ ...size, bytes: bytesIn(base) }) ? 'int8' : base
}
