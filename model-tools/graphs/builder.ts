import type { TensorEntry } from '../bundle/manifest.js'
import { QUANT_BLOCKS } from '../bundle/manifest.js'
import { isQuantized } from '../quantize/rows.js'
import { type AttributeProto, encodeModel, type GraphProto, type NodeProto, type TensorProto } from './onnx-schema.js'

/** Operators of this opset are used; onnxruntime 1.30 knows it. */
const OPSET = 21

const DATA_TYPES = { f32: 1, u8: 2, i32: 6, i64: 7, f16: 10 } as const
export type DataType = keyof typeof DATA_TYPES

const ATTRIBUTE_FLOAT = 1
const ATTRIBUTE_INT = 2
const ATTRIBUTE_STRING = 3
const ATTRIBUTE_INTS = 7

/** Integers become INT attributes, other numbers FLOAT; wrap a whole-numbered float in `{ float }`. */
export type Attribute = number | { float: number } | string | number[]

/** The name of a value in the graph under construction. */
export type Value = string

/** A tensor of a bundle whose scales may lie elsewhere too, already as f32: what onnxruntime would make of them at loading, and keep. */
export interface GraphTensor extends TensorEntry {
  scales32?: { file: string, offset: number }
  /** The matrix in the form that kernels read, which is then mapped; the bundle's own bytes are not read. */
  packed?: PackedTensor
}

/** A quantised matrix as onnxruntime packs it, with scales, sums and zero points (docs/hosting.md). */
export interface PackedTensor {
  file: string
  /** A multiple of 64: kernels find what follows the values by rounding addresses up. */
  offset: number
  bytes: number
  /** What onnxruntime finds it by: a digest of what it makes of the first bytes of `file` as values. Absent while that is asked. */
  key?: string
}

const CONTRIB = 'com.microsoft'

/**
 * Names nodes and values, keeps initialisers once, and knows how a bundle's weights become operators.
 * Weights stay in the bundle's files: the model only refers to them as external data relative to the bundle directory.
 */
export class GraphBuilder {
  private readonly graph: GraphProto
  private readonly initializers = new Set<Value>()
  /** Values of nodes that have no public name yet. */
  private readonly computed = new Set<Value>()
  private readonly publicNames = new Map<Value, string>()
  private counter = 0

  constructor (name: string, private readonly eps: number) {
    this.graph = { name, node: [], initializer: [], input: [], output: [] }
  }

  /** `dims`: a number is fixed, a string is a symbolic dimension. */
  input (name: string, type: DataType, dims: Array<number | string>): Value {
    this.graph.input.push(valueInfo(name, type, dims))
    return name
  }

  /** Gives `value` the public name `name`. */
  output (name: string, value: Value, type: DataType, dims: Array<number | string>): void {
    // A value under its own name; what has one already (an input, another output) needs a copy.
    if (this.computed.has(value)) this.publicNames.set(value, name)
    else this.node('Identity', [value], {}, '', [name])
    this.computed.delete(value)
    this.graph.output.push(valueInfo(name, type, dims))
  }

  op (opType: string, inputs: Value[], attributes: Record<string, Attribute> = {}): Value {
    return this.node(opType, inputs, attributes, '', [this.fresh(opType)])[0]
  }

  ops (opType: string, inputs: Value[], outputs: number, attributes: Record<string, Attribute> = {}): Value[] {
    return this.node(opType, inputs, attributes, '', Array.from({ length: outputs }, () => this.fresh(opType)))
  }

  /** An operator of onnxruntime's own (com.microsoft). */
  contrib (opType: string, inputs: Value[], attributes: Record<string, Attribute> = {}): Value {
    return this.node(opType, inputs, attributes, CONTRIB, [this.fresh(opType)])[0]
  }

  floats (values: number[], dims: number[] = [values.length]): Value {
    return this.constant('f32', dims, new Uint8Array(Float32Array.from(values).buffer))
  }

