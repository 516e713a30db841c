import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { RecordEnvelope } from '@libp2p/peer-record'
import { multiaddr } from '@multiformats/multiaddr'
import * as lp from 'it-length-prefixed'
import { Uint8ArrayList } from 'uint8arraylist'
import { MANIFEST_FILE } from '../../model-tools/index.js'
import { parseManifest } from '../../model-tools/bundle/manifest-schema.js'
import { decodeFetcherFrame, decodeServerFrame, encodeAck, encodeBlocksError, encodeCancel as encodeBlocksCancel, encodeCancelled, encodeContents, encodeRead, encodeSizes, encodeSizesReply } from '../../swarm/blocks/codec.js'
import { checkFiles } from '../../swarm/blocks/content.js'
import { networksOf } from '../../swarm/connection-gate.js'
import * as constants from '../../swarm/constants.js'
import { coverageMap } from '../../swarm/directory/coverage.js'
import { decodeManifest, openManifest, type PeerManifest, sealManifest } from '../../swarm/directory/manifest.js'
import { decodeClientFrame, decodePeerFrame, decodeReplyRows, encodeCancel, encodeError, encodeReply, encodeRequest, readFrameId } from '../../swarm/expert/codec.js'
import { decodeHello, decodeHelloReply, encodeHello, encodeRefusal, encodeWelcome } from '../../swarm/expert/handshake.js'
import { HostedExperts } from '../../swarm/expert/hosted.js'
import { wholePart } from '../../swarm/expert/split.js'
import type { ExpertBatch, HostedBlock, WireDtype } from '../../swarm/interface.js'
import { demoBundle } from '../demo-bundle.js'
import { FILE_TARGETS } from './file-targets.js'
import { HTTP_TARGETS } from './http-targets.js'
import { hostileJson, smallManifest } from './manifests.js'
import type { Random } from './random.js'
import { type FuzzTarget, must } from './target.js'

const KiB = 1024
/** What small objects and the collector's own work account for. */
const SLACK_BYTES = 64 * KiB
const HIDDEN = 24
const BOUNDS = { hiddenSize: HIDDEN, experts: 16, layers: 4, maxTokens: 64 }
const DTYPES: WireDtype[] = ['fp32', 'fp16', 'int8']
const FRAMING_ERRORS = new Set(['InvalidDataLengthError', 'InvalidDataLengthLengthError', 'InvalidMessageLengthError', 'UnexpectedEOFError', 'RangeError'])
const ADDRESS_ERRORS = new Set(['InvalidMultiaddrError', 'InvalidProtocolError', 'InvalidParametersError', 'ValidationError', 'UnknownProtocolError', 'RangeError', 'TypeError', 'Error', 'SyntaxError'])

