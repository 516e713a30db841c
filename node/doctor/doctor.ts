import { checkBandwidth } from './bandwidth.js'
import type { Finding } from './finding.js'
import { checkDisk, checkMemory, checkNode, checkProcessor } from './machine.js'
import { checkPort, checkSwarm } from './network.js'
import { checkThroughput } from './throughput.js'

export interface DoctorInit {
  /** Where bundles would be kept. */
  dir: string
  /** Multiaddr to listen on as a peer would. */
  listen: string
  /** Multiaddrs of hosts in the swarm. Without any, what only others can tell stays unknown. */
  bootstrap?: string[]
  /** Id of a model of the swarm, or how it begins, whose peers are asked for their clocks. @default the one that the bootstrap hosts serve */
  model?: string
  /** Key of a private swarm. */
  swarmKey?: string
  /** Threads of the measurements. @default all cores */
  threads?: number
  /** Whether to measure bandwidth and experts, which takes a few seconds of all cores. @default true */
  measure?: boolean
  signal?: AbortSignal
}

/** Finds out what this machine can do for a swarm. */
export class Doctor {
  constructor (private readonly init: DoctorInit) {}

  /** The findings as they come in. */
  async * examine (): AsyncGenerator<Finding> {
    const { dir, listen, measure = true, signal } = this.init
    yield checkNode()
    yield checkProcessor()
    yield checkMemory()
    yield await checkDisk(dir)
    if (measure) {
      yield await checkBandwidth(this.init)
      signal?.throwIfAborted()
      yield await checkThroughput(this.init)
    }
    signal?.throwIfAborted()
    yield await checkPort(listen)
    yield * checkSwarm(this.init)
  }
}
