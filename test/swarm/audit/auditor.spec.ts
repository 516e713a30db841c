import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AuditedReply, Auditor, type AuditorInit } from '../../../swarm/audit/auditor.js'
import { deviation } from '../../../swarm/audit/deviation.js'
import { AuditDraw } from '../../../swarm/audit/draw.js'
import { LiarRecord } from '../../../swarm/audit/liar-record.js'
import type { Proof } from '../../../swarm/audit/proof.js'
import { MAX_REMEMBERED_LIARS } from '../../../swarm/constants.js'
import { isSwarmError } from '../../../swarm/errors.js'
import { wholePart } from '../../../swarm/expert/split.js'
import { batchOf } from '../fixtures/batches.js'

const H = 4
const PART = wholePart(batchOf(1, H, [[0, 7], [3]]))
const TRUE = Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8)
const TOLERANCES = { fp32: 0.01, fp16: 0.02, int8: 0.1 }

function reply (peerId: string, factor = 1, wire: AuditedReply['wire'] = 'fp32'): AuditedReply {
  return { peerId, sum: TRUE.map((value, i) => i < H ? value : value * factor), wire }
}

describe('an auditor', () => {
  const proofs: Proof[] = []
  const auditor = (init: Partial<AuditorInit> = {}): Auditor => {
    proofs.length = 0
    return new Auditor({ share: 0.5, tolerances: TOLERANCES, modelId: 'm', hiddenSize: H, onLiar: proof => { proofs.push(proof) }, onEvent: () => {}, ...init })
  }
  const others = (...replies: AuditedReply[]) => async (): Promise<AuditedReply | undefined> => replies.shift()

  it('measures the worst row', () => {
    assert.equal(deviation(TRUE, TRUE, H), 0)
    assert.equal(deviation(TRUE, new Float32Array(8), H), 1)
    assert.ok(Math.abs(deviation(TRUE, reply('b', 1.1).sum, H) - 0.1 / 1.1) < 1e-6)
    assert.equal(deviation(new Float32Array(4), new Float32Array(4), H), 0)
  })

  it('believes two that agree, by the coarser of their forms', async () => {
    const one = auditor()
    assert.equal((await one.check(PART, reply('a'), others(reply('b', 1.005)))).peerId, 'a')
    assert.equal((await one.check(PART, reply('a'), others(reply('b', 1.05, 'int8')))).peerId, 'a')
    assert.deepEqual([one.counters.compared, one.counters.disagreements, proofs.length], [2, 0, 0])
    assert.ok(one.counters.largestPassed > 0.4 && one.counters.largestPassed <= 1)
  })

  for (const { what, replies, liar, believed } of [
    { what: 'the first', replies: [reply('a', 1.05), reply('b'), reply('c')], liar: 'a', believed: 'b' },
    { what: 'the second', replies: [reply('a'), reply('b', 1.05), reply('c')], liar: 'b', believed: 'a' }
  ]) {
    it(`lets a third peer say that ${what} lies`, async () => {
      const one = auditor()
      const [first, ...rest] = replies
      assert.equal((await one.check(PART, first, others(...rest))).peerId, believed)
      assert.deepEqual([...one.liars], [liar])
      const [proof] = proofs
      assert.deepEqual([proof.peerId, proof.layer, proof.experts, proof.tokens, proof.tolerance], [liar, 1, [0, 3, 7], 2, 0.01])
      assert.ok(proof.deviation > 0.04)
      assert.deepEqual(proof.against.map(({ peerId }) => peerId), [believed, 'c'])
      assert.notEqual(proof.replySha256, proof.against[0].replySha256)
      assert.equal(proof.against[0].replySha256, proof.against[1].replySha256)
    })
  }

  it('finds two liars among four', async () => {
    const one = auditor()
    assert.equal((await one.check(PART, reply('a', 2), others(reply('b', 3), reply('c'), reply('d')))).peerId, 'c')
    assert.deepEqual([...one.liars].sort(), ['a', 'b'])
  })

  it('believes its own copy against two that agree on something else', async () => {
    const one = auditor({ localCopy: async () => TRUE })
    const sum = (await one.check(PART, reply('a', 2), others(reply('b', 3)))).sum
    assert.deepEqual(sum, TRUE)
    assert.deepEqual([...one.liars].sort(), ['a', 'b'])
    assert.equal(proofs[0].against[0].peerId, 'this machine')
  })

  it('accuses nobody when nobody can decide, and refuses both replies when none may go in uncompared', async () => {
    const lenient = auditor()
    assert.equal((await lenient.check(PART, reply('a'), others(reply('b', 2)))).peerId, 'a')
    assert.deepEqual([lenient.counters.undecided, lenient.liars.size], [1, 0])
    await assert.rejects(auditor({ share: 1 }).check(PART, reply('a'), others(reply('b', 2))), error => {
      assert.ok(isSwarmError(error, 'replies-disagree'))
      assert.deepEqual(error.data, { layer: 1, peerIds: ['a', 'b'] })
      return true
    })
  })

  it('counts what nobody else could answer, and computes that itself when it may and must', async () => {
    const lenient = auditor({ localCopy: async () => TRUE })
    assert.equal((await lenient.check(PART, reply('a', 2), others())).peerId, 'a')
    assert.equal(lenient.counters.alone, 1)
    const strict = auditor({ share: 1, localCopy: async () => TRUE })
    assert.deepEqual((await strict.check(PART, reply('a', 2), others())).sum, TRUE)
    assert.deepEqual([...strict.liars], ['a'])
  })

  it('draws its share, the same for the same seed', () => {
    const draws = (share: number, seed?: string): boolean[] => {
      const draw = new AuditDraw(share, seed)
      return Array.from({ length: 20_000 }, () => draw.next())
    }
    const seeded = draws(0.02, 'a')
    assert.deepEqual(draws(0.02, 'a'), seeded)
    assert.notDeepEqual(draws(0.02, 'b'), seeded)
    assert.notDeepEqual(draws(0.02), draws(0.02))
    // Five standard errors.
    const drawn = seeded.filter(one => one).length
    assert.ok(Math.abs(drawn - 400) < 5 * Math.sqrt(400), `${drawn} of 20,000`)
    assert.ok(draws(1).every(one => one))
    assert.ok(!draws(0).some(one => one))
  })
})

