import assert from 'node:assert/strict'
import { generateKeyPair } from '@libp2p/crypto/keys'
import type { PeerId, PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { RecordEnvelope } from '@libp2p/peer-record'
import * as limits from '../../../swarm/constants.js'
import { asSwarmError, type SwarmErrorCode } from '../../../swarm/errors.js'
import { decodeManifest, openManifest, sealManifest, type PeerManifest } from '../../../swarm/directory/manifest.js'
import { PeerManifest as PbPeerManifest } from '../../../swarm/pb/manifest.pb.js'
import { seeded } from '../../../scripts/seeded.js'

const NOW = 1_800_000_000_000

const MANIFEST: PeerManifest = {
  modelId: '0f'.repeat(32),
  blocks: [{ layer: 0, firstExpert: 0, experts: 16 }, { layer: 29, firstExpert: 112, experts: 16 }],
  intended: [{ layer: 7, firstExpert: 0, experts: 16 }],
  fetching: [{ layer: 8, firstExpert: 16, experts: 16 }],
  wires: ['fp32', 'int8'],
  version: 'moeswarm/0.1.0',
  capacity: 4,
  load: 2,
  sequence: NOW + 5,
  issuedAtMs: NOW,
  ttlMs: 10_000
}

async function codeOf (opening: Promise<unknown>): Promise<SwarmErrorCode | undefined> {
  try {
    await opening
  } catch (error) {
    return asSwarmError(error)?.code ?? assert.fail(`threw ${String(error)}`)
  }
  return undefined
}

describe('peer manifest', () => {
  let key: PrivateKey
  let signer: PeerId
  const open = async (sealed: Uint8Array, change: Partial<Parameters<typeof openManifest>[1]> = {}): Promise<PeerManifest> =>
    await openManifest(sealed, { signer, minSequence: 0, nowMs: NOW, ...change })

  before(async () => {
    key = await generateKeyPair('Ed25519')
    signer = peerIdFromPrivateKey(key)
  })

  it('comes back as it was sealed', async () => {
    assert.deepEqual(await open(await sealManifest(MANIFEST, key)), MANIFEST)
  })

  it('is refused when another peer signed it', async () => {
    const forged = await sealManifest(MANIFEST, await generateKeyPair('Ed25519'))
    assert.equal(await codeOf(open(forged)), 'untrusted-manifest')
  })

  it('is refused when a byte was changed, or says the same', async () => {
    const sealed = await sealManifest(MANIFEST, key)
    for (let at = 0; at < sealed.length; at++) {
      const tampered = sealed.slice()
      tampered[at] ^= 1
      // Bits of the envelope's own protobuf tags carry nothing.
      const opened = await open(tampered).catch(() => undefined)
      if (opened != null) assert.deepEqual(opened, MANIFEST, `byte ${at}`)
    }
  })

  it('is refused when it was signed for another purpose', async () => {
    const payload = PbPeerManifest.encode({ ...MANIFEST, modelId: new Uint8Array(32), wires: 1, sequence: 1n, issuedAtMs: BigInt(NOW) })
    for (const record of [{ domain: 'moeswarm-other', codec: '/moeswarm/manifest/1' }, { domain: 'moeswarm-peer-manifest', codec: '/moeswarm/other/1' }]) {
      const envelope = await RecordEnvelope.seal({ domain: record.domain, codec: new TextEncoder().encode(record.codec), marshal: () => payload, equals: () => false }, key)
      assert.equal(await codeOf(open(envelope.marshal())), 'untrusted-manifest')
    }
  })

  for (const { id, change, code } of [
    { id: 'of a sequence that goes back', change: { minSequence: NOW + 6 }, code: 'untrusted-manifest' },
    { id: 'of the same sequence again', change: { minSequence: NOW + 5 }, code: undefined },
    { id: 'that expired, beyond any skew of clocks', change: { nowMs: NOW + 10_001 + limits.MANIFEST_CLOCK_SKEW_MS }, code: 'untrusted-manifest' },
    { id: 'of a clock that is late', change: { nowMs: NOW + limits.MANIFEST_CLOCK_SKEW_MS }, code: undefined },
    { id: 'from the future', change: { nowMs: NOW - 1 - limits.MANIFEST_CLOCK_SKEW_MS }, code: 'untrusted-manifest' }
  ] as Array<{ id: string, change: { minSequence?: number, nowMs?: number }, code: SwarmErrorCode | undefined }>) {
    it(`${code == null ? 'is taken' : 'is refused'}: one ${id}`, async () => {
      assert.equal(await codeOf(open(await sealManifest(MANIFEST, key), change)), code)
    })
  }

  for (const { id, change } of [
    { id: 'a model id of another length', change: { modelId: 'ab' } },
    { id: 'a version that is too long', change: { version: 'x'.repeat(limits.MANIFEST_MAX_VERSION_LENGTH + 1) } },
    { id: 'a version with control characters', change: { version: '\u001b[31m' } },
    { id: 'no time to live', change: { ttlMs: 0 } },
    { id: 'a time to live without end', change: { ttlMs: limits.MANIFEST_MAX_TTL_MS + 1 } },
    { id: 'a layer out of range', change: { blocks: [{ layer: limits.MAX_LAYERS, firstExpert: 0, experts: 1 }] } },
    { id: 'an empty block', change: { blocks: [{ layer: 0, firstExpert: 0, experts: 0 }] } },
    { id: 'experts out of range', change: { blocks: [{ layer: 0, firstExpert: limits.MAX_EXPERTS, experts: 1 }] } },
    { id: 'too many blocks', change: { blocks: new Array(limits.MANIFEST_MAX_BLOCKS + 1).fill({ layer: 0, firstExpert: 0, experts: 1 }) } }
  ] as Array<{ id: string, change: Partial<PeerManifest> }>) {
    it(`is refused with ${id}`, async () => {
      assert.equal(await codeOf(open(await sealManifest({ ...MANIFEST, ...change }, key))), 'malformed')
    })
  }

  it('is refused unread when it is too long', async () => {
    assert.equal(await codeOf(open(new Uint8Array(limits.MANIFEST_MAX_BYTES + 1))), 'too-large')
  })

  it('survives 20,000 random and mutated payloads', () => {
    const random = seeded(11)
    const template = PbPeerManifest.encode({ ...MANIFEST, modelId: new Uint8Array(32), wires: 7, sequence: 1n, issuedAtMs: 2n })
    for (let i = 0; i < 20_000; i++) {
      const payload = i % 2 === 0 ? Uint8Array.from({ length: Math.floor(random() * 64) }, () => Math.floor(random() * 256)) : template.slice()
      for (let flips = Math.floor(random() * 4); flips > 0 && payload.length > 0; flips--) payload[Math.floor(random() * payload.length)] = Math.floor(random() * 256)
      try {
        decodeManifest(payload)
      } catch (error) {
        assert.equal(asSwarmError(error)?.code, 'malformed')
      }
    }
  })
})