export async function fuzzTargets (): Promise<FuzzTarget[]> {
  const key = await generateKeyPair('Ed25519')
  const signer = peerIdFromPrivateKey(key)
  const bundleManifest = await readFile(join(await demoBundle('q4'), MANIFEST_FILE))
  const small = smallManifest(bundleManifest)
  const expect = { signer, minSequence: 0, nowMs: 1_800_000_000_000 }
  return [
    {
      name: 'expert-requests',
      reads: 'frames of /moeswarm/experts/1 that a peer gets',
      share: 1,
      valid: random => unframed(random.chance(0.1) ? encodeCancel(random.below(2 ** 31)) : encodeRequest(random.below(2 ** 31), random.of(DTYPES), wholePart(batchOf(random)), HIDDEN)),
      kinds: [1, 4],
      decode: input => {
        readFrameId(input)
        const frame = decodeClientFrame(input, BOUNDS)
        if (frame.kind === 'cancel') return 0
        const { tokens, hidden, counts, experts, weights } = frame.batch
        must(hidden.length === tokens * HIDDEN && counts.length === tokens && experts.length === weights.length, 'shapes that do not fit each other')
        must(experts.every(expert => expert < BOUNDS.experts) && hidden.every(Number.isFinite) && weights.every(Number.isFinite), 'a value that nobody checked')
        let at = 0
        must(counts.every(count => new Set(experts.subarray(at, at += count)).size === count), 'an expert named twice')
        return hidden.byteLength + counts.byteLength + experts.byteLength + weights.byteLength
      },
      mayTake: bytes => bytes * 5
    },
    {
      name: 'traced-requests',
      reads: 'the same with a trace id',
      share: 1,
      valid: random => unframed(encodeRequest(random.below(2 ** 31), random.of(DTYPES), wholePart(batchOf(random)), HIDDEN, { traceId: hex(random, 16), spanId: hex(random, 8) })),
      kinds: [1],
      decode: input => {
        const frame = decodeClientFrame(input, BOUNDS)
        if (frame.kind === 'cancel' || frame.trace === undefined) return 0
        const { traceId, spanId } = frame.trace
        // Peers write them into their logs.
        must(/^[0-9a-f]{32}$/.test(traceId) && /^[0-9a-f]{16}$/.test(spanId), 'a trace id that is none')
        return frame.batch.hidden.byteLength
      },
      mayTake: bytes => bytes * 5
    },
    {
      name: 'expert-replies',
      reads: 'frames of /moeswarm/experts/1 that a client gets',
      share: 1,
      valid: random => {
        if (random.chance(0.2)) return unframed(encodeError(random.below(2 ** 31), 'busy', random.below(5_000)))
        return unframed(encodeReply(1, random.of(DTYPES), floats(random, HIDDEN * (1 + random.below(8))), HIDDEN, random.below(2 ** 31), random.below(2 ** 31)))
      },
      kinds: [2, 3],
      decode: input => {
        const frame = decodePeerFrame(input)
        if (frame.kind !== 'reply') return 0
        const rows = decodeReplyRows(frame, frame.dtype, frame.tokens, HIDDEN)
        must(rows.every(Number.isFinite), 'a value that nobody checked')
        return rows.byteLength
      },
      mayTake: bytes => bytes * 5
    },
    {
      name: 'hello',
      reads: 'the first frame of a client',
      share: 1,
      valid: random => unframed(encodeHello({ modelId: hex(random, 32), hiddenSize: 1 + random.below(9_000), experts: 1 + random.below(256), wire: random.of(DTYPES), maxFrameBytes: constants.MAX_FRAME_BYTES })),
      decode: input => {
        const hello = decodeHello(input)
        must(hello.modelId.length === 64 && DTYPES.includes(hello.wire) && hello.hiddenSize >= 1, 'a hello that nobody checked')
        return 64
      },
      mayTake: bytes => bytes * 8
    },
    {
      name: 'welcome',
      reads: 'the first frame of a peer',
      share: 1,
      valid: random => unframed(random.chance(0.2)
        ? encodeRefusal({ code: 'busy', retryAfterMs: random.below(10_000) })
        : encodeWelcome({ maxFrameBytes: constants.MAX_FRAME_BYTES, maxTokens: 1 + random.below(2_000), maxInFlight: 1 + random.below(100), traces: random.below(2) === 1, traceLinks: random.below(40), blocks: blocksOf(random, 16, 4) })),
      decode: input => {
        const reply = decodeHelloReply(input, 16)
        if ('code' in reply) return 0
        new HostedExperts(reply.blocks, 16)
        return reply.blocks.length * 3
      },
      // An empty block is two bytes of protobuf and an object.
      mayTake: bytes => bytes * 64
    },
    {
      name: 'peer-manifest',
      reads: 'what a peer says of itself, and the map that is made of it',
      share: 1,
      valid: async random => await payloadOf(await sealManifest(manifestOf(random), key)),
      decode: input => {
        const { blocks, sequence } = decodeManifest(input)
        must(Number.isSafeInteger(sequence), 'a sequence that is no number')
        return coverageMap([{ peerId: 'a', blocks }, { peerId: 'b', blocks: [{ layer: 0, firstExpert: 0, experts: 16 }] }]).length
      },
      mayTake: bytes => bytes * 512
    },
    {
      name: 'sealed-manifest',
      reads: 'the signed envelope around it',
      share: 1,
      valid: async random => {
        // Half of them are signed as they should be and hold what should not be there.
        const payload = random.chance(0.5) ? random.bytes(random.below(100)) : await payloadOf(await sealManifest(manifestOf(random), key))
        const record = { domain: 'moeswarm-peer-manifest', codec: new TextEncoder().encode('/moeswarm/manifest/1'), marshal: () => payload, equals: () => false }
        return (await RecordEnvelope.seal(record, key)).marshal()
      },
      decode: async input => (await openManifest(input, expect)).blocks.length,
      mayTake: bytes => bytes * 512
    },
    {
      name: 'block-requests',
      reads: 'frames of /moeswarm/blocks/1 that a peer gets',
      share: 1,
      valid: random => unframed(random.of([
        () => encodeSizes(1, Array.from({ length: 1 + random.below(5) }, () => hex(random, 32))),
        () => encodeRead(2, hex(random, 32), random.below(2 ** 31), 1 + random.below(constants.BLOCK_CHUNK_BYTES)),
        () => encodeAck(random.below(2 ** 20)),
        () => encodeBlocksCancel(random.below(2 ** 31))
      ])()),
      kinds: [1, 2, 3, 4],
      decode: input => {
        const frame = decodeFetcherFrame(input)
        if (frame.kind === 'read') must(Number.isSafeInteger(frame.offset + frame.length) && frame.length <= constants.BLOCK_CHUNK_BYTES, 'a range that nobody checked')
        return frame.kind === 'sizes' ? frame.digests.length * 64 : 0
      },
      mayTake: bytes => bytes * 16
    },
    {
      name: 'block-replies',
      reads: 'frames of /moeswarm/blocks/1 that a fetcher gets',
      share: 1,
      valid: random => unframed(random.of([
        () => encodeSizesReply(1, Array.from({ length: 1 + random.below(5) }, () => random.chance(0.3) ? undefined : random.below(2 ** 31))),
        () => encodeContents(2, random.bytes(1 + random.below(200))),
        () => encodeBlocksError(3, 'busy', random.below(5_000)),
        () => encodeCancelled(4)
      ])()),
      kinds: [5, 6, 7, 8],
      decode: input => {
        const frame = decodeServerFrame(input)
        if (frame.kind === 'sizes') must(frame.sizes.every(size => size === undefined || Number.isSafeInteger(size)), 'a size that is no number')
        return 0
      },
      mayTake: bytes => bytes * 16
    },
    {
      name: 'bundle-manifest',
      reads: 'the manifest of a bundle, fetched from strangers',
      share: 1,
      valid: random => {
        const text = random.chance(0.02) ? bundleManifest : small
        return random.chance(0.5) ? text : hostileJson(random, text)
      },
      decode: input => {
        const { files } = parseManifest(Buffer.from(input).toString('utf8'), 'manifest')
        checkFiles(Object.entries(files).map(([path, file]) => ({ path, ...file })))
        return Object.keys(files).length
      },
      mayTake: bytes => bytes * 256
    },
    {
      name: 'framing',
      reads: 'length prefixes and the cut of a stream into frames',
      share: 1,
      valid: random => Buffer.concat(Array.from({ length: 1 + random.below(4) }, () => lp.encode.single(random.bytes(random.below(40))).subarray())),
      decode: input => {
        // In pieces, as a network delivers it.
        const pieces = [new Uint8ArrayList(input.subarray(0, input.length >> 1)), new Uint8ArrayList(input.subarray(input.length >> 1))]
        let bytes = 0
        for (const frame of lp.decode(pieces, { maxDataLength: 64 })) {
          must(frame.byteLength <= 64, 'a frame above the limit')
          bytes += frame.byteLength
        }
        must(bytes <= input.length, 'more bytes than came in')
        return bytes
      },
      // Of the length-prefix library; FrameStream turns them into ours.
      refusal: ({ name }) => FRAMING_ERRORS.has(name) ? name : undefined,
      mayTake: bytes => bytes * 32
    },
    {
      name: 'addresses',
      reads: 'addresses that records and connections name',
      share: 1,
      valid: random => multiaddr(random.of(['/ip4/192.0.2.7/tcp/4001', '/ip6/2001:db8::1/tcp/1', '/ip6/::ffff:10.0.0.1/tcp/1', '/dns4/example.org/tcp/443/tls', '/ip4/10.0.0.1/udp/1/quic-v1'])).bytes,
      decode: input => {
        const [ip, subnet] = networksOf(multiaddr(input))
        must(ip.startsWith(subnet) && ip.length <= 20, 'a subnet that does not hold its address')
        return ip.length
      },
      // Of multiaddr, for what is no address; libp2p does not let such a one further.
      refusal: ({ name }) => ADDRESS_ERRORS.has(name) ? name : undefined,
      mayTake: bytes => bytes * 64
    },
    ...FILE_TARGETS,
    ...HTTP_TARGETS
  ]
}

