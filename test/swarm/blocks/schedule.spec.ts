import assert from 'node:assert/strict'
import type { ContentFile } from '../../../swarm/blocks/interface.js'
import { ChunkSchedule } from '../../../swarm/blocks/schedule.js'

/** Named by one letter, of so many chunks. */
function filesOf (chunks: Record<string, number>): ContentFile[] {
  return Object.entries(chunks).map(([path, count]) => ({ path, bytes: count, sha256: path, chunks: Array<string>(count).fill('') }))
}

function scheduleOf (chunks: Record<string, number>, have: Record<string, number[]> = {}): ChunkSchedule {
  const files = filesOf(chunks)
  return new ChunkSchedule(files, files.map(({ path, chunks: all }) => Uint8Array.from(all, (_, at) => have[path]?.includes(at) === true ? 1 : 0)))
}

const once = (): number => 1

describe('chunk schedule', () => {
  const all = new Set(['a', 'b', 'c'])

  it('gives every chunk out once, files one after the other', () => {
    const schedule = scheduleOf({ a: 2, b: 2 })
    const tasks = ['p', 'q', 'p', 'q'].map(peer => schedule.next(peer, all, once))
    assert.deepEqual(tasks, [{ file: 0, chunk: 0 }, { file: 0, chunk: 1 }, { file: 1, chunk: 0 }, { file: 1, chunk: 1 }])
  })

  it('begins with what few peers have, once what is begun is out', () => {
    const schedule = scheduleOf({ a: 1, b: 1, c: 2 }, { c: [1] })
    const copies = (digest: string): number => digest === 'b' ? 1 : 3
    const order = [0, 1, 2].map(() => schedule.next('p', all, copies)?.file)
    assert.deepEqual(order, [2, 1, 0])
  })

  it('gives a peer only what it has', () => {
    const schedule = scheduleOf({ a: 1, b: 1 })
    assert.deepEqual(schedule.next('p', new Set(['b']), once), { file: 1, chunk: 0 })
    assert.equal(schedule.next('p', new Set(['b']), once), undefined)
    assert.equal(schedule.next('q', new Set(['c']), once), undefined)
  })

  it('asks at the end for what is under way with others, the oldest first, once more each', () => {
    const schedule = scheduleOf({ a: 2 })
    schedule.next('slow', all, once)
    schedule.next('slow', all, once)
    assert.deepEqual(schedule.next('p', all, once), { file: 0, chunk: 0 })
    assert.deepEqual(schedule.next('p', all, once), { file: 0, chunk: 1 })
    assert.equal(schedule.next('p', all, once), undefined)
    assert.equal(schedule.next('q', all, once), undefined)
  })

  it('says who else is at a chunk that is stored', () => {
    const schedule = scheduleOf({ a: 2 })
    const task = schedule.next('slow', all, once) ?? assert.fail()
    schedule.next('p', all, once)
    schedule.next('p', all, once)
    assert.deepEqual(schedule.stored(task, 'p'), { others: ['slow'], complete: false })
    assert.ok(schedule.isStored(task))
    schedule.failed(task, 'slow')
    assert.deepEqual(schedule.stored({ file: 0, chunk: 1 }, 'p'), { others: [], complete: true })
    assert.deepEqual(schedule.missing, [0])
    assert.deepEqual(schedule.wanted, [])
  })

  it('gives out again what a peer failed to send, unless another is at it', () => {
    const schedule = scheduleOf({ a: 1 })
    const task = schedule.next('p', all, once) ?? assert.fail()
    schedule.next('q', all, once)
    schedule.failed(task, 'p')
    schedule.failed(task, 'q')
    assert.deepEqual(schedule.next('p', all, once), task)
    assert.deepEqual(schedule.missing, [1])
  })
})
