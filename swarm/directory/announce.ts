import type { CID } from 'multiformats/cid'
import type { KadDHT } from '@libp2p/kad-dht'
import * as limits from '../constants.js'
import { within } from '../deadline.js'
import { onRoutingTableGrowth, routingTableSize } from '../dht/routing-table.js'
import type { OnSwarmEvent } from '../events.js'

export interface AnnouncerInit {
  dht: KadDHT
  /** The first ones. */
  keys: readonly CID[]
  onEvent: OnSwarmEvent
}

/**
 * Keeps this peer's provider records for some keys on the DHT. The DHT renews them by age; this also
 * announces again when the routing table has grown, since new nodes may be nearer to the keys.
 */
export class Announcer {
  readonly #init: AnnouncerInit
  #keys: readonly CID[]
  readonly #stopped = new AbortController()
  #unlisten: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined

  constructor (init: AnnouncerInit) {
    this.#init = init
    this.#keys = init.keys
  }

  /** Returns when all keys are announced, at most ANNOUNCE_TIMEOUT_MS. A host that is alone keeps its records itself and is done at once. */
  async start (): Promise<void> {
    this.#unlisten = onRoutingTableGrowth(this.#init.dht, () => { this.#announceSoon() })
    await this.#announce(this.#keys)
  }

  /** No more renewals: the records of others expire. */
  async stop (): Promise<void> {
    this.#stopped.abort()
    this.#unlisten?.()
    clearTimeout(this.#timer)
    await this.#running
    for (const key of this.#keys) await this.#init.dht.cancelReprovide(key)
  }

  /** Announces these instead; returns when the new ones are announced. Records of those that fall away expire. */
  async setKeys (keys: readonly CID[]): Promise<void> {
    const before = this.#keys
    const named = (among: readonly CID[], key: CID): boolean => among.some(other => other.equals(key))
    this.#keys = keys
    for (const key of before) if (!named(keys, key)) await this.#init.dht.cancelReprovide(key)
    await this.#announce(keys.filter(key => !named(before, key)))
  }

  #announceSoon (): void {
    // In a table of many buckets a new node is hardly ever nearer to a key than all its holders.
    if (routingTableSize(this.#init.dht) > limits.ANNOUNCE_GROWTH_PEERS) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      // One at a time; the table may have grown during the last one, so it is not skipped.
      this.#running = (this.#running ?? Promise.resolve()).then(async () => { await this.#announce(this.#keys) })
    }, limits.ANNOUNCE_SETTLE_MS)
  }

  async #announce (keys: readonly CID[]): Promise<void> {
    if (this.#stopped.signal.aborted || keys.length === 0) return
    const startedAt = performance.now()
    using limit = within(limits.ANNOUNCE_TIMEOUT_MS, this.#stopped.signal)
    const open = [...keys]
    const failures: unknown[] = []
    await Promise.all(Array.from({ length: limits.ANNOUNCE_PARALLEL }, async () => {
      for (let key = open.shift(); key != null; key = open.shift()) {
        try {
          for await (const event of this.#init.dht.provide(key, { signal: limit.signal })) void event
        } catch (error) {
          failures.push(error)
        }
      }
    }))
    if (this.#stopped.signal.aborted) return
    const { onEvent } = this.#init
    if (failures.length > 0) {
      onEvent({ type: 'announce-failed', keys: failures.length, reason: failures[0] instanceof Error ? failures[0].name : 'unknown' })
    }
    onEvent({ type: 'announced', keys: keys.length - failures.length, tookMs: performance.now() - startedAt })
  }
}
