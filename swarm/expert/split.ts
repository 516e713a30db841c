import type { ExpertBatch } from '../interface.js'
import type { RequestPart } from './codec.js'

/** A whole batch as one part, nothing of which is copied; without the tokens that ask for no expert, where there are such. */
export function wholePart ({ layer, tokens, hidden, counts, experts, weights }: ExpertBatch): RequestPart {
  if (!counts.includes(0)) return { layer, tokens, hidden, counts, experts, weights }
  const rows = Uint32Array.from(counts.keys()).filter(row => counts[row] > 0)
  return { layer, tokens: rows.length, hidden, rows, counts: counts.filter(count => count > 0), experts, weights }
}

/** The assignments of `part` to the experts marked in `mine` [experts], and only the tokens that have any. Pure. */
export function partOf (part: RequestPart, mine: Uint8Array): RequestPart {
  const rows: number[] = []
  const counts: number[] = []
  const places: number[] = []
  for (let t = 0, at = 0; t < part.tokens; t++) {
    const before = places.length
    for (const end = at + part.counts[t]; at < end; at++) {
      if (mine[part.experts[at]] === 1) places.push(at)
    }
    if (places.length > before) {
      rows.push(part.rows == null ? t : part.rows[t])
      counts.push(places.length - before)
    }
  }
  return {
    layer: part.layer,
    tokens: rows.length,
    hidden: part.hidden,
    rows: Uint32Array.from(rows),
    counts: Uint16Array.from(counts),
    experts: Uint16Array.from(places, at => part.experts[at]),
    weights: Float32Array.from(places, at => part.weights[at])
  }
}

/** `part` cut between tokens into pieces for which `fits` is true; a single token is never cut. Pure. */
export function chunksOf (part: RequestPart, fits: (tokens: number, assignments: number) => boolean): RequestPart[] {
  if (fits(part.tokens, part.experts.length)) return [part]
  const rows = part.rows ?? Uint32Array.from({ length: part.tokens }, (_, row) => row)
  const chunks: RequestPart[] = []
  let token = 0
  let at = 0
  while (token < part.tokens) {
    let endToken = token + 1
    let end = at + part.counts[token]
    while (endToken < part.tokens && fits(endToken + 1 - token, end + part.counts[endToken] - at)) end += part.counts[endToken++]
    chunks.push({
      layer: part.layer,
      tokens: endToken - token,
      hidden: part.hidden,
      rows: rows.subarray(token, endToken),
      counts: part.counts.subarray(token, endToken),
      experts: part.experts.subarray(at, end),
      weights: part.weights.subarray(at, end)
    })
    token = endToken
    at = end
  }
  return chunks
}

/** A part and its partial sum [part's tokens, hidden size]. */
export interface PartSum {
  part: RequestPart
  sum: Float32Array
}

/**
 * The sum over all parts, [tokens, hiddenSize]. Parts are added by ascending lowest expert, then by first row, so that the result
 * does not depend on the order of arrival. Pure, but for a single part of the whole batch: that one's sum is returned itself.
 */
export function combine (parts: PartSum[], tokens: number, hiddenSize: number): Float32Array {
  if (parts.length === 1 && parts[0].part.rows == null) return parts[0].sum
  const ordered = parts
    .map(({ part, sum }) => ({ part, sum, expert: lowest(part.experts), row: part.rows?.[0] ?? 0 }))
    .sort((a, b) => a.expert - b.expert || a.row - b.row)
  const total = new Float32Array(tokens * hiddenSize)
  for (const { part, sum } of ordered) {
    for (let t = 0; t < part.tokens; t++) {
      const target = (part.rows == null ? t : part.rows[t]) * hiddenSize
      const source = t * hiddenSize
      for (let i = 0; i < hiddenSize; i++) total[target + i] += sum[source + i]
    }
  }
  return total
}

function lowest (values: Uint16Array): number {
  let least = Infinity
  for (let i = 0; i < values.length; i++) {
    if (values[i] < least) least = values[i]
  }
  return least
}
