import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { create as createDigest } from 'multiformats/hashes/digest'
import { MODEL_ID_BYTES } from '../constants.js'
import { SwarmError } from '../errors.js'

const SHA2_256 = 0x12
const MODEL_ID = new RegExp(`^[0-9a-f]{${MODEL_ID_BYTES * 2}}$`)

/** Where the peers that serve any part of a model announce themselves: CIDv1, raw, sha2-256 of `moeswarm/1/<model id>`. */
export function modelKey (modelId: string): CID {
  return keyOf(`moeswarm/1/${checkModelId(modelId)}`)
}

/** Where the peers that serve any block of a layer announce themselves: CIDv1, raw, sha2-256 of `moeswarm/1/<model id>/<layer>`. */
export function layerKey (modelId: string, layer: number): CID {
  return keyOf(`moeswarm/1/${checkModelId(modelId)}/${layer}`)
}

/** Where the peers that give a model's files to others announce themselves: CIDv1, raw, sha2-256 of `moeswarm/1/<model id>/blocks`. */
export function blocksKey (modelId: string): CID {
  return keyOf(`moeswarm/1/${checkModelId(modelId)}/blocks`)
}

/** Throws SwarmError 'bad-argument' unless `modelId` is 64 lower-case hex digits. */
export function checkModelId (modelId: string): string {
  if (!MODEL_ID.test(modelId)) {
    throw new SwarmError('bad-argument', `A model id is ${MODEL_ID_BYTES * 2} lower-case hex digits, not ${JSON.stringify(modelId.slice(0, 80))}.`, { argument: 'modelId' })
  }
  return modelId
}

function keyOf (text: string): CID {
  return CID.createV1(raw.code, createDigest(SHA2_256, createHash('sha256').update(text).digest()))
}
