/** Names in llama.cpp's files (gguf-py/gguf/constants.py) that all Gemmas have, as the published checkpoints call them. */
export const gemmaTensors = {
  'token_embd.weight': 'embed_tokens.weight',
  'output_norm.weight': 'norm.weight',
  // Tied to the embedding: only a file that is larger than it need be has it.
  'output.weight': 'lm_head.weight',
  'blk.N.attn_norm.weight': 'layers.N.input_layernorm.weight',
  'blk.N.attn_q.weight': 'layers.N.self_attn.q_proj.weight',
  'blk.N.attn_k.weight': 'layers.N.self_attn.k_proj.weight',
  'blk.N.attn_v.weight': 'layers.N.self_attn.v_proj.weight',
  'blk.N.attn_output.weight': 'layers.N.self_attn.o_proj.weight',
  'blk.N.attn_q_norm.weight': 'layers.N.self_attn.q_norm.weight',
  'blk.N.attn_k_norm.weight': 'layers.N.self_attn.k_norm.weight',
  'blk.N.post_attention_norm.weight': 'layers.N.post_attention_layernorm.weight',
  'blk.N.ffn_norm.weight': 'layers.N.pre_feedforward_layernorm.weight',
  'blk.N.ffn_gate.weight': 'layers.N.mlp.gate_proj.weight',
  'blk.N.ffn_up.weight': 'layers.N.mlp.up_proj.weight',
  'blk.N.ffn_down.weight': 'layers.N.mlp.down_proj.weight',
  'blk.N.post_ffw_norm.weight': 'layers.N.post_feedforward_layernorm.weight'
}
