import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { SwarmEvent } from '../../swarm/index.js'
import { residentMemory } from '../host/expert-host.js'
import type { ServedBatch } from '../host/observed-compute.js'
import type { SwarmPeer } from '../swarm-peer.js'
import { SECONDS_BUCKETS } from './buckets.js'

/** What a peer does, for Prometheus. Hand `onServed` and `onEvent` to the peer's start, then call `follow`. */
export class PeerMetrics {
  private readonly registry = new Registry()
  private peer?: SwarmPeer
  private readonly service = this.histogram('moeswarm_peer_service_seconds', 'Time that a batch was computed for.')
  private readonly queue = this.histogram('moeswarm_peer_queue_seconds', 'Time that a batch waited for a compute worker.')
  private readonly assignments = new Counter({ name: 'moeswarm_peer_expert_runs_total', help: 'Tokens times their experts computed.', registers: [this.registry] })
  private readonly refusals = new Counter({ name: 'moeswarm_peer_refused_total', help: 'Requests and streams that were refused, by code.', labelNames: ['code'] as const, registers: [this.registry] })
  private readonly aborted = new Counter({ name: 'moeswarm_peer_streams_aborted_total', help: 'Streams that were cut, by code.', labelNames: ['code'] as const, registers: [this.registry] })
  private readonly announced = new Gauge({ name: 'moeswarm_peer_announced_timestamp_seconds', help: 'When the provider records were last put on the DHT.', registers: [this.registry] })

  constructor () {
    collectDefaultMetrics({ register: this.registry })
    this.total('moeswarm_peer_requests_total', 'Requests answered.', ({ status }) => status.requests.requests)
    this.total('moeswarm_peer_tokens_total', 'Tokens of the requests answered.', ({ status }) => status.requests.tokens)
    this.total('moeswarm_peer_received_bytes_total', 'Bytes of requests for experts.', ({ status }) => status.requests.receivedBytes)
    this.total('moeswarm_peer_sent_bytes_total', 'Bytes of answers of experts.', ({ status }) => status.requests.sentBytes)
    this.total('moeswarm_peer_connections_refused_total', 'Inbound connections turned away, for whatever limit.', ({ status }) => Object.values(status.connections.refused).reduce((a, b) => a + b, 0))
    this.total('moeswarm_peer_blocks_sent_bytes_total', 'Bytes of the model given to other peers.', ({ status }) => status.blocks.sentBytes)
    this.gauge('moeswarm_peer_batches', 'Batches waiting or running.', ({ batches }) => batches)
    this.gauge('moeswarm_peer_workers', 'Compute workers.', ({ workers }) => workers)
    this.gauge('moeswarm_peer_connections', 'Open connections to other hosts.', ({ connections }) => connections)
    this.gauge('moeswarm_peer_dht_peers', 'Hosts in the routing table.', ({ routingTableSize }) => routingTableSize)
    this.gauge('moeswarm_peer_hosted_blocks', 'Blocks of experts hosted.', ({ hostedBlocks }) => hostedBlocks)
    this.gauge('moeswarm_peer_hosted_experts', 'Experts hosted, all layers together.', ({ hostedExperts }) => hostedExperts)
    this.gauge('moeswarm_peer_memory_bytes', 'Resident memory of this process as --donate counts it.', () => residentMemory().residentBytes)
  }

  /** Whether the peer serves. */
  get serving (): boolean { return this.peer !== undefined }

  /** From now on scrapes tell of this peer. */
  follow (peer: SwarmPeer): void { this.peer = peer }

  readonly onServed = ({ queueMicros, serviceMicros, assignments }: ServedBatch): void => {
    this.service.observe(serviceMicros / 1e6)
    this.queue.observe(queueMicros / 1e6)
    this.assignments.inc(assignments)
  }

  readonly onEvent = (event: SwarmEvent): void => {
    if (event.type === 'request-refused') this.refusals.inc({ code: event.code })
    else if (event.type === 'stream-aborted') this.aborted.inc({ code: event.code })
    else if (event.type === 'announced') this.announced.setToCurrentTime()
  }

  /** The exposition text of a scrape. */
  async text (): Promise<string> { return await this.registry.metrics() }

  private histogram (name: string, help: string): Histogram {
    return new Histogram({ name, help, buckets: SECONDS_BUCKETS, registers: [this.registry] })
  }

  private gauge (name: string, help: string, value: (state: ReturnType<SwarmPeer['state']>) => number): void {
    const peer = (): SwarmPeer | undefined => this.peer
    new Gauge({ name, help, registers: [this.registry], collect () { this.set(peer() === undefined ? 0 : value(peer()!.state())) } })
  }

  /** A count that the peer keeps itself. */
  private total (name: string, help: string, value: (state: ReturnType<SwarmPeer['state']>) => number): void {
    const peer = (): SwarmPeer | undefined => this.peer
    new Counter({
      name, help, registers: [this.registry],
      collect () {
        this.reset()
        if (peer() !== undefined) this.inc(value(peer()!.state()))
      }
    })
  }
}
