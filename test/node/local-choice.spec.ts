import assert from 'node:assert/strict'
import { chooseLocalBlocks, type LocalCandidate } from '../../node/client/local-choice.js'

const TOP_K = 2

/** A layer of four blocks of 25 bytes. */
function layer (number: number, expectedMs: number, uses: number[] = [0, 0, 0, 0], lacking: number[] = []): LocalCandidate {
  return { layer: number, expectedMs, blocks: uses.map((used, i) => ({ file: `${number}/${i}`, bytes: 25, uses: used, lacking: lacking.includes(i) })) }
}

const whole = (...layers: number[]): string[] => layers.flatMap(number => [0, 1, 2, 3].map(i => `${number}/${i}`))

describe('the choice of what is computed here', () => {
  const candidates = [layer(0, 5), layer(1, 40), layer(2, 20), layer(3, 0, [0, 0, 0, 0], [0, 1, 2, 3]), layer(4, 20)]

  for (const [budget, layers] of [[24, []], [100, [3]], [200, [1, 3]], [300, [1, 2, 3]], [500, [0, 1, 2, 3, 4]]] as const) {
    it(`within ${budget} is ${layers.join(', ') || 'nothing'}: what nobody holds, then what is slowest`, () => {
      assert.deepEqual([...chooseLocalBlocks(candidates, TOP_K, budget)].sort(), whole(...layers))
    })
  }

  it('fills a hole of a block, and its layer where that is the slowest', () => {
    const holed = [layer(0, 9, undefined, [2]), layer(1, 8)]
    assert.deepEqual([...chooseLocalBlocks(holed, TOP_K, 25)], ['0/2'])
    assert.deepEqual([...chooseLocalBlocks(holed, TOP_K, 100)].sort(), whole(0))
    assert.deepEqual([...chooseLocalBlocks([layer(0, 1, undefined, [2]), layer(1, 8)], TOP_K, 125)].sort(), ['0/2', ...whole(1)])
  })

  it('is the hottest blocks where no layer fits, of the layer that they spare most round trips', () => {
    const used = [layer(0, 9, [10, 10, 10, 10]), layer(1, 9, [1, 30, 4, 20])]
    assert.deepEqual([...chooseLocalBlocks(used, TOP_K, 60)], ['1/1', '1/3'])
    assert.deepEqual([...chooseLocalBlocks([layer(0, 30, [10, 10, 10, 10]), layer(1, 1, [1, 30, 4, 20])], TOP_K, 60)], ['0/0', '0/1'])
  })

  it('gives what is left beside whole layers to hot blocks of another', () => {
    assert.deepEqual([...chooseLocalBlocks([layer(0, 9), layer(1, 8, [0, 0, 7, 0])], TOP_K, 140)].sort(), [...whole(0), '1/2'])
  })
})
