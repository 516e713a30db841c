import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { appendFile, cp, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Bundle } from '../../../model-tools/bundle/reader.js'
import { convertCheckpoint, type ConversionProgress } from '../../../model-tools/bundle/writer.js'
import { floats32 } from '../../../model-tools/float.js'
import { decodeRows, WEIGHT_FORMATS } from '../../../model-tools/quantize/rows.js'
import { changedCheckpoint, contents, DEMO_MODEL, modelError, readSafetensors, temporaryDirectory, type RawTensor } from '../fixtures.js'

const PREFIX = 'model.language_model.'

/** Values of a BF16 tensor, straight from the definition of the format. */
function brainValues ({ data }: RawTensor): Float32Array {
  const bits = new Uint32Array(data.length / 2)
  for (let i = 0; i < bits.length; i++) bits[i] = (data[2 * i] | (data[2 * i + 1] << 8)) << 16
  return new Float32Array(bits.buffer)
}

describe('bundle/writer', () => {
  const temporary = temporaryDirectory()
  let whole: string
  let tensors: Map<string, RawTensor>

  const values = (name: string): Float32Array => brainValues(tensors.get(PREFIX + name) as RawTensor)

  before(async () => {
    whole = temporary.sub('whole')
    await convertCheckpoint({ checkpoint: DEMO_MODEL, out: whole, quant: 'q4', blockExperts: 12 })
    tensors = await readSafetensors(join(DEMO_MODEL, 'model.safetensors'))
  })

  it('writes every value of the checkpoint to its place', async () => {
    const bundle = await convertCheckpoint({ checkpoint: DEMO_MODEL, out: temporary.sub('f32'), quant: 'f32' })
    await bundle.verify()
    const read = async (name: Parameters<Bundle['tensor']>[0]): Promise<Float32Array> => floats32((await bundle.read(bundle.tensor(name))).data)
    const joined = (...names: string[]): Float32Array => Float32Array.from(names.flatMap(name => [...values(name)]))
    assert.deepEqual(await read('embedding'), values('embed_tokens.weight'))
    assert.deepEqual(await read('final_norm'), values('norm.weight'))
    assert.deepEqual(await read('layers.0.qkv'), joined('layers.0.self_attn.q_proj.weight', 'layers.0.self_attn.k_proj.weight', 'layers.0.self_attn.v_proj.weight'))
    assert.deepEqual(await read('layers.5.qkv'), joined('layers.5.self_attn.q_proj.weight', 'layers.5.self_attn.k_proj.weight'))
    assert.deepEqual(await read('layers.3.dense_gate_up'), joined('layers.3.mlp.gate_proj.weight', 'layers.3.mlp.up_proj.weight'))
    const plain = {
      input_norm: 'input_layernorm.weight', o: 'self_attn.o_proj.weight', q_norm: 'self_attn.q_norm.weight', k_norm: 'self_attn.k_norm.weight',
      post_attention_norm: 'post_attention_layernorm.weight', pre_dense_norm: 'pre_feedforward_layernorm.weight', dense_down: 'mlp.down_proj.weight',
      post_dense_norm: 'post_feedforward_layernorm_1.weight', router: 'router.proj.weight', router_scale: 'router.scale', per_expert_scale: 'router.per_expert_scale',
      pre_expert_norm: 'pre_feedforward_layernorm_2.weight', post_expert_norm: 'post_feedforward_layernorm_2.weight', post_ffn_norm: 'post_feedforward_layernorm.weight',
      layer_scalar: 'layer_scalar'
    } as const
    for (const [ours, theirs] of Object.entries(plain) as Array<[keyof typeof plain, string]>) {
      assert.deepEqual(await read(`layers.4.${ours}`), values(`layers.4.${theirs}`), ours)
    }
    for (const block of bundle.blocks.filter(({ layer }) => layer === 2)) {
      for (const { expert, gateUp, down } of bundle.experts(block)) {
        const slice = (name: string, size: number): Float32Array => values(`layers.2.experts.${name}`).slice(expert * size, (expert + 1) * size)
        assert.deepEqual(floats32((await bundle.read(gateUp)).data), slice('gate_up_proj', 128 * 192), `expert ${expert}`)
        assert.deepEqual(floats32((await bundle.read(down)).data), slice('down_proj', 192 * 64), `expert ${expert}`)
      }
    }
  })

  it('keeps quantised weights near those of the checkpoint', async () => {
    const bundle = await Bundle.open(whole)
    const [, , third] = bundle.blocks
    assert.deepEqual([third.firstExpert, third.experts, third.file], [24, 8, 'experts/layer-00/024-031.bin'])
    const { down } = bundle.experts(third)[7]
    const decoded = decodeRows(down.format, await bundle.read(down), 64, 0, 192)
    const original = values('layers.0.experts.down_proj').subarray(31 * 192 * 64)
    const error = Math.hypot(...decoded.map((value, i) => value - original[i])) / Math.hypot(...original)
    assert.ok(error > 0.01 && error < 0.12, `relative error ${error}`)
  })

  it('gives equal bundles for equal checkpoints', async () => {
    const out = temporary.sub('again')
    const bundle = await convertCheckpoint({ checkpoint: await changedCheckpoint(temporary.sub('copy')), out, quant: 'q4', blockExperts: 12 })
    assert.deepEqual(await contents(out), await contents(whole))
    assert.equal(bundle.id, createHash('sha256').update(await readFile(join(whole, 'manifest.json'))).digest('hex'))
  })

  it('converts a checkpoint of the other prefix, with a vision tower and a redundant head, to the same bundle', async () => {
    const checkpoint = await changedCheckpoint(temporary.sub('prefix'), {
      tensors: all => {
        for (const [name, tensor] of [...all]) {
          all.delete(name)
          all.set(name.replace(PREFIX, 'model.'), tensor)
        }
        all.set('model.vision_tower.patch.weight', { dtype: 'I64', shape: [1], data: new Uint8Array(8) })
        all.set('lm_head.weight', { dtype: 'U8', shape: [3], data: new Uint8Array(3) })
      }
    })
    const out = temporary.sub('prefix-bundle')
    await convertCheckpoint({ checkpoint, out, quant: 'q4', blockExperts: 12 })
    assert.deepEqual(await contents(out), await contents(whole))
  })

  it('reports progress up to the whole', async () => {
    const events: ConversionProgress[] = []
    await convertCheckpoint({ checkpoint: DEMO_MODEL, out: temporary.sub('progress'), quant: 'q8', onProgress: event => events.push(event) })
    const last = events.at(-1)
    assert.ok(last != null && last.doneBytes === last.totalBytes)
    assert.ok(events.every((event, index) => index === 0 || event.doneBytes >= events[index - 1].doneBytes))
    assert.equal(new Set(events.map(({ file }) => file)).size, 3 + 8 + 12)
  })

  it('goes on after being broken off anywhere, to the same bytes, and nothing loads before', async () => {
    const expected = await contents(whole)
    for (const steps of [1, 2, 10, 60, 61, 200, 300]) {
      const out = temporary.sub(`broken-${steps}`)
      const abort = new AbortController()
      let events = 0
      await assert.rejects(convertCheckpoint({
        checkpoint: DEMO_MODEL, out, quant: 'q4', blockExperts: 12, signal: abort.signal,
        onProgress: () => { if (++events === steps) abort.abort(new Error(`after ${steps}`)) }
      }), { message: `after ${steps}` })
      const left = Object.keys(await contents(out))
      assert.ok(!left.includes('manifest.json') && !left.some(name => name.endsWith('.partial')), left.join())
      await assert.rejects(Bundle.open(out), modelError('not-found', out))
      await convertCheckpoint({ checkpoint: DEMO_MODEL, out, quant: 'q4', blockExperts: 12 })
      assert.deepEqual(await contents(out), expected)
    }
  })

  it('stops before it begins when the signal has fired', async () => {
    const out = temporary.sub('never')
    await assert.rejects(convertCheckpoint({ checkpoint: DEMO_MODEL, out, signal: AbortSignal.abort(new Error('no')) }), { message: 'no' })
    await assert.rejects(stat(out))
  })

  /** What a conversion that dies at event `steps` leaves, with the modification times of its files. */
  async function brokenOff (steps: number, checkpoint = DEMO_MODEL): Promise<string> {
    const out = temporary.sub('broken')
    const abort = new AbortController()
    let events = 0
    await assert.rejects(convertCheckpoint({ checkpoint, out, quant: 'q4', blockExperts: 12, signal: abort.signal, onProgress: () => { if (++events === steps) abort.abort() } }))
    return out
  }

  it('keeps finished files whose digest is right and makes the others again', async () => {
    const out = await brokenOff(250)
    // Which files are whole by then is chance: several are made at a time.
    const names = (await readdir(join(out, 'client'))).filter(name => /^layer-\d+\.bin$/.test(name)).map(name => `client/${name}`)
    assert.ok(names.length >= 3)
    const [kept, damaged, shortened] = names.map(name => join(out, name))
    const before = (await stat(kept)).ino
    const bytes = await readFile(damaged)
    bytes[5000] ^= 1
    await writeFile(damaged, bytes)
    await truncate(shortened, 100)
    // What a process killed in the middle of a write leaves.
    await mkdir(join(out, 'experts/layer-05'), { recursive: true })
    await writeFile(join(out, 'experts/layer-05/024-031.bin.partial'), 'half a file')
    await appendFile(join(out, 'conversion.journal'), '{"file":"client/fin')
    const events: ConversionProgress[] = []
    await convertCheckpoint({ checkpoint: DEMO_MODEL, out, quant: 'q4', blockExperts: 12, onProgress: event => events.push(event) })
    assert.deepEqual(await contents(out), await contents(whole))
    assert.equal((await stat(kept)).ino, before)
    for (const name of names.slice(1, 3)) assert.ok(events.some(({ file }) => file === name), name)
  })

  it('starts over when the settings or the checkpoint of a broken-off conversion are others', async () => {
    const other = temporary.sub('other-settings')
    await cp(await brokenOff(250), other, { recursive: true })
    await convertCheckpoint({ checkpoint: DEMO_MODEL, out: other, quant: 'q8', blockExperts: 8 })
    const straight = temporary.sub('straight')
    await convertCheckpoint({ checkpoint: DEMO_MODEL, out: straight, quant: 'q8', blockExperts: 8 })
    assert.deepEqual(await contents(other), await contents(straight))

    const trained = await changedCheckpoint(temporary.sub('trained'), { tensors: all => { (all.get(`${PREFIX}norm.weight`) as RawTensor).data[0] ^= 1 } })
    const out = await brokenOff(250, trained)
    await convertCheckpoint({ checkpoint: DEMO_MODEL, out, quant: 'q4', blockExperts: 12 })
    assert.deepEqual(await contents(out), await contents(whole))
  })

  it('leaves a bundle that is there as it is, and makes files that it lacks again', async () => {
    const out = temporary.sub('there')
    await cp(whole, out, { recursive: true })
    const manifest = (await stat(join(out, 'manifest.json'))).ino
    await convertCheckpoint({ checkpoint: DEMO_MODEL, out, quant: 'q4', blockExperts: 12 })
    await rm(join(out, 'experts/layer-03/012-023.bin'))
    await convertCheckpoint({ checkpoint: DEMO_MODEL, out, quant: 'q4', blockExperts: 12 })
    assert.deepEqual(await contents(out), await contents(whole))
    assert.equal((await stat(join(out, 'manifest.json'))).ino, manifest)
  })

  it('does not touch another bundle or a directory of other things', async () => {
    const refuse = async (out: string, says: string, changes = {}): Promise<void> => {
      const before = await contents(out)
      await assert.rejects(convertCheckpoint({ checkpoint: DEMO_MODEL, out, quant: 'q4', blockExperts: 12, ...changes }), modelError('not-found', out, says))
      assert.deepEqual(await contents(out), before)
    }
    const trained = await changedCheckpoint(temporary.sub('trained'), { tensors: all => { (all.get(`${PREFIX}layers.0.self_attn.q_proj.weight`) as RawTensor).data[1001] ^= 0x80 } })
    await refuse(whole, 'quant, which is q4', { quant: 'q8' })
    await refuse(whole, 'experts a block, which are 12', { blockExperts: 16 })
    await refuse(whole, 'client/layer-00.bin', { checkpoint: trained })
    await refuse(whole, 'its model', { checkpoint: await changedCheckpoint(temporary.sub('window'), { config: config => { config.text_config.sliding_window = 64 } }) })
    const home = temporary.sub('home')
    await mkdir(home)
    await writeFile(join(home, 'letter.txt'), 'Dear all')
    await refuse(home, 'not empty')
    await assert.rejects(convertCheckpoint({ checkpoint: DEMO_MODEL, out: join(home, 'letter.txt') }), modelError('not-found', 'is a file'))
  })

  it('does not mend a bundle with the weights of another', async () => {
    const out = temporary.sub('mend')
    await cp(whole, out, { recursive: true })
    await rm(join(out, 'experts/layer-03/012-023.bin'))
    const checkpoint = await changedCheckpoint(temporary.sub('trained'), { tensors: all => { (all.get(`${PREFIX}layers.3.experts.down_proj`) as RawTensor).data.fill(0x3d) } })
    await assert.rejects(convertCheckpoint({ checkpoint, out, quant: 'q4', blockExperts: 12 }), modelError('not-found', 'experts/layer-03/012-023.bin'))
    assert.ok(!Object.keys(await contents(out)).includes('experts/layer-03/012-023.bin'))
  })
})

