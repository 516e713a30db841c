import { ModelError } from '../errors.js'
import { GEMMA3_DIALECT, GEMMA4_DIALECT, type Dialect } from './dialects.js'

/** A published model, but for its weights. */
export interface Shape {
  /** The config.json of the release; `num_hidden_layers` and `layer_types` follow from `layers`. */
  config: (layers: number) => Record<string, unknown>
  generation: Record<string, unknown>
  /** The config.json of the drafter that goes with it; absent where there is none. */
  drafter?: Record<string, unknown>
  dialect: Dialect
  layers: number
  /** Files that the release's safetensors come in. */
  shards: number
}

/** Every sixth layer of Gemma 4 is a full one. */
const FULL_PERIOD = 6

/** As the model's configuration class has it, the last layer is a full one in any case. */
function layerTypes (layers: number): string[] {
  return Array.from({ length: layers }, (_, layer) => (layer + 1) % FULL_PERIOD === 0 || layer === layers - 1 ? 'full_attention' : 'sliding_attention')
}

function gemma4 (text: Record<string, unknown>): (layers: number) => Record<string, unknown> {
  return layers => ({
    architectures: ['Gemma4ForConditionalGeneration'],
    bos_token_id: 2,
    dtype: 'bfloat16',
    eos_token_id: [1, 106],
    model_type: 'gemma4',
    pad_token_id: 0,
    text_config: {
      attention_bias: false, attention_dropout: 0, attention_k_eq_v: true, bos_token_id: 2, dtype: 'bfloat16', enable_moe_block: true, eos_token_id: 1, final_logit_softcapping: 30,
      hidden_activation: 'gelu_pytorch_tanh', hidden_size_per_layer_input: 0, layer_types: layerTypes(layers), model_type: 'gemma4_text', num_hidden_layers: layers,
      num_kv_shared_layers: 0, pad_token_id: 0, rms_norm_eps: 1e-6,
      rope_parameters: {
        full_attention: { partial_rotary_factor: 0.25, rope_theta: 1_000_000, rope_type: 'proportional' },
        sliding_attention: { rope_theta: 10_000, rope_type: 'default' }
      },
      tie_word_embeddings: true, use_cache: true, use_double_wide_mlp: false, ...text
    },
    tie_word_embeddings: true,
    vision_config: null
  })
}

/** Of the release of its drafter, which shares what is given of `text` with the model. */
function gemma4Drafter (text: Record<string, unknown>, own: { hidden_size: number, intermediate_size: number, layer_types: string[] }): Record<string, unknown> {
  const shared = ['global_head_dim', 'head_dim', 'max_position_embeddings', 'num_attention_heads', 'num_global_key_value_heads', 'num_key_value_heads', 'sliding_window', 'vocab_size']
  return {
    architectures: ['Gemma4AssistantForCausalLM'],
    backbone_hidden_size: text.hidden_size,
    model_type: 'gemma4_assistant',
    text_config: {
      ...Object.fromEntries(shared.map(key => [key, text[key]])), attention_k_eq_v: true, enable_moe_block: false, final_logit_softcapping: null, hidden_activation: 'gelu_pytorch_tanh',
      hidden_size_per_layer_input: 0, model_type: 'gemma4_text', num_hidden_layers: own.layer_types.length, num_kv_shared_layers: own.layer_types.length, rms_norm_eps: 1e-6,
      tie_word_embeddings: true, ...own
    },
    tie_word_embeddings: true,
    use_ordered_embeddings: false
  }
}

const GEMMA4_26B = {
  global_head_dim: 512, head_dim: 256, hidden_size: 2816, intermediate_size: 2112, max_position_embeddings: 262_144, moe_intermediate_size: 704, num_attention_heads: 16, num_experts: 128,
  num_global_key_value_heads: 2, num_key_value_heads: 8, sliding_window: 1024, top_k_experts: 8, vocab_size: 262_144
}
const GEMMA4_DEMO = {
  global_head_dim: 64, head_dim: 32, hidden_size: 192, intermediate_size: 192, max_position_embeddings: 512, moe_intermediate_size: 64, num_attention_heads: 4, num_experts: 32,
  num_global_key_value_heads: 1, num_key_value_heads: 2, sliding_window: 128, top_k_experts: 4, vocab_size: 4096
}

const GEMMA3_GENERATION = { bos_token_id: 2, cache_implementation: 'hybrid', do_sample: true, eos_token_id: [1, 106], pad_token_id: 0, top_k: 64, top_p: 0.95 }
const GEMMA4_GENERATION = { bos_token_id: 2, do_sample: true, eos_token_id: [1, 106, 50], pad_token_id: 0, temperature: 1, top_k: 64, top_p: 0.95 }

/** As the release writes it: what is not here is a default of the model's configuration class. */
function gemma3 (text: Record<string, unknown>): (layers: number) => Record<string, unknown> {
  return layers => ({
    architectures: ['Gemma3ForConditionalGeneration'],
    boi_token_index: 255_999,
    eoi_token_index: 256_000,
    eos_token_id: [1, 106],
    image_token_index: 262_144,
    initializer_range: 0.02,
    mm_tokens_per_image: 256,
    model_type: 'gemma3',
    text_config: { model_type: 'gemma3_text', num_hidden_layers: layers, rope_scaling: { factor: 8, rope_type: 'linear' }, ...text },
    torch_dtype: 'bfloat16'
  })
}

const SHAPES: Record<string, Shape> = {
  'gemma-4-26b-a4b': {
    config: gemma4(GEMMA4_26B),
    drafter: gemma4Drafter(GEMMA4_26B, { hidden_size: 1024, intermediate_size: 8192, layer_types: ['sliding_attention', 'sliding_attention', 'sliding_attention', 'full_attention'] }),
    generation: GEMMA4_GENERATION,
    dialect: GEMMA4_DIALECT,
    layers: 30,
    shards: 2
  },
  'gemma-3-4b': {
    config: gemma3({ hidden_size: 2560, intermediate_size: 10_240, sliding_window: 1024 }),
    generation: GEMMA3_GENERATION,
    dialect: GEMMA3_DIALECT,
    layers: 34,
    shards: 2
  },
  // For tests: six layers and one behind the last full one, a window shorter than a text, queries scaled by no power of two.
  'gemma-3-tiny': {
    config: gemma3({
      head_dim: 32, hidden_size: 96, intermediate_size: 160, max_position_embeddings: 512, num_attention_heads: 4, num_key_value_heads: 2, query_pre_attn_scalar: 24, sliding_window: 16,
      vocab_size: 1024
    }),
    generation: GEMMA3_GENERATION,
    dialect: GEMMA3_DIALECT,
    layers: 7,
    shards: 1
  },
  // Of the demo model that comes with the sources.
  demo: {
    config: gemma4(GEMMA4_DEMO),
    drafter: gemma4Drafter(GEMMA4_DEMO, { hidden_size: 128, intermediate_size: 512, layer_types: ['sliding_attention', 'full_attention'] }),
    generation: GEMMA4_GENERATION,
    dialect: GEMMA4_DIALECT,
    layers: 6,
    shards: 1
  }
}

export const SHAPE_NAMES = Object.keys(SHAPES)

/** Throws ModelError 'unsupported' naming the shapes there are. */
export function shapeOf (name: string): Shape {
  if (!Object.hasOwn(SHAPES, name)) throw new ModelError('unsupported', `There is no shape ${name}; there are ${SHAPE_NAMES.join(', ')}.`, { shape: name })
  return SHAPES[name]
}
