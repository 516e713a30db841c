import { peerIdFromPublicKey } from '@libp2p/peer-id'
import { RecordEnvelope } from '@libp2p/peer-record'
import type { PeerId, PrivateKey, Record } from '@libp2p/interface'
import * as limits from '../constants.js'
import { SwarmError } from '../errors.js'
import { checkBlocks } from '../expert/hosted.js'
import type { HostedBlock, WireDtype } from '../interface.js'
import { PeerManifest as PbPeerManifest } from '../pb/manifest.pb.js'

/** What a peer says of itself, signed, fetched from the peer itself. Claims: a client measures what it can. */
export interface PeerManifest {
  /** 64 hex digits. */
  modelId: string
  blocks: HostedBlock[]
  /** What it would like to host: of several that would, one has precedence (selection/placement.ts), and the others look further. */
  intended: HostedBlock[]
  /** What it is obtaining, and will host. */
  fetching: HostedBlock[]
  wires: WireDtype[]
  /** Of the peer's software. */
  version: string
  /** Compute workers. */
  capacity: number
  /** Batches waiting or running. */
  load: number
  /** Grows with every manifest of a peer, also over restarts. */
  sequence: number
  /** Of the epoch, by the peer's clock. */
  issuedAtMs: number
  ttlMs: number
}

/** Keeps our signatures apart from those of other libp2p records. */
const DOMAIN = 'moeswarm-peer-manifest'
const CODEC = new TextEncoder().encode('/moeswarm/manifest/1')

/** Places are bits on the wire. */
const WIRES: readonly WireDtype[] = ['fp32', 'fp16', 'int8']

/** The manifest in a libp2p signed envelope. */
export async function sealManifest (manifest: PeerManifest, privateKey: PrivateKey): Promise<Uint8Array> {
  const payload = PbPeerManifest.encode({
    modelId: Buffer.from(manifest.modelId, 'hex'),
    blocks: manifest.blocks,
    intended: manifest.intended,
    fetching: manifest.fetching,
    wires: manifest.wires.reduce((bits, wire) => bits | (1 << WIRES.indexOf(wire)), 0),
    version: manifest.version,
    capacity: manifest.capacity,
    load: manifest.load,
    sequence: BigInt(manifest.sequence),
    issuedAtMs: BigInt(manifest.issuedAtMs),
    ttlMs: manifest.ttlMs
  })
  const record: Record = { domain: DOMAIN, codec: CODEC, marshal: () => payload, equals: other => other === record }
  return (await RecordEnvelope.seal(record, privateKey)).marshal()
}

export interface ManifestExpectation {
  /** Who is at the other end of the connection: nobody else may have signed. */
  signer: PeerId
  /** The highest sequence seen of this peer; an older manifest is a replay. */
  minSequence: number
  /** Milliseconds of the epoch. */
  nowMs: number
}

/** Opens and checks a sealed manifest. Throws SwarmError 'too-large', 'malformed' or 'untrusted-manifest'. */
export async function openManifest (sealed: Uint8Array, { signer, minSequence, nowMs }: ManifestExpectation): Promise<PeerManifest> {
  if (sealed.byteLength > limits.MANIFEST_MAX_BYTES) {
    throw new SwarmError('too-large', `A peer manifest is longer than ${limits.MANIFEST_MAX_BYTES} bytes.`, { limit: limits.MANIFEST_MAX_BYTES })
  }
  let envelope: RecordEnvelope
  try {
    envelope = await RecordEnvelope.openAndCertify(sealed, DOMAIN)
  } catch (error) {
    throw untrusted('its signature does not fit', error)
  }
  if (!peerIdFromPublicKey(envelope.publicKey).equals(signer)) throw untrusted('another peer signed it')
  if (!Buffer.from(CODEC).equals(envelope.payloadType)) throw untrusted('it is a record of another kind')
  const manifest = decodeManifest(envelope.payload)
  if (manifest.sequence < minSequence) throw untrusted('it is older than one seen before')
  const age = nowMs - manifest.issuedAtMs
  if (age > manifest.ttlMs + limits.MANIFEST_CLOCK_SKEW_MS || age < -limits.MANIFEST_CLOCK_SKEW_MS) {
    throw untrusted('it has expired, or the clocks of both machines are far apart')
  }
  return manifest
}

/** Reads the protobuf; every field is checked against its range. Throws SwarmError 'malformed'. */
export function decodeManifest (payload: Uint8Array): PeerManifest {
  let manifest: PbPeerManifest
  try {
    manifest = PbPeerManifest.decode(payload, { limits: { blocks: limits.MANIFEST_MAX_BLOCKS, intended: limits.MANIFEST_MAX_BLOCKS, fetching: limits.MANIFEST_MAX_BLOCKS } })
  } catch (error) {
    throw malformed('it is no protobuf of ours', error)
  }
  if (manifest.modelId.byteLength !== limits.MODEL_ID_BYTES) throw malformed('its model id has another length')
  if (manifest.version.length > limits.MANIFEST_MAX_VERSION_LENGTH || !/^[\x20-\x7e]*$/.test(manifest.version)) throw malformed('its version is not a short text')
  if (manifest.ttlMs < 1 || manifest.ttlMs > limits.MANIFEST_MAX_TTL_MS) throw malformed('its time to live is out of range')
  for (const blocks of [manifest.blocks, manifest.intended, manifest.fetching]) checkBlocks(blocks, limits.MAX_EXPERTS, limits.MAX_LAYERS)
  return {
    modelId: Buffer.from(manifest.modelId).toString('hex'),
    blocks: manifest.blocks,
    intended: manifest.intended,
    fetching: manifest.fetching,
    wires: WIRES.filter((_, bit) => (manifest.wires & (1 << bit)) !== 0),
    version: manifest.version,
    capacity: manifest.capacity,
    load: manifest.load,
    sequence: safeInteger(manifest.sequence),
    issuedAtMs: safeInteger(manifest.issuedAtMs),
    ttlMs: manifest.ttlMs
  }
}

function safeInteger (value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed('a number is out of range')
  return Number(value)
}

function untrusted (reason: string, cause?: unknown): SwarmError<'untrusted-manifest'> {
  return new SwarmError('untrusted-manifest', `The manifest of a peer cannot be trusted: ${reason}.`, { reason }, { cause })
}

function malformed (reason: string, cause?: unknown): SwarmError<'malformed'> {
  return new SwarmError('malformed', `The manifest of a peer cannot be read: ${reason}.`, { reason }, { cause })
}
