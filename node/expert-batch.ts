import type { ExpertBatch } from '../swarm/index.js'

/** One batch of a layer with the tokens of all, in this order, and the names of all texts. */
export function merged (batches: ExpertBatch[]): ExpertBatch {
  const join = <T extends Float32Array | Uint16Array>(into: T, parts: T[]): T => {
    let at = 0
    for (const part of parts) {
      into.set(part, at)
      at += part.length
    }
    return into
  }
  const total = (of: (batch: ExpertBatch) => number): number => batches.reduce((sum, batch) => sum + of(batch), 0)
  const assignments = total(({ experts }) => experts.length)
  const tokens = total(batch => batch.tokens)
  const traceIds = [...new Set(batches.flatMap(({ traceIds = [] }) => traceIds))]
  return {
    layer: batches[0].layer,
    tokens,
    hidden: join(new Float32Array(total(({ hidden }) => hidden.length)), batches.map(({ hidden }) => hidden)),
    counts: join(new Uint16Array(tokens), batches.map(({ counts }) => counts)),
    experts: join(new Uint16Array(assignments), batches.map(({ experts }) => experts)),
    weights: join(new Float32Array(assignments), batches.map(({ weights }) => weights)),
    ...traceIds.length > 0 && { traceIds }
  }
}

/** A batch in parts of at most `tokens`, in order. */
export function sliced (batch: ExpertBatch, tokens: number): ExpertBatch[] {
  if (batch.tokens <= tokens) return [batch]
  const H = batch.hidden.length / batch.tokens
  const slices: ExpertBatch[] = []
  for (let first = 0, from = 0; first < batch.tokens; first += tokens) {
    const counts = batch.counts.subarray(first, first + tokens)
    const to = from + counts.reduce((sum, count) => sum + count, 0)
    slices.push({
      layer: batch.layer, tokens: counts.length, counts,
      hidden: batch.hidden.subarray(first * H, (first + counts.length) * H),
      experts: batch.experts.subarray(from, to),
      weights: batch.weights.subarray(from, to)
    })
    from = to
  }
  return slices
}
