/** The numbers of the GGUF format, as ggml's docs/gguf.md and ggml.h define them; reader and writer share them. */

/** "GGUF", little-endian. A big-endian file starts with the same bytes but has its version's bytes reversed. */
export const GGUF_MAGIC = 0x46554747
/** Version 2 made counts 64 bits wide, version 3 allowed big-endian files; the little-endian layout of both is one. */
export const GGUF_VERSIONS = [2, 3]
export const ALIGNMENT_KEY = 'general.alignment'
export const DEFAULT_ALIGNMENT = 32
/** Of ggml itself. */
export const MAX_DIMENSIONS = 4

/** Types of metadata values. */
export const VALUE_TYPES = { u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10, i64: 11, f64: 12 } as const
export type ValueType = keyof typeof VALUE_TYPES

/** Every tensor type that ggml has had, by number: a file with one that we cannot read is told by name. */
const TENSOR_TYPES: Record<number, string> = {
  0: 'F32', 1: 'F16', 2: 'Q4_0', 3: 'Q4_1', 4: 'Q4_2', 5: 'Q4_3', 6: 'Q5_0', 7: 'Q5_1', 8: 'Q8_0', 9: 'Q8_1', 10: 'Q2_K', 11: 'Q3_K', 12: 'Q4_K', 13: 'Q5_K', 14: 'Q6_K', 15: 'Q8_K',
  16: 'IQ2_XXS', 17: 'IQ2_XS', 18: 'IQ3_XXS', 19: 'IQ1_S', 20: 'IQ4_NL', 21: 'IQ3_S', 22: 'IQ2_S', 23: 'IQ4_XS', 24: 'I8', 25: 'I16', 26: 'I32', 27: 'I64', 28: 'F64', 29: 'IQ1_M',
  30: 'BF16', 34: 'TQ1_0', 35: 'TQ2_0', 39: 'MXFP4', 40: 'NVFP4'
}

/** Undefined for a number that ggml did not have when this was written. */
export function tensorTypeName (type: number): string | undefined {
  return TENSOR_TYPES[type]
}

/** Throws RangeError for a name that is none of ggml's. */
export function tensorTypeNumber (name: string): number {
  const found = Object.entries(TENSOR_TYPES).find(([, other]) => other === name)
  if (found == null) throw new RangeError(`${name} is no tensor type of ggml`)
  return Number(found[0])
}

export function alignTo (offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment
}
