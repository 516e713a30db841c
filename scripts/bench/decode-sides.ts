import type { Bundle } from '../../model-tools/index.js'
import { type PeerProcess, startPeerProcess } from '../peer-process.js'
import { runClientProcess } from './decode-client.js'
import type { MeasuredProcess, Measurement, Work } from './decode-measurement.js'
import { runLlamaBench, runLlamaRpc } from './llama-bench.js'
import type { LlamaCpp } from './llama-cpp.js'
import { processMemory } from './process-memory.js'

export const SIDES = ['llama', 'llama-rpc', 'local', 'swarm'] as const
export type Side = typeof SIDES[number]

/** What two peers divide among themselves: the layers, so that one computes at a time, or each layer's experts, so that both do. */
export const SPLITS = ['layers', 'experts'] as const
export type Split = typeof SPLITS[number]

export interface Setup {
  /** Present where a side needs it. */
  llama?: { programs: LlamaCpp, gguf: string }
  bundle: Bundle
  split: Split
  /** Compute workers of each peer. */
  peerThreads: number
}

/** Loading half of the largest model takes a while, above all the first time. */
const PEER_READY_MS = 600_000

/** One side from the start of its processes to their end. */
export async function measureSide (side: Side, setup: Setup, work: Work): Promise<Measurement> {
  switch (side) {
    case 'llama': return await runLlamaBench(setup.llama!.programs, setup.llama!.gguf, work)
    case 'llama-rpc': return await runLlamaRpc(setup.llama!.programs, setup.llama!.gguf, work)
    case 'local': return await runClientProcess({ client: { model: setup.bundle.dir, localLayers: 'all', threads: work.threads }, work }, work.signal)
    case 'swarm': return await runSwarm(setup, work)
    default: return side satisfies never
  }
}

/** Our client with two peers on loopback. */
async function runSwarm ({ bundle, split, peerThreads }: Setup, work: Work): Promise<Measurement> {
  const started = performance.now()
  const peers: PeerProcess[] = []
  try {
    for (const part of halves(bundle, split)) {
      work.signal?.throwIfAborted()
      const bootstrap = peers.length === 0 ? [] : ['--bootstrap', peers[0].addresses[0]]
      peers.push(await startPeerProcess(['--model', bundle.dir, `--${split}`, part, '--threads', String(peerThreads), ...bootstrap], { readyMs: PEER_READY_MS }))
    }
    const peersSeconds = (performance.now() - started) / 1000
    const measured = await runClientProcess({ client: { model: bundle.dir, bootstrap: [peers[0].addresses[0]], threads: work.threads }, work }, work.signal)
    const hosts = await Promise.all(peers.map(async ({ child, blocks }, i): Promise<MeasuredProcess> => ({
      name: `peer ${i + 1}`, memory: await processMemory(child.pid ?? 0), hostedBytes: hostedBytes(bundle, blocks)
    })))
    return { ...measured, loadSeconds: peersSeconds + measured.loadSeconds, processes: [...measured.processes, ...hosts] }
  } finally {
    await Promise.all(peers.map(async peer => await peer.stop()))
  }
}

/** Two ranges as --layers and --experts take them. */
export function halves ({ config, blocks }: Pick<Bundle, 'config' | 'blocks'>, split: Split): [string, string] {
  const count = split === 'layers' ? config.layerTypes.length : config.experts
  // Experts are hosted by the block.
  const step = split === 'layers' ? 1 : blocks[0].experts
  const first = Math.floor(count / 2 / step) * step
  if (first === 0) throw new Error(`${count} ${split} cannot be shared by two peers; give more --layers or the other --split.`)
  return [`0-${first - 1}`, `${first}-${count - 1}`]
}

function hostedBytes (bundle: Bundle, blocks: PeerProcess['blocks']): number {
  const own = new Set(blocks.map(({ layer, firstExpert }) => `${layer}:${firstExpert}`))
  return bundle.blocks.filter(({ layer, firstExpert }) => own.has(`${layer}:${firstExpert}`)).reduce((sum, { file }) => sum + bundle.manifest.files[file].bytes, 0)
}
