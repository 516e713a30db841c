import assert from 'node:assert/strict'
import { chunksOf, combine, partOf, wholePart } from '../../../swarm/expert/split.js'
import { batchOf } from '../fixtures/batches.js'
import { expectedSum } from '../fixtures/fake-compute.js'
import type { RequestPart } from '../../../swarm/expert/codec.js'

const HIDDEN = 3

function mark (...experts: number[]): Uint8Array {
  const mine = new Uint8Array(8)
  for (const expert of experts) mine[expert] = 1
  return mine
}

/** What a peer would answer. */
function compute (part: RequestPart): Float32Array {
  const hidden = Float32Array.from({ length: part.tokens * HIDDEN }, (_, i) => part.hidden[(part.rows?.[Math.floor(i / HIDDEN)] ?? Math.floor(i / HIDDEN)) * HIDDEN + i % HIDDEN])
  return expectedSum({ layer: part.layer, tokens: part.tokens, hidden, counts: part.counts, experts: part.experts, weights: part.weights })
}

describe('splitting a batch', () => {
  const batch = batchOf(0, HIDDEN, [[0, 5], [], [7], [5, 1, 0]])

  it('sends a peer only the tokens that need it', () => {
    const part = partOf(wholePart(batch), mark(0, 7))
    assert.deepEqual([...part.rows ?? []], [0, 2, 3])
    assert.deepEqual([...part.counts], [1, 1, 1])
    assert.deepEqual([...part.experts], [0, 7, 0])
    assert.deepEqual([...part.weights], [batch.weights[0], batch.weights[2], batch.weights[5]])
  })

  it('splits a part of a part', () => {
    const part = partOf(partOf(wholePart(batch), mark(0, 1, 7)), mark(7, 1))
    assert.deepEqual([...part.rows ?? []], [2, 3])
    assert.deepEqual([...part.experts], [7, 1])
  })

  it('keeps a batch that fits', () => {
    const part = wholePart(batch)
    assert.deepEqual(chunksOf(part, () => true), [part])
  })

  it('cuts between tokens, at the limit', () => {
    const chunks = chunksOf(wholePart(batch), (tokens, assignments) => tokens <= 2 && assignments <= 3)
    assert.deepEqual(chunks.map(({ rows }) => [...rows ?? []]), [[0, 2], [3]])
    assert.deepEqual(chunks.map(({ experts }) => [...experts]), [[0, 5, 7], [5, 1, 0]])
  })

  it('gives the same sum for any split, in any order of arrival', () => {
    const parts = [mark(0, 1), mark(5), mark(7)].flatMap(mine => chunksOf(partOf(wholePart(batch), mine), tokens => tokens <= 2))
    const sums = parts.map(part => ({ part, sum: compute(part) }))
    const total = combine(sums, batch.tokens, HIDDEN)
    const expected = expectedSum(batch)
    total.forEach((value, i) => { assert.ok(Math.abs(value - expected[i]) < 1e-6) })
    assert.deepEqual(combine([...sums].reverse(), batch.tokens, HIDDEN), total)
  })

  it('does not copy the sum of a single peer, and sends no token that asks for nothing', () => {
    const full = batchOf(0, HIDDEN, [[0, 5], [7]])
    const sum = compute(wholePart(full))
    assert.equal(combine([{ part: wholePart(full), sum }], full.tokens, HIDDEN), sum)
    assert.equal(wholePart(full).rows, undefined)
    assert.deepEqual([...wholePart(batch).rows ?? []], [0, 2, 3])
  })
})