/** Of the allocation check; small objects are not the input's to multiply. */
export function allocationBound (target: FuzzTarget, inputBytes: number): number {
  return target.mayTake(inputBytes) + SLACK_BYTES
}

function unframed (framed: Uint8Array): Uint8Array {
  let at = 0
  while ((framed[at] & 0x80) !== 0) at++
  return framed.slice(at + 1)
}

function hex (random: Random, bytes: number): string {
  return Buffer.from(random.bytes(bytes)).toString('hex')
}

function floats (random: Random, count: number): Float32Array {
  return Float32Array.from({ length: count }, () => (random.below(2_001) - 1_000) / 100)
}

function batchOf (random: Random): ExpertBatch {
  const tokens = 1 + random.below(5)
  const counts = Uint16Array.from({ length: tokens }, () => random.below(4))
  // Different ones for each token: a step that 16 has no part of.
  const experts = [...counts].flatMap(count => {
    const first = random.below(16)
    return Array.from({ length: count }, (_, at) => (first + 5 * at) % 16)
  })
  return { layer: random.below(4), tokens, hidden: floats(random, tokens * HIDDEN), counts, experts: Uint16Array.from(experts), weights: floats(random, experts.length) }
}

function blocksOf (random: Random, experts: number, layers: number): HostedBlock[] {
  return Array.from({ length: random.below(12) }, () => {
    const firstExpert = random.below(experts)
    return { layer: random.below(layers), firstExpert, experts: 1 + random.below(experts - firstExpert) }
  })
}

function manifestOf (random: Random): PeerManifest {
  return {
    modelId: hex(random, 32), blocks: random.chance(0.05) ? blocksOf(random, constants.MAX_EXPERTS, constants.MAX_LAYERS) : blocksOf(random, 16, 4), intended: blocksOf(random, 16, 4), fetching: blocksOf(random, 16, 4), wires: ['fp16'], version: 'fuzz/1',
    capacity: random.below(64), load: random.below(64), sequence: random.below(2 ** 31), issuedAtMs: 1_800_000_000_000, ttlMs: 10_000
  }
}

async function payloadOf (sealed: Uint8Array): Promise<Uint8Array> {
  return (await RecordEnvelope.openAndCertify(sealed, 'moeswarm-peer-manifest')).payload
}

/** Names an input in a report. */
export function digestOf (input: Uint8Array): string {
  return createHash('sha256').update(input).digest('hex').slice(0, 12)
}