describe('the record of liars', () => {
  let dir: string
  beforeEach(async () => { dir = await mkdtemp(join(tmpdir(), 'moeswarm-liars-')) })
  afterEach(async () => { await rm(dir, { recursive: true }) })
  const proof = (peerId: string): Proof => ({
    peerId, at: '2026-11-28T00:00:00.000Z', modelId: 'm', layer: 1, experts: [1], tokens: 1, wire: 'fp16', requestSha256: '', replySha256: '', against: [], deviation: 1, tolerance: 0.01
  })

  it('keeps them for its user alone, from one process to the next', async () => {
    const file = join(dir, 'state', 'liars.json')
    const record = new LiarRecord(file)
    assert.deepEqual(await record.read(), [])
    await Promise.all([record.add(proof('a')), record.add(proof('b')), record.add({ ...proof('a'), layer: 2 })])
    assert.equal((await stat(file)).mode & 0o777, 0o600)
    assert.deepEqual((await new LiarRecord(file).read()).map(({ peerId, layer }) => [peerId, layer]), [['b', 1], ['a', 2]])
    assert.equal(await record.forget('c'), false)
    assert.equal(await record.forget('b'), true)
    assert.deepEqual((await record.read()).map(({ peerId }) => peerId), ['a'])
    assert.equal(await record.forget(), true)
    assert.deepEqual(await record.read(), [])
  })

  it('does not grow without end', async () => {
    const record = new LiarRecord(join(dir, 'liars.json'))
    await writeFile(record.file, JSON.stringify({ format: 1, liars: Array.from({ length: MAX_REMEMBERED_LIARS }, (_, i) => proof(`p${i}`)) }))
    await record.add(proof('last'))
    const liars = await record.read()
    assert.deepEqual([liars.length, liars[0].peerId, liars.at(-1)?.peerId], [MAX_REMEMBERED_LIARS, 'p1', 'last'])
  })

  it('says which file is not one, and leaves it alone', async () => {
    const file = join(dir, 'liars.json')
    for (const text of ['{', '{"format":2,"liars":[]}', '{"format":1,"liars":[{}]}']) {
      await writeFile(file, text)
      await assert.rejects(new LiarRecord(file).add(proof('a')), error => isSwarmError(error, 'disk-failed') && error.message.includes(file))
      assert.equal(await readFile(file, 'utf8'), text)
    }
  })
})
