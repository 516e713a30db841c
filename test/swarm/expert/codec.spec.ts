import assert from 'node:assert/strict'
import * as limits from '../../../swarm/constants.js'
import { asSwarmError, type SwarmErrorCode } from '../../../swarm/errors.js'
import { decodeClientFrame, decodePeerFrame, decodeReplyRows, encodeCancel, encodeError, encodeReply, encodeRequest, readFrameId, replyBytes, requestBytes } from '../../../swarm/expert/codec.js'
import type { WireDtype } from '../../../swarm/interface.js'
import { MAX_TRACE_LINKS } from '../../../swarm/trace-context.js'
import { batchOf } from '../fixtures/batches.js'
import { seeded } from '../../../scripts/seeded.js'

const HIDDEN = 6
const BOUNDS = { hiddenSize: HIDDEN, experts: 16, layers: 4, maxTokens: 8 }
const DTYPES: WireDtype[] = ['fp32', 'fp16', 'int8']

/** The frame without its length prefix, in memory of its own so that a test may change it. */
function unframed (framed: Uint8Array): Uint8Array {
  let at = 0
  while ((framed[at] & 0x80) !== 0) at++
  return framed.slice(at + 1)
}

function request (experts = [[0, 15], [], [3]], dtype: WireDtype = 'fp32'): Uint8Array {
  return unframed(encodeRequest(7, dtype, batchOf(2, HIDDEN, experts), HIDDEN))
}

function codeOf (decode: () => unknown): SwarmErrorCode | undefined {
  try {
    decode()
  } catch (error) {
    return asSwarmError(error)?.code ?? assert.fail(`threw ${String(error)}`)
  }
  return undefined
}

function changed (frame: Uint8Array, change: (view: DataView, frame: Uint8Array) => void): Uint8Array {
  const copy = frame.slice()
  change(new DataView(copy.buffer), copy)
  return copy
}

