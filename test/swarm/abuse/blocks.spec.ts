import assert from 'node:assert/strict'
import { peerIdFromString } from '@libp2p/peer-id'
import * as constants from '../../../swarm/constants.js'
import { BlockClient } from '../../../swarm/blocks/client.js'
import { serveBlocks } from '../../../swarm/blocks/service.js'
import type { PeerLimits } from '../../../swarm/limits.js'
import { contentOf, MemorySource } from '../fixtures/contents.js'
import { Fortress } from './fortress.js'

const FILE = contentOf('a.bin', constants.BLOCK_CHUNK_BYTES)
const RATE = 1024 * 1024

describe('a peer that gives files away', () => {
  const fortress = new Fortress()
  let serving: Awaited<ReturnType<typeof serveBlocks>> | undefined
  afterEach(async () => {
    await serving?.stop()
    await fortress.stop()
  })

  const start = async (limits: Partial<PeerLimits>): Promise<void> => {
    await fortress.start(limits)
    serving = await serveBlocks({ host: fortress.host, source: new MemorySource(new Uint8Array(10), [FILE]) })
  }
  const fetcher = async (): Promise<BlockClient> => {
    const attacker = await fortress.attacker()
    await fortress.connectionOf(attacker)
    return await BlockClient.open({ libp2p: attacker.libp2p, peerId: peerIdFromString(fortress.host.peerId), signal: AbortSignal.timeout(20_000), onClose: () => {} })
  }
  /** All of them read the file, twice; milliseconds that it took. */
  const drain = async (fetchers: BlockClient[]): Promise<number> => {
    const startedAt = performance.now()
    await Promise.all(fetchers.flatMap(client => [1, 2].map(async () => {
      assert.equal((await client.read(FILE.file.sha256, 0, FILE.file.bytes)).sha256, FILE.file.sha256)
    })))
    return performance.now() - startedAt
  }
  /** Least time that these bytes may take: a limit is a rate, and a busy machine is only slower. */
  const leastMs = (bytes: number): number => (bytes - constants.BLOCKS_FRAME_BYTES) * 1_000 / RATE - constants.BLOCKS_BURST_MS

  it('sends one fetcher no more a second than one may have, and serves experts meanwhile', async () => {
    await start({ blockBytesPerSecondPerPeer: RATE })
    const [tookMs] = await Promise.all([drain([await fetcher()]), fortress.served()])
    assert.ok(tookMs >= leastMs(2 * FILE.file.bytes), `2 MiB in ${tookMs.toFixed(0)} ms at 1 MiB/s`)
  })

  it('sends all of them no more a second than allowed in all', async () => {
    await start({ blockBytesPerSecond: RATE })
    const [tookMs] = await Promise.all([drain([await fetcher(), await fetcher()]), fortress.served()])
    assert.ok(tookMs >= leastMs(4 * FILE.file.bytes), `4 MiB in ${tookMs.toFixed(0)} ms at 1 MiB/s`)
  })
})
