import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ExpertUse } from '../../node/client/expert-use.js'
import type { ExpertBatch } from '../../swarm/index.js'

function batch (layer: number, experts: number[]): ExpertBatch {
  return { layer, tokens: 1, hidden: new Float32Array(4), counts: Uint16Array.of(experts.length), experts: Uint16Array.from(experts), weights: new Float32Array(experts.length) }
}

describe('the count of used experts', () => {
  let dir: string
  let file: string

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'moeswarm-use-'))
    file = join(dir, 'state', 'use.json')
  })
  afterEach(async () => { await rm(dir, { recursive: true }) })

  it('goes on from what was saved, by blocks, and leaves nothing beside the file', async () => {
    const first = await ExpertUse.load(file, 2, 4)
    await first.save(file)
    assert.deepEqual(await readdir(dir), [], 'nothing counted, nothing written')
    first.add(batch(1, [0, 3]))
    first.add(batch(1, [3, 2]))
    await first.save(file)
    const second = await ExpertUse.load(file, 2, 4)
    second.add(batch(0, [1]))
    await second.save(file)
    assert.deepEqual(await readdir(join(dir, 'state')), ['use.json'])
    const third = await ExpertUse.load(file, 2, 4)
    assert.equal(third.of({ layer: 1, firstExpert: 2, experts: 2 }), 3)
    assert.equal(third.of({ layer: 1, firstExpert: 0, experts: 2 }), 1)
    assert.equal(third.of({ layer: 0, firstExpert: 0, experts: 4 }), 1)
  })

  it('stays bounded, and keeps the proportions', async () => {
    const use = new ExpertUse(1, 2)
    const many = batch(0, [...Array<number>(30_000).fill(0), ...Array<number>(10_000).fill(1)])
    for (let i = 0; i < 30; i++) use.add(many)
    await use.save(file)
    const kept = await ExpertUse.load(file, 1, 2)
    assert.equal(kept.of({ layer: 0, firstExpert: 0, experts: 2 }), 600_000)
    assert.equal(kept.of({ layer: 0, firstExpert: 0, experts: 1 }), 450_000)
  })

  it('begins anew where the file is of another model or none at all', async () => {
    const path = join(dir, 'broken.json')
    for (const text of ['', '{', '[[1,2]]', '[[1,2,3],[1,2,3]]', '[[1,-1],[0,0]]', '[[1,0.5],[0,0]]', '{"length":2}', 'null', '[null,null]']) {
      await writeFile(path, text)
      const use = await ExpertUse.load(path, 2, 2)
      assert.equal(use.of({ layer: 0, firstExpert: 0, experts: 2 }), 0, text)
    }
  })
})