describe('expert frames', () => {
  for (const dtype of DTYPES) {
    const tolerance = { fp32: 0, fp16: 2 ** -11, int8: 1 / 127 }[dtype]

    it(`carry a request in ${dtype}`, () => {
      const batch = batchOf(2, HIDDEN, [[0, 15], [], [3]])
      const frame = request(undefined, dtype)
      assert.equal(frame.byteLength, requestBytes(dtype, 3, 3, HIDDEN))
      const decoded = decodeClientFrame(frame, BOUNDS)
      assert.ok(decoded.kind === 'request')
      assert.deepEqual({ ...decoded.batch, hidden: undefined, id: decoded.id, dtype: decoded.dtype }, { ...batch, hidden: undefined, id: 7, dtype })
      decoded.batch.hidden.forEach((value, i) => { assert.ok(Math.abs(value - batch.hidden[i]) <= tolerance, `${value} for ${batch.hidden[i]}`) })
    })

    it(`carry a trace behind a request in ${dtype}`, () => {
      const trace = { traceId: '0123456789abcdef'.repeat(2), spanId: 'fedcba9876543210' }
      const frame = unframed(encodeRequest(7, dtype, batchOf(2, HIDDEN, [[0, 15], [], [3]]), HIDDEN, trace))
      const decoded = decodeClientFrame(frame, BOUNDS)
      assert.ok(decoded.kind === 'request')
      assert.deepEqual([decoded.dtype, decoded.trace], [dtype, trace])
      const untraced = decodeClientFrame(request(undefined, dtype), BOUNDS)
      assert.ok(untraced.kind === 'request' && untraced.trace === undefined)
      assert.deepEqual(decoded.batch, untraced.batch)
      assert.equal(codeOf(() => decodeClientFrame(frame.slice(0, -1), BOUNDS)), 'malformed')
      assert.equal(codeOf(() => decodeClientFrame(changed(frame, view => { view.setUint8(1, view.getUint8(1) & 0x7f) }), BOUNDS)), 'malformed')
    })

    it(`carry the traces of other texts in ${dtype}, as many as are allowed`, () => {
      const [id, ...links] = Array.from({ length: MAX_TRACE_LINKS + 2 }, (_, i) => String(i + 1).padStart(32, '0'))
      const traced = (links: string[]): Uint8Array => unframed(encodeRequest(7, dtype, batchOf(2, HIDDEN, [[0, 15], [], [3]]), HIDDEN, { traceId: id, spanId: 'fedcba9876543210', links }))
      for (const count of [1, MAX_TRACE_LINKS]) {
        const decoded = decodeClientFrame(traced(links.slice(0, count)), BOUNDS)
        assert.ok(decoded.kind === 'request')
        assert.deepEqual(decoded.trace, { traceId: id, spanId: 'fedcba9876543210', links: links.slice(0, count) })
      }
      assert.equal(codeOf(() => decodeClientFrame(traced(links), BOUNDS)), 'malformed')
      assert.equal(codeOf(() => decodeClientFrame(traced(links.slice(0, 2)).slice(0, -1), BOUNDS)), 'malformed')
    })

    it(`carry only the named rows in ${dtype}`, () => {
      const { hidden } = batchOf(0, HIDDEN, [[1], [2], [3]])
      const part = { layer: 0, tokens: 2, hidden, rows: Uint32Array.of(2, 0), counts: Uint16Array.of(1, 1), experts: Uint16Array.of(3, 1), weights: Float32Array.of(1, 2) }
      const decoded = decodeClientFrame(unframed(encodeRequest(1, dtype, part, HIDDEN)), BOUNDS)
      assert.ok(decoded.kind === 'request')
      const expected = [...hidden.subarray(2 * HIDDEN), ...hidden.subarray(0, HIDDEN)]
      decoded.batch.hidden.forEach((value, i) => { assert.ok(Math.abs(value - expected[i]) <= tolerance) })
    })

    it(`carry a reply in ${dtype}`, () => {
      const sum = Float32Array.from({ length: 2 * HIDDEN }, (_, i) => Math.cos(i))
      const frame = unframed(encodeReply(9, dtype, sum, HIDDEN, 11.4, 2 ** 40))
      assert.equal(frame.byteLength, replyBytes(dtype, 2, HIDDEN))
      const reply = decodePeerFrame(frame)
      assert.ok(reply.kind === 'reply')
      assert.deepEqual([reply.id, reply.queueMicros, reply.serviceMicros], [9, 11, 0xffffffff])
      decodeReplyRows(reply, dtype, 2, HIDDEN).forEach((value, i) => { assert.ok(Math.abs(value - sum[i]) <= tolerance) })
      assert.equal(codeOf(() => decodeReplyRows(reply, dtype, 1, HIDDEN)), 'malformed')
      assert.equal(codeOf(() => decodeReplyRows(reply, dtype === 'fp32' ? 'fp16' : 'fp32', 2, HIDDEN)), 'malformed')
    })
  }

  it('scale int8 rows by their own largest value', () => {
    const sum = Float32Array.of(1270, -640, 0, 0.127, 0.001, -0.127)
    const reply = decodePeerFrame(unframed(encodeReply(1, 'int8', sum, 3, 0, 0)))
    assert.ok(reply.kind === 'reply')
    const rows = decodeReplyRows(reply, 'int8', 2, 3)
    ;[1270, -640, 0, 0.127, 0.001, -0.127].forEach((value, i) => { assert.ok(Math.abs(rows[i] - value) <= Math.abs(value) * 1e-2) })
  })

  it('carry errors and cancels', () => {
    assert.deepEqual(decodePeerFrame(unframed(encodeError(3, 'busy', 12))), { kind: 'error', id: 3, code: 'busy', retryAfterMs: 12 })
    assert.deepEqual(decodeClientFrame(unframed(encodeCancel(0xfffffffe)), BOUNDS), { kind: 'cancel', id: 0xfffffffe })
  })

  for (const bytes of [1, 127, 128, 16_384, 300_000]) {
    it(`are as long as their prefix says, ${bytes} values`, () => {
      const framed = encodeReply(1, 'fp32', new Float32Array(bytes), bytes, 0, 0)
      let length = 0
      let at = 0
      for (;; at++) {
        length |= (framed[at] & 0x7f) << (7 * at)
        if ((framed[at] & 0x80) === 0) break
      }
      assert.equal(length, framed.byteLength - at - 1)
    })
  }

  const whole = request()
  const refused: Array<{ name: string, frame: Uint8Array, code?: SwarmErrorCode }> = [
    { name: 'empty', frame: new Uint8Array(0) },
    { name: 'shorter than a header', frame: whole.slice(0, 7) },
    { name: 'a request cut in its header', frame: whole.slice(0, 12) },
    { name: 'cut by one byte', frame: whole.slice(0, -1) },
    { name: 'one byte too long', frame: Uint8Array.from([...whole, 0]) },
    { name: 'of unknown kind', frame: changed(whole, view => { view.setUint8(0, 9) }) },
    { name: 'a reply to a peer', frame: unframed(encodeReply(1, 'fp32', new Float32Array(HIDDEN), HIDDEN, 0, 0)) },
    { name: 'of unknown dtype', frame: changed(whole, view => { view.setUint8(1, 3) }) },
    { name: 'of another dtype than its length', frame: changed(whole, view => { view.setUint8(1, 1) }) },
    { name: 'of a layer outside of the model', frame: changed(whole, view => { view.setUint16(2, 4, true) }) },
    { name: 'without tokens', frame: changed(whole, view => { view.setUint32(8, 0, true) }) },
    { name: 'of more tokens than allowed', frame: changed(whole, view => { view.setUint32(8, 9, true) }), code: 'too-large' },
    { name: 'claiming 2^32 - 1 tokens', frame: changed(whole, view => { view.setUint32(8, 0xffffffff, true) }), code: 'too-large' },
    { name: 'claiming 2^32 - 1 assignments', frame: changed(whole, view => { view.setUint32(12, 0xffffffff, true) }) },
    { name: 'with counts that do not sum up', frame: changed(whole, view => { view.setUint16(16, 1, true) }) },
    { name: 'with a count above the limit', frame: changed(whole, view => { view.setUint16(16, limits.MAX_EXPERTS_PER_TOKEN + 1, true) }) },
    { name: 'with an expert outside of the model', frame: changed(whole, view => { view.setUint16(22, 16, true) }) },
    { name: 'with a token that names an expert twice', frame: request([[5], [4, 5, 4], [3]]) },
    { name: 'with a weight that is NaN', frame: changed(whole, view => { view.setFloat32(28, NaN, true) }) },
    { name: 'with an infinite weight', frame: changed(whole, view => { view.setFloat32(32, Infinity, true) }) },
    { name: 'with a hidden state that is NaN', frame: changed(whole, view => { view.setFloat32(40, NaN, true) }) },
    { name: 'with an fp16 infinity', frame: changed(request(undefined, 'fp16'), view => { view.setUint16(40, 0x7c00, true) }) },
    { name: 'with an int8 scale that is NaN', frame: changed(request(undefined, 'int8'), view => { view.setFloat32(40, NaN, true) }) },
    { name: 'a cancel that is too long', frame: Uint8Array.from([...unframed(encodeCancel(1)), 0]) }
  ]
  for (const { name, frame, code = 'malformed' } of refused) {
    it(`refuse what is ${name}`, () => { assert.equal(codeOf(() => decodeClientFrame(frame, BOUNDS)), code) })
  }

  for (const { name, frame } of [
    { name: 'a request', frame: whole },
    { name: 'an error of unknown code', frame: changed(unframed(encodeError(1, 'busy')), view => { view.setUint8(1, 99) }) },
    { name: 'an error of code zero', frame: changed(unframed(encodeError(1, 'busy')), view => { view.setUint8(1, 0) }) },
    { name: 'a reply cut in its header', frame: unframed(encodeReply(1, 'fp32', new Float32Array(HIDDEN), HIDDEN, 0, 0)).slice(0, 14) }
  ]) {
    it(`refuse from a peer ${name}`, () => { assert.equal(codeOf(() => decodePeerFrame(frame)), 'malformed') })
  }

  it('take an expert that several tokens name, and one that a refused request named', () => {
    assert.equal(codeOf(() => decodeClientFrame(request([[5, 4], [4, 5], [5]]), BOUNDS)), undefined)
    assert.equal(codeOf(() => decodeClientFrame(request([[4, 4]]), BOUNDS)), 'malformed')
    assert.equal(codeOf(() => decodeClientFrame(request([[4], [5]]), BOUNDS)), undefined)
  })

  it('survive 20,000 random and mutated frames', () => {
    const random = seeded(4)
    const templates = [whole, request(undefined, 'fp16'), request([[1], [2], [3], [4]], 'int8'), unframed(encodeCancel(1)), unframed(encodeError(1, 'busy')), unframed(encodeReply(1, 'int8', new Float32Array(12), HIDDEN, 0, 0))]
    let accepted = 0
    for (let i = 0; i < 20_000; i++) {
      let frame: Uint8Array
      if (i % 2 === 0) {
        frame = Uint8Array.from({ length: Math.floor(random() * 128) }, () => Math.floor(random() * 256))
        if (frame.length > 0) frame[0] = 1 + Math.floor(random() * 5)
      } else {
        frame = templates[i % templates.length].slice(0, random() < 0.3 ? Math.floor(random() * 140) : undefined)
        for (let flips = Math.floor(random() * 4); flips > 0 && frame.length > 0; flips--) frame[Math.floor(random() * frame.length)] = Math.floor(random() * 256)
      }
      readFrameId(frame)
      const code = codeOf(() => {
        const decoded = decodeClientFrame(frame, BOUNDS)
        accepted++
        if (decoded.kind === 'request') {
          assert.ok(decoded.batch.experts.every(expert => expert < BOUNDS.experts))
          assert.equal(decoded.batch.hidden.length, decoded.batch.tokens * HIDDEN)
        }
      })
      assert.ok(code == null || code === 'malformed' || code === 'too-large')
      codeOf(() => {
        const decoded = decodePeerFrame(frame)
        if (decoded.kind === 'reply') decodeReplyRows(decoded, decoded.dtype, decoded.tokens, HIDDEN)
      })
    }
    assert.ok(accepted > 100, `${accepted} accepted: the fuzz must reach beyond the first check`)
  })
})
