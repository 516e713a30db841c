import type { Connection, PeerId, PeerStore, Stream, StreamHandler, StreamHandlerOptions } from '@libp2p/interface'
import { kadDHT, type KadDHT, type KadDHTComponents, type KadDHTInit } from '@libp2p/kad-dht'
import type { GuardCounters, PeerLimits } from '../limits.js'
import { TokenBuckets } from '../token-buckets.js'
import { rememberAddresses } from './addresses.js'

/** A message of the DHT is a key of 34 bytes and some addresses; what is longer counts as several. */
const MESSAGE_BYTES = 1_024
/** A volunteer of a large model announces its keys at once. */
const BURST_SECONDS = 5

type Registrar = KadDHTComponents['registrar']

/**
 * kad-dht, with bounds on what strangers may ask of it: messages a second, addresses of a peer, and no values: we keep provider records only,
 * so whatever is put under a key is refused.
 */
export function guardedDht (init: KadDHTInit, limits: PeerLimits, counters: GuardCounters['dht']): (components: KadDHTComponents) => KadDHT {
  const create = kadDHT({ ...init, incomingMessageTimeout: limits.handshakeTimeoutMs, validators: { pk: refuseValue } })
  const messages = new TokenBuckets({ perSecond: limits.dhtMessagesPerSecondPerPeer, totalPerSecond: limits.dhtMessagesPerSecond, burstSeconds: BURST_SECONDS })
  return components => create(substitute(components, {
    registrar: substitute(components.registrar, {
      handle: async (protocol: string, handler: StreamHandler, options?: StreamHandlerOptions) => {
        await components.registrar.handle(protocol, metered(handler, messages, counters), options)
      }
    } satisfies Partial<Registrar>),
    peerStore: substitute(components.peerStore, {
      merge: async (id: PeerId, data, options) => {
        const { multiaddrs, ...rest } = data
        if (multiaddrs != null) await rememberAddresses(components.peerStore, id, multiaddrs)
        return await components.peerStore.merge(id, rest, options)
      }
    } satisfies Partial<PeerStore>)
  }))
}

async function refuseValue (): Promise<void> {
  throw new RangeError('no values are kept')
}

/** The same handler, for as long as its streams keep to the rate. */
function metered (handler: StreamHandler, messages: TokenBuckets, counters: GuardCounters['dht']): StreamHandler {
  return async (stream: Stream, connection: Connection) => {
    const bucket = messages.bucket(connection.remotePeer.toString(), performance.now())
    // The handler listens first: what has arrived before anybody listens goes to the first who does.
    const handled = handler(stream, connection)
    stream.addEventListener('message', ({ data }) => {
      if (messages.take(bucket, Math.ceil(data.byteLength / MESSAGE_BYTES), performance.now())) return
      counters.messagesRefused++
      stream.abort(new RangeError('more messages than a peer may send'))
    })
    await handled
  }
}

/** The same object with some of its members replaced; methods keep their own `this`, which has private fields. */
function substitute<T extends object> (target: T, members: Partial<T>): T {
  return new Proxy(target, {
    get: (object, name): unknown => {
      if (name in members) return members[name as keyof T]
      const value: unknown = Reflect.get(object, name, object)
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(object) : value
    }
  })
}
