import assert from 'node:assert/strict'
import { modelName } from '../../../model-tools/index.js'
import type { BundleManifest } from '../../../model-tools/index.js'
import { SyntheticSource } from '../../../model-tools/synth/source.js'

describe('the name of a model', () => {
  for (const { shape, layers, name } of [
    { shape: 'gemma-4-26b-a4b', layers: 30, name: 'gemma4:25b-u4' },
    { shape: 'gemma-4-26b-a4b', layers: 2, name: 'gemma4:2.4b-u4' },
    { shape: 'demo', layers: 6, name: 'gemma4:9m-u4' }
  ]) {
    it(`is ${name} for ${layers} layers of ${shape}`, () => {
      const { config } = new SyntheticSource({ shape, layers }, () => 'F32')
      assert.equal(modelName({ config, quant: 'u4' } as BundleManifest), name)
    })
  }
})
