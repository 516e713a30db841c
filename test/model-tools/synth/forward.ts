import type { ModelConfig } from '../../../model-tools/bundle/manifest.js'
import { readValues, type CheckpointSource } from '../../../model-tools/checkpoint/source.js'

/** What a forward pass of plain arithmetic shows of a model. */
export interface Trace {
  /** Per layer, per token: experts chosen, best first. */
  experts: number[][][]
  /** Root mean square of the stream behind every layer, over all tokens. */
  streamRms: number[]
  /** Of the last token. */
  logits: Float32Array
}

const PREFIX = 'model.language_model.'

/** The forward pass of gemma4-spec, sections 2 to 6, straight out of a checkpoint; without rotary positions, which change no magnitude. */
export async function plainForward (source: CheckpointSource, config: ModelConfig, tokens: number[]): Promise<Trace> {
  const H = config.hiddenSize
  const values = async (name: string): Promise<Float32Array> => {
    const shape = source.tensors.get(PREFIX + name)?.shape ?? []
    return readValues(source, PREFIX + name, 0, shape.reduce((a, b) => a * b, 1))
  }
  const embedding = await values('embed_tokens.weight')
  let stream = tokens.map(token => embedding.slice(token * H, (token + 1) * H).map(value => value * Math.sqrt(H)))
  const trace: Trace = { experts: [], streamRms: [], logits: new Float32Array() }
  for (const [layer, type] of config.layerTypes.entries()) {
    const at = async (name: string): Promise<Float32Array> => values(`layers.${layer}.${name}`)
    const { heads, kvHeads, headDim, valueFromKey } = config.attention[type]
    const [q, k] = [await at('self_attn.q_proj.weight'), await at('self_attn.k_proj.weight')]
    const v = valueFromKey ? k : await at('self_attn.v_proj.weight')
    const [inputNorm, qNorm, kNorm, o] = [await at('input_layernorm.weight'), await at('self_attn.q_norm.weight'), await at('self_attn.k_norm.weight'), await at('self_attn.o_proj.weight')]
    const inputs = stream.map(x => rms(x, inputNorm))
    const split = (w: Float32Array, x: Float32Array, norm?: Float32Array): Float32Array[] => {
      const y = times(w, x)
      return Array.from({ length: y.length / headDim }, (_, head) => rms(y.subarray(head * headDim, (head + 1) * headDim), norm))
    }
    const [keys, queries, vals] = [inputs.map(x => split(k, x, kNorm)), inputs.map(x => split(q, x, qNorm)), inputs.map(x => split(v, x))]
    const [postAttention, scalar] = [await at('post_attention_layernorm.weight'), await at('layer_scalar')]
    const afterAttention = stream.map((x, i) => {
      const joined = new Float32Array(heads * headDim)
      for (let head = 0; head < heads; head++) {
        const kv = Math.floor(head / (heads / kvHeads))
        const weights = softmax(Array.from({ length: i + 1 }, (_, j) => dot(queries[i][head], keys[j][kv])))
        for (const [j, weight] of weights.entries()) for (let d = 0; d < headDim; d++) joined[head * headDim + d] += weight * vals[j][kv][d]
      }
      return plus(x, rms(times(o, joined), postAttention))
    })
    const [gate, up, down] = [await at('mlp.gate_proj.weight'), await at('mlp.up_proj.weight'), await at('mlp.down_proj.weight')]
    const [preDense, postDense, preExpert, postExpert, post] = [await at('pre_feedforward_layernorm.weight'), await at('post_feedforward_layernorm_1.weight'),
      await at('pre_feedforward_layernorm_2.weight'), await at('post_feedforward_layernorm_2.weight'), await at('post_feedforward_layernorm.weight')]
    const [router, routerScale, expertScale] = [await at('router.proj.weight'), await at('router.scale'), await at('router.per_expert_scale')]
    const [gateUp, expertDown] = [await at('experts.gate_up_proj'), await at('experts.down_proj')]
    const I = config.expertIntermediateSize
    const chosen: number[][] = []
    stream = afterAttention.map(r => {
      const scores = times(router, rms(r).map((value, i) => value * routerScale[i] / Math.sqrt(H)))
      const best = [...scores.keys()].sort((a, b) => scores[b] - scores[a]).slice(0, config.topK)
      chosen.push(best)
      const weights = softmax(best.map(expert => scores[expert]))
      const e = rms(r, preExpert)
      let sum: Float32Array = new Float32Array(H)
      for (const [n, expert] of best.entries()) {
        const from = expert * 2 * I * H
        const hidden = gated(times(gateUp.subarray(from, from + I * H), e), times(gateUp.subarray(from + I * H, from + 2 * I * H), e))
        const out = times(expertDown.subarray(expert * H * I, (expert + 1) * H * I), hidden)
        sum = plus(sum, out.map(value => value * weights[n] * expertScale[expert]))
      }
      const d = rms(r, preDense)
      const dense = rms(times(down, gated(times(gate, d), times(up, d))), postDense)
      return plus(r, rms(plus(dense, rms(sum, postExpert)), post)).map(value => value * scalar[0])
    })
    trace.experts.push(chosen)
    trace.streamRms.push(Math.sqrt(stream.reduce((total, x) => total + dot(x, x), 0) / stream.length / H))
  }
  const last = rms(stream[stream.length - 1], await values('norm.weight'))
  trace.logits = times(embedding, last).map(value => config.logitSoftcap * Math.tanh(value / config.logitSoftcap))
  return trace
}

function dot (a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}

function plus (a: Float32Array, b: Float32Array): Float32Array {
  return a.map((value, i) => value + b[i])
}

/** [out, in] x [in] */
function times (w: Float32Array, x: Float32Array): Float32Array {
  const out = new Float32Array(w.length / x.length)
  for (let row = 0; row < out.length; row++) {
    let sum = 0
    const start = row * x.length
    for (let i = 0; i < x.length; i++) sum += w[start + i] * x[i]
    out[row] = sum
  }
  return out
}

function rms (x: Float32Array, weight?: Float32Array): Float32Array {
  const scale = (dot(x, x) / x.length + 1e-6) ** -0.5
  return x.map((value, i) => value * scale * (weight?.[i] ?? 1))
}

function gated (gate: Float32Array, up: Float32Array): Float32Array {
  return gate.map((z, i) => 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3))) * up[i])
}

function softmax (scores: number[]): number[] {
  const most = Math.max(...scores)
  const powers = scores.map(score => Math.exp(score - most))
  const sum = powers.reduce((a, b) => a + b, 0)
  return powers.map(power => power / sum)
}
