import { MemoryDatastore } from 'datastore-core/memory'
import { Key, type Pair, type Query } from 'interface-datastore'
import type { GuardCounters, PeerLimits } from '../limits.js'

/** Addresses and protocols of a peer: identify alone may tell 8 KiB. */
const MAX_PEER_ENTRY_BYTES = 16 * 1_024

/** kad-dht names a record /dht/provider/<multihash>/<peer id>. */
interface ProviderRecord {
  readonly multihash: string
  readonly peerId: string
  readonly value: Uint8Array
}

/** Names of records, oldest first. */
type Records = Map<string, ProviderRecord>

/**
 * The memory of a host's DHT and peer store, bounded: libp2p keeps whatever strangers send. Provider records are found by their multihash
 * without a look at the others. Our own are never given up.
 */
export class BoundedDatastore extends MemoryDatastore {
  readonly #limits: PeerLimits
  readonly #counters: GuardCounters['dht']
  readonly #ownId: string
  readonly #records: Records = new Map()
  readonly #byMultihash = new Map<string, Records>()
  readonly #byPeer = new Map<string, Records>()
  /** Names of the peers' entries, the one not used for longest first. */
  readonly #peers = new Set<string>()

  constructor (limits: PeerLimits, counters: GuardCounters['dht'], ownId: string) {
    super()
    this.#limits = limits
    this.#counters = counters
    this.#ownId = ownId
  }

  /** Throws RangeError for what is not kept. */
  override put (key: Key, value: Uint8Array): Key {
    const name = key.toString()
    const [, root, kind, multihash, peerId] = name.split('/')
    if (root === 'dht' && kind === 'provider' && peerId != null) this.#putRecord(name, { multihash, peerId, value })
    else if (root === 'peers') this.#putPeer(name, key, value)
    else void super.put(key, value)
    return key
  }

  override get (key: Key): Uint8Array | Promise<Uint8Array> {
    const name = key.toString()
    const record = this.#records.get(name)
    if (record != null) return record.value
    const value = super.get(key)
    if (this.#peers.has(name)) this.#use(name)
    return value
  }

  override has (key: Key): boolean | Promise<boolean> {
    return this.#records.has(key.toString()) || super.has(key)
  }

  override delete (key: Key): void {
    const name = key.toString()
    this.#dropRecord(name)
    this.#peers.delete(name)
    this.#counters.knownPeers = this.#peers.size
    void super.delete(key)
  }

  override * _all (query: Query): Generator<Pair> {
    const [, root, kind, multihash] = query.prefix?.split('/') ?? []
    const providers = root === 'dht' && kind === 'provider'
    if (providers || query.prefix == null) {
      const records = multihash == null ? this.#records : this.#byMultihash.get(multihash) ?? new Map<string, ProviderRecord>()
      // A copy: records come and go while the caller waits between two of them.
      for (const [name, { value }] of [...records]) yield { key: new Key(name, false), value }
    }
    if (!providers) yield * super._all(query) as Generator<Pair>
  }

  #putPeer (name: string, key: Key, value: Uint8Array): void {
    if (value.byteLength > MAX_PEER_ENTRY_BYTES) throw new RangeError('a peer has more addresses than are kept')
    void super.put(key, value)
    this.#use(name)
    if (this.#peers.size > this.#limits.maxKnownPeers) {
      const [oldest] = this.#peers
      this.delete(new Key(oldest, false))
    }
    this.#counters.knownPeers = this.#peers.size
  }

  #use (name: string): void {
    this.#peers.delete(name)
    this.#peers.add(name)
  }

  #putRecord (name: string, record: ProviderRecord): void {
    const { maxProviderRecordsPerPeer, maxProviderRecordsPerKey, maxProviderRecords } = this.#limits
    const { multihash, peerId } = record
    this.#dropRecord(name)
    if (peerId !== this.#ownId) {
      if ((this.#byPeer.get(peerId)?.size ?? 0) >= maxProviderRecordsPerPeer) return this.#refuse()
      if ((this.#byMultihash.get(multihash)?.size ?? 0) >= maxProviderRecordsPerKey) this.#giveUp(this.#byMultihash.get(multihash))
      if (this.#records.size >= maxProviderRecords) this.#giveUp(this.#largest())
    }
    this.#records.set(name, record)
    recordsOf(this.#byMultihash, multihash).set(name, record)
    recordsOf(this.#byPeer, peerId).set(name, record)
    this.#counters.providerRecords = this.#records.size
  }

  #refuse (): never {
    this.#counters.recordsRefused++
    throw new RangeError('a peer announces more keys than are kept for it')
  }

  /** The oldest of these records that is not ours. */
  #giveUp (records: Records | undefined): void {
    for (const [name, { peerId }] of records ?? []) {
      if (peerId === this.#ownId) continue
      this.#counters.recordsRefused++
      this.#dropRecord(name)
      return
    }
  }

  /** Of the peer that has most: a flood of one peer's records costs nobody else his. */
  #largest (): Records | undefined {
    let largest: Records | undefined
    for (const [peerId, records] of this.#byPeer) {
      if (peerId !== this.#ownId && records.size > (largest?.size ?? 0)) largest = records
    }
    return largest
  }

  #dropRecord (name: string): void {
    const record = this.#records.get(name)
    if (record == null) return
    this.#records.delete(name)
    forget(this.#byMultihash, record.multihash, name)
    forget(this.#byPeer, record.peerId, name)
    this.#counters.providerRecords = this.#records.size
  }
}

function recordsOf (index: Map<string, Records>, key: string): Records {
  let records = index.get(key)
  if (records == null) index.set(key, records = new Map<string, ProviderRecord>())
  return records
}

function forget (index: Map<string, Records>, key: string, name: string): void {
  const records = index.get(key)
  records?.delete(name)
  if (records?.size === 0) index.delete(key)
}
