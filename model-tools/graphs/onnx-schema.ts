import protobuf from 'protobufjs'

/**
 * The part of ONNX's schema that our graphs use; field numbers are those of
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3 (messages we never write are left out).
 */
const SCHEMA = `
syntax = "proto3";

message StringStringEntryProto {
  optional string key = 1;
  optional string value = 2;
}

message TensorProto {
  repeated int64 dims = 1;
  optional int32 data_type = 2;
  optional string name = 8;
  optional bytes raw_data = 9;
  repeated StringStringEntryProto external_data = 13;
  optional int32 data_location = 14;
}

message AttributeProto {
  optional string name = 1;
  optional float f = 2;
  optional int64 i = 3;
  optional bytes s = 4;
  optional TensorProto t = 5;
  optional GraphProto g = 6;
  repeated float floats = 7;
  repeated int64 ints = 8;
  optional int32 type = 20;
}

message NodeProto {
  repeated string input = 1;
  repeated string output = 2;
  optional string name = 3;
  optional string op_type = 4;
  repeated AttributeProto attribute = 5;
  optional string domain = 7;
}

message TensorShapeProto {
  message Dimension {
    optional int64 dim_value = 1;
    optional string dim_param = 2;
  }
  repeated Dimension dim = 1;
}

message TypeProto {
  message Tensor {
    optional int32 elem_type = 1;
    optional TensorShapeProto shape = 2;
  }
  optional Tensor tensor_type = 1;
}

message ValueInfoProto {
  optional string name = 1;
  optional TypeProto type = 2;
}

message GraphProto {
  repeated NodeProto node = 1;
  optional string name = 2;
  repeated TensorProto initializer = 5;
  repeated ValueInfoProto input = 11;
  repeated ValueInfoProto output = 12;
}

message OperatorSetIdProto {
  optional string domain = 1;
  optional int64 version = 2;
}

message ModelProto {
  optional int64 ir_version = 1;
  optional string producer_name = 2;
  optional GraphProto graph = 7;
  repeated OperatorSetIdProto opset_import = 8;
}
`

export interface TensorProto {
  dims: number[]
  dataType: number
  name?: string
  rawData?: Uint8Array
  externalData?: Array<{ key: string, value: string }>
  /** 1: the bytes are in the file that externalData names. */
  dataLocation?: number
}

export interface AttributeProto {
  name: string
  type: number
  f?: number
  i?: number
  s?: Uint8Array
  t?: TensorProto
  g?: GraphProto
  floats?: number[]
  ints?: number[]
}

export interface NodeProto {
  input: string[]
  output: string[]
  name: string
  opType: string
  attribute: AttributeProto[]
  domain: string
}

export interface ValueInfoProto {
  name: string
  type: { tensorType: { elemType: number, shape: { dim: Array<{ dimValue: number } | { dimParam: string }> } } }
}

export interface GraphProto {
  node: NodeProto[]
  name: string
  initializer: TensorProto[]
  input: ValueInfoProto[]
  output: ValueInfoProto[]
}

const modelProto = protobuf.parse(SCHEMA).root.lookupType('ModelProto')

/** Serialises a model of opset `opset` (default domain) that may also use onnxruntime's contrib operators. */
export function encodeModel (graph: GraphProto, opset: number): Uint8Array {
  return modelProto.encode(modelProto.fromObject({
    irVersion: 10,
    producerName: 'moeswarm',
    graph,
    opsetImport: [{ domain: '', version: opset }, { domain: 'com.microsoft', version: 1 }]
  })).finish()
}

/** Where onnxruntime has written the packed form of each initialiser, by name: of a model that it saved with `save_external_prepacked_constant_initializers`. */
export function prepackedOf (model: Uint8Array): Record<string, { key: string, offset: number, bytes: number }> {
  const { graph } = modelProto.toObject(modelProto.decode(model)) as { graph: { initializer?: TensorProto[] } }
  return Object.fromEntries((graph.initializer ?? []).flatMap(({ name, externalData = [] }) => {
    const found = /^(.+)\|(\d+);(\d+);/.exec(externalData.find(({ key }) => key === 'prepacked_0')?.value ?? '')
    return name === undefined || found === null ? [] : [[name, { key: found[1], offset: Number(found[2]), bytes: Number(found[3]) }]]
  }))
}