describe('bundle/writer, unusable checkpoints', () => {
  const temporary = temporaryDirectory()

  async function refuse (changes: Parameters<typeof changedCheckpoint>[1], expected: Parameters<typeof modelError>, options = {}): Promise<void> {
    const checkpoint = await changedCheckpoint(temporary.sub('checkpoint'), changes)
    const out = temporary.sub('bundle')
    await assert.rejects(convertCheckpoint({ checkpoint, out, ...options }), modelError(...expected))
    await assert.rejects(Bundle.open(out), modelError('not-found', 'moeswarm convert'))
  }

  it('names a checkpoint path that is wrong', async () => {
    await assert.rejects(convertCheckpoint({ checkpoint: '/nowhere/model', out: temporary.sub('x') }), modelError('not-found', '/nowhere/model'))
  })

  it('names a file that the checkpoint lacks', async () => {
    for (const name of ['config.json', 'tokenizer.json', 'model.safetensors']) {
      const checkpoint = await changedCheckpoint(temporary.sub('lacking'))
      await rm(join(checkpoint, name))
      await assert.rejects(convertCheckpoint({ checkpoint, out: temporary.sub('x') }), modelError('not-found', checkpoint, name))
    }
  })

  it('names all tensors that are missing', async () => {
    const names = ['layers.0.router.scale', 'layers.3.self_attn.v_proj.weight', 'layers.5.experts.down_proj', 'norm.weight'].map(name => PREFIX + name)
    await refuse({ tensors: all => { for (const name of names) all.delete(name) } }, ['missing-tensor', '4 tensors', ...names])
  })

  it('says so when the weights are of another kind of model', async () => {
    await refuse({ tensors: all => { for (const name of [...all.keys()]) if (name !== `${PREFIX}norm.weight`) all.delete(name) } }, ['missing-tensor', 'no layers', 'model.layers.'])
  })

  it('names a tensor of the wrong shape, with both shapes', async () => {
    await refuse({ config: config => { config.text_config.moe_intermediate_size = 32 } }, ['wrong-shape', 'experts.gate_up_proj', '[32, 128, 192]', '[32, 64, 192]'])
    await refuse({ tensors: all => { (all.get(`${PREFIX}layers.1.input_layernorm.weight`) as RawTensor).shape = [192, 1] } }, ['wrong-shape', 'layers.1.input_layernorm', '[192, 1]', '[192]'])
  })

  it('names tensors that it would have to leave out', async () => {
    const bias = `${PREFIX}layers.2.self_attn.q_proj.bias`
    await refuse({ tensors: all => { all.set(bias, { dtype: 'BF16', shape: [1], data: new Uint8Array(2) }) } }, ['unsupported', bias])
  })

  it('names a tensor with NaN, infinity or a dtype of integers', async () => {
    const down = `${PREFIX}layers.4.experts.down_proj`
    const put = (low: number, high: number) => (all: Map<string, RawTensor>): void => { (all.get(down) as RawTensor).data.set([low, high], 2 * (192 * 64 * 30 + 64 * 7)) }
    for (const quant of WEIGHT_FORMATS) {
      await refuse({ tensors: put(0xc0, 0x7f) }, ['malformed', down, 'rows 5760 to 5951', 'NaN'], { quant })
    }
    await refuse({ tensors: put(0x80, 0xff) }, ['malformed', down], { quant: 'f32' })
    await refuse({ tensors: all => { (all.get(`${PREFIX}norm.weight`) as RawTensor).dtype = 'I16' } }, ['unsupported', `${PREFIX}norm.weight`, 'I16'])
  })

  it('names a size that blocks do not divide, and a format that takes it', async () => {
    const intermediate = (size: number): Parameters<typeof refuse>[0] => ({ config: config => { config.text_config.moe_intermediate_size = size } })
    await refuse(intermediate(40), ['unsupported', 'expert intermediate size of 40', '--quant f16'])
    await refuse(intermediate(40), ['unsupported', 'multiple of 64', '--quant f16'], { quant: 'u4' })
    await refuse(intermediate(96), ['unsupported', 'expert intermediate size of 96', 'multiple of 64', '--quant q4 or q8'], { quant: 'u4' })
  })

  it('names the possible sizes of blocks', async () => {
    for (const blockExperts of [0, 33, 1.5]) await refuse({}, ['out-of-range', `${blockExperts} experts`, '32'], { blockExperts })
  })

  it('refuses an unsupported key of the configuration and damaged JSON', async () => {
    await refuse({ config: config => { config.text_config.num_kv_shared_layers = 2 } }, ['unsupported', '"num_kv_shared_layers" is 2'])
    const checkpoint = await changedCheckpoint(temporary.sub('json'))
    await truncate(join(checkpoint, 'config.json'), 100)
    await assert.rejects(convertCheckpoint({ checkpoint, out: temporary.sub('x') }), modelError('malformed', 'config.json', 'not valid JSON'))
  })

  it('refuses truncated weights', async () => {
    const checkpoint = await changedCheckpoint(temporary.sub('truncated'))
    await truncate(join(checkpoint, 'model.safetensors'), 9_000_000)
    await assert.rejects(convertCheckpoint({ checkpoint, out: temporary.sub('x') }), modelError('malformed', join(checkpoint, 'model.safetensors'), 'truncated'))
  })
})
