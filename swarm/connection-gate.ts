import type { Connection, ConnectionGater, MultiaddrConnection, PeerId } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import type { Multiaddr } from '@multiformats/multiaddr'
import { SwarmError } from './errors.js'
import type { ConnectionRefusal, GuardCounters, PeerLimits } from './limits.js'
import { TokenBuckets } from './token-buckets.js'

/** Peer ids that alone may connect, and that may not; what is on both lists may not. */
export interface AccessLists {
  allow?: readonly string[]
  deny?: readonly string[]
}

interface Inbound {
  readonly ip: string
  readonly subnet: string
  peerId: string | undefined
}

/** Who may connect, how many, and how often: asked by libp2p at each step of a handshake, before the next one costs anything. */
export class ConnectionGate implements ConnectionGater {
  readonly #limits: PeerLimits
  readonly #counters: GuardCounters['connections']
  readonly #allow: ReadonlySet<string> | undefined
  readonly #deny: ReadonlySet<string>
  readonly #inbound = new Map<MultiaddrConnection, Inbound>()
  readonly #dials: TokenBuckets
  /** When a peer was last served, on the clock of performance.now. */
  lastServedMs: (peerId: string) => number = () => -Infinity

  /** `connections` are the host's open ones. Throws SwarmError 'bad-argument' for a list with what is no peer id. */
  constructor (limits: PeerLimits, lists: AccessLists, counters: GuardCounters['connections'], private readonly connections: () => Connection[]) {
    this.#limits = limits
    this.#counters = counters
    this.#allow = lists.allow == null ? undefined : idsOf('allow', lists.allow)
    this.#deny = idsOf('deny', lists.deny ?? [])
    this.#dials = new TokenBuckets({ perSecond: limits.dialsPerSecondPerIp, totalPerSecond: limits.dialsPerSecond, burstSeconds: 1 })
  }

  permits (peerId: PeerId): boolean {
    const id = peerId.toString()
    return !this.#deny.has(id) && (this.#allow == null || this.#allow.has(id))
  }

  readonly denyDialPeer = (peerId: PeerId): boolean => !this.permits(peerId)
  readonly denyOutboundEncryptedConnection = (peerId: PeerId): boolean => !this.permits(peerId)

  readonly denyInboundConnection = (connection: MultiaddrConnection): boolean => {
    const [ip, subnet] = networksOf(connection.remoteAddr)
    const refusal = this.#refusal(ip, subnet)
    if (refusal != null) return this.#refuse(refusal)
    this.#inbound.set(connection, { ip, subnet, peerId: undefined })
    connection.addEventListener('close', () => {
      this.#inbound.delete(connection)
      this.#count()
    }, { once: true })
    this.#count()
    return false
  }

  readonly denyInboundEncryptedConnection = (peerId: PeerId): boolean => !this.permits(peerId) && this.#refuse('notAllowed')

  readonly denyInboundUpgradedConnection = (peerId: PeerId, connection: MultiaddrConnection): boolean => {
    const id = peerId.toString()
    let own = 0
    for (const other of this.#inbound.values()) if (other.peerId === id) own++
    if (own >= this.#limits.maxConnectionsPerPeer) return this.#refuse('perPeer')
    const inbound = this.#inbound.get(connection)
    if (inbound != null) inbound.peerId = id
    this.#count()
    return false
  }

  /** Cheapest first. */
  #refusal (ip: string, subnet: string): ConnectionRefusal | undefined {
    const limits = this.#limits
    const now = performance.now()
    if (!this.#dials.take(this.#dials.bucket(ip, now), 1, now)) return 'dialRate'
    if (this.#counters.pending >= limits.maxPendingConnections) return 'pending'
    let [ofIp, ofSubnet] = [0, 0]
    for (const other of this.#inbound.values()) {
      if (other.ip === ip) ofIp++
      if (other.subnet === subnet) ofSubnet++
    }
    if (ofIp >= limits.maxConnectionsPerIp) return 'perIp'
    if (ofSubnet >= limits.maxConnectionsPerSubnet) return 'perSubnet'
    if (this.#inbound.size >= limits.maxConnections && !this.#displace(now)) return 'full'
    return undefined
  }

  /** Ends the inbound connection that has been idle longest: who only holds places does not keep others out. */
  #displace (now: number): boolean {
    const youngest = Date.now() - this.#limits.idleConnectionMs
    let idlest: { connection: Connection, servedAt: number } | undefined
    for (const connection of this.connections()) {
      if (connection.direction !== 'inbound' || connection.status !== 'open' || connection.timeline.open > youngest) continue
      const servedAt = this.lastServedMs(connection.remotePeer.toString())
      if (now - servedAt < this.#limits.idleConnectionMs || (idlest != null && idlest.servedAt <= servedAt)) continue
      idlest = { connection, servedAt }
    }
    if (idlest == null) return false
    this.#counters.displaced++
    idlest.connection.abort(new Error('the place is needed for a peer that is not idle'))
    return true
  }

  #refuse (reason: ConnectionRefusal): true {
    this.#counters.refused[reason]++
    return true
  }

  #count (): void {
    let pending = 0
    for (const { peerId } of this.#inbound.values()) if (peerId == null) pending++
    this.#counters.open = this.#inbound.size
    this.#counters.pending = pending
  }
}

function idsOf (argument: 'allow' | 'deny', ids: readonly string[]): Set<string> {
  return new Set(ids.map(id => {
    try {
      return peerIdFromString(id).toString()
    } catch (error) {
      throw new SwarmError('bad-argument', `${JSON.stringify(id.slice(0, 80))} on the ${argument} list is not a peer id such as 12D3KooW...`, { argument }, { cause: error })
    }
  }))
}

/** The networks that one person may have all of: an IPv4 address and its /24, or an IPv6 /64 and its /48. */
export function networksOf (address: Multiaddr): [ip: string, subnet: string] {
  for (const { name, value = '' } of address.getComponents()) {
    if (name === 'ip4') return networksOfIp4(value.split('.'))
    if (name === 'ip6') {
      const groups = groupsOf(value)
      // An IPv4 address seen through an IPv6 socket.
      if (groups.slice(0, 6).join(':') === '0:0:0:0:0:ffff') return networksOfIp4(groups.slice(6).flatMap(bytesOf))
      return [groups.slice(0, 4).join(':'), groups.slice(0, 3).join(':')]
    }
  }
  return ['', '']
}

function networksOfIp4 (bytes: ReadonlyArray<string | number>): [ip: string, subnet: string] {
  return [bytes.join('.'), bytes.slice(0, 3).join('.')]
}

/** The eight groups of an IPv6 address, without leading zeros. */
function groupsOf (address: string): string[] {
  const [head, tail] = address.split('::').map(part => part === '' ? [] : part.split(':'))
  const zeros = tail == null ? 0 : 8 - head.length - tail.length
  return [...head, ...new Array<string>(Math.max(0, zeros)).fill('0'), ...tail ?? []].map(group => group.toLowerCase().replace(/^0+(?=.)/, ''))
}

function bytesOf (group: string): number[] {
  const value = Number.parseInt(group, 16)
  return [value >> 8, value & 0xff]
}
