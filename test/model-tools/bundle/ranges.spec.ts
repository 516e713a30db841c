import assert from 'node:assert/strict'
import { blocksOf } from '../../../model-tools/bundle/layout.js'
import type { ModelConfig } from '../../../model-tools/bundle/manifest.js'
import { parseRanges, selectBlocks } from '../../../model-tools/bundle/ranges.js'
import { modelError } from '../fixtures.js'

describe('bundle/ranges', () => {
  const parsed: Array<[string, Array<[number, number]>]> = [
    ['0', [[0, 0]]], ['0-5', [[0, 5]]], ['7,0-5', [[0, 5], [7, 7]]], [' 1 - 2 , 4 ', [[1, 2], [4, 4]]],
    ['0-3,2-5', [[0, 5]]], ['0-1,2-3', [[0, 3]]], ['3,3', [[3, 3]]], ['29', [[29, 29]]], ['0-29', [[0, 29]]], ['0-9,3', [[0, 9]]]
  ]
  for (const [text, expected] of parsed) {
    it(`reads "${text}"`, () => assert.deepEqual(parseRanges(text, 'layers', 30), expected.map(([first, last]) => ({ first, last }))))
  }

  for (const text of ['', 'a', '1-', '-1', '1--2', '1,,2', '0x3', '1.5', '1 2', '99999999999999999999']) {
    it(`refuses "${text}"`, () => assert.throws(() => parseRanges(text, 'layers', 30), modelError('malformed', `"${text}"`, '0-5,7')))
  }

  it('refuses a range that runs backwards, with the way out', () => {
    assert.throws(() => parseRanges('5-2', 'layers', 30), modelError('malformed', '2-5'))
  })

  for (const text of ['30', '0-30', '25-99']) {
    it(`names the valid layers for "${text}"`, () => assert.throws(() => parseRanges(text, 'layers', 30), modelError('out-of-range', 'layers 0-29', text)))
  }

  const config = { experts: 40, layerTypes: ['sliding', 'sliding', 'full'] } as ModelConfig
  const bundle = { config, blocks: blocksOf(config, 16) }
  const chosen = (layers?: string, experts?: string): string[] => selectBlocks(bundle, layers, experts).map(({ layer, firstExpert, experts }) => `${layer}:${firstExpert}+${experts}`)

  it('chooses all blocks where nothing is said', () => {
    assert.deepEqual(selectBlocks(bundle), bundle.blocks)
    assert.equal(bundle.blocks.length, 9)
  })

  it('chooses by layers, by experts and by both', () => {
    assert.deepEqual(chosen('1'), ['1:0+16', '1:16+16', '1:32+8'])
    assert.deepEqual(chosen(undefined, '16-31'), ['0:16+16', '1:16+16', '2:16+16'])
    assert.deepEqual(chosen('0,2', '0-15,32-39'), ['0:0+16', '0:32+8', '2:0+16', '2:32+8'])
    assert.deepEqual(chosen('0', '0-7,8-15'), ['0:0+16'])
  })

  const cuts: Array<[string, string]> = [['0-7', '0-15'], ['8', '0-15'], ['0-20', '0-31'], ['33-39', '32-39'], ['0-15,20', '16-31']]
  for (const [experts, bounds] of cuts) {
    it(`names the nearest blocks for experts ${experts}`, () => assert.throws(() => chosen('1', experts), modelError('out-of-range', 'layer 1', `bounds of whole blocks are ${bounds}`)))
  }

  it('names the valid experts', () => {
    assert.throws(() => chosen('1', '0-40'), modelError('out-of-range', 'experts 0-39'))
  })
})