  ints (...values: number[]): Value {
    return this.constant('i64', [values.length], new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer))
  }

  /** x as another type. */
  cast (x: Value, to: DataType): Value {
    return this.op('Cast', [x], { to: DATA_TYPES[to] })
  }

  reshape (x: Value, ...shape: number[]): Value {
    return this.op('Reshape', [x, this.ints(...shape)])
  }

  /** An f32 vector or matrix of the bundle. */
  weight (name: string, entry: TensorEntry): Value {
    return this.external(name, entry.format === 'f16' ? 'f16' : 'f32', entry.shape, entry.file, entry.offset, entry.bytes)
  }

  /** y = x W^T. x [rows, in], `entry` [out, in] of any weight format, y [rows, out]. */
  linear (x: Value, name: string, entry: GraphTensor): Value {
    const [N, K] = entry.shape
    if (!isQuantized(entry.format) || entry.scales === undefined) {
      const stored = this.weight(name, entry)
      const W = entry.format === 'f16' ? this.cast(stored, 'f32') : stored
      return this.op('Gemm', [x, W], { transB: 1 })
    }
    const bits = entry.format === 'q8' ? 8 : 4
    const blockSize = QUANT_BLOCKS[entry.format]
    // accuracy_level 4: activations are quantised to int8 in blocks of the same size, which is what makes 4-bit products memory-bound.
    const attributes = { K, N, bits, block_size: blockSize, accuracy_level: 4 }
    const blocks = K / blockSize
    if (entry.packed !== undefined) return this.contrib('MatMulNBits', [x, ...this.packed(name, entry, entry.packed, blocks)], attributes)
    const data = this.external(name, 'u8', [N, blocks, blockSize * bits / 8], entry.file, entry.offset, entry.bytes)
    // onnxruntime wants scales of the activations' type; the Cast is folded when the session loads.
    const scales = entry.scales32 !== undefined
      ? this.external(`${name}.scales`, 'f32', [N, blocks], entry.scales32.file, entry.scales32.offset, N * blocks * 4)
      : this.cast(this.external(`${name}.scales`, 'f16', [N, blocks], entry.file, entry.scales.offset, entry.scales.bytes), 'f32')
    const zeros = entry.zeros === undefined ? [] : [this.external(`${name}.zeros`, 'u8', [N, entry.zeros.bytes / N], entry.file, entry.zeros.offset, entry.zeros.bytes)]
    return this.contrib('MatMulNBits', [x, data, scales, ...zeros], attributes)
  }

  /**
   * The operands of a product whose packed form is in a file. onnxruntime packs at every load to find the entry by its digest; what it packs is the first
   * bytes of that file, the same pages for all its matrices. Scales and zero points are inputs with a default, so they are no constants, are not packed
   * over what is mapped, and are never read: the packed form has them.
   */
  private packed (name: string, { shape: [N], bytes, zeros }: TensorEntry, { file, offset, bytes: packedBytes, key }: PackedTensor, blocks: number): Value[] {
    const entry = key === undefined ? [] : [{ key: 'prepacked_0', value: `${key}|${offset};${packedBytes};0` }]
    const data = this.external(name, 'u8', [N, blocks, bytes / N / blocks], file, 0, bytes, entry)
    const unread = (part: string, type: DataType, columns: number, length: number): Value =>
      this.external(this.input(`${name}.${part}`, type, [N, columns]), type, [N, columns], file, 0, length)
    return [data, unread('scales', 'f32', blocks, N * blocks * 4), ...zeros === undefined ? [] : [unread('zeros', 'u8', zeros.bytes / N, zeros.bytes)]]
  }

  /** y = x / sqrt(mean(x^2) + eps) * weight over the last dimension, in fp32 (gemma4-spec, section 3). */
  rmsNorm (x: Value, weight: Value): Value {
    return this.op('SimplifiedLayerNormalization', [x, weight], { axis: -1, epsilon: { float: this.eps } })
  }

  /** down(gelu_tanh(gate x) * up x), gate and up in one product (gemma4-spec, section 5). */
  gatedMlp (x: Value, names: { gateUp: string, down: string }, gateUp: GraphTensor, down: GraphTensor): Value {
    const [gate, up] = this.ops('Split', [this.linear(x, names.gateUp, gateUp)], 2, { axis: 1, num_outputs: 2 })
    const activated = this.op('Mul', [this.op('Gelu', [gate], { approximate: 'tanh' }), up])
    return this.linear(activated, names.down, down)
  }

  /** The serialised ONNX model. */
  build (): Uint8Array {
    const named = (value: Value): Value => this.publicNames.get(value) ?? value
    for (const node of this.graph.node) {
      node.input = node.input.map(named)
      node.output = node.output.map(named)
    }
    return encodeModel(this.graph, OPSET)
  }

  private node (opType: string, input: Value[], attributes: Record<string, Attribute>, domain: string, output: Value[]): Value[] {
    const node: NodeProto = {
      opType, domain, input, output, name: output[0],
      attribute: Object.entries(attributes).map(([name, value]) => attributeProto(name, value))
    }
    this.graph.node.push(node)
    for (const value of output) this.computed.add(value)
    return output
  }

  private external (name: string, type: DataType, dims: number[], file: string, offset: number, bytes: number, more: Array<{ key: string, value: string }> = []): Value {
    return this.initializer({
      name, dims, dataType: DATA_TYPES[type], dataLocation: 1,
      externalData: [
        { key: 'location', value: file },
        { key: 'offset', value: String(offset) },
        { key: 'length', value: String(bytes) },
        ...more
      ]
    })
  }

  private constant (type: DataType, dims: number[], rawData: Uint8Array): Value {
    const name = `${type}:${dims.join('x')}:${Buffer.from(rawData.subarray(0, 64)).toString('hex')}:${rawData.length}`
    return this.initializer({ name: rawData.length <= 64 ? name : this.fresh('constant'), dims, dataType: DATA_TYPES[type], rawData })
  }

  private initializer (tensor: TensorProto & { name: string }): Value {
    if (!this.initializers.has(tensor.name)) {
      this.initializers.add(tensor.name)
      this.graph.initializer.push(tensor)
    }
    return tensor.name
  }

  private fresh (opType: string): Value {
    return `${opType}_${this.counter++}`
  }
}

function valueInfo (name: string, type: DataType, dims: Array<number | string>): GraphProto['input'][number] {
  const dim = dims.map(d => typeof d === 'number' ? { dimValue: d } : { dimParam: d })
  return { name, type: { tensorType: { elemType: DATA_TYPES[type], shape: { dim } } } }
}

function attributeProto (name: string, value: Attribute): AttributeProto {
  if (typeof value === 'string') return { name, type: ATTRIBUTE_STRING, s: Buffer.from(value) }
  if (Array.isArray(value)) return { name, type: ATTRIBUTE_INTS, ints: value }
  if (typeof value === 'object') return { name, type: ATTRIBUTE_FLOAT, f: value.float }
  return Number.isInteger(value) ? { name, type: ATTRIBUTE_INT, i: value } : { name, type: ATTRIBUTE_FLOAT, f: value }
}
