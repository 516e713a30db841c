import { isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { counted } from '../../model-tools/index.js'
import { asSwarmError, createSwarmHost, isSwarmError, observedAddresses, type SwarmHost, SwarmInspector } from '../../swarm/index.js'
import { isModelId } from '../bundle-store.js'
import { servedModel } from '../models.js'
import type { Finding } from './finding.js'

/** A manifest may be this old when a peer hands it out, and takes a round trip. */
const CLOCK_RESOLUTION_MS = 2_500

/** Manifests live this long: clocks that differ by more do not work together. */
const CLOCK_LIMIT_MS = 10_000

/** Whether a peer could listen there. */
export async function checkPort (listen: string): Promise<Finding> {
  try {
    const host = await createSwarmHost({ dht: 'server', listen: [listen] })
    const { addresses } = host
    await host.stop()
    return { check: 'port', status: 'ok', found: `can listen on ${listen}`, data: { listen, addresses } }
  } catch (error) {
    const code = asSwarmError(error)?.code
    if (code === undefined) throw error
    const advice = code === 'port-in-use' ? 'Another program has the port, perhaps a peer that runs already: give another with --listen.' : 'Give an address of this machine with --listen, and a port above 1023 unless you are root.'
    return { check: 'port', status: 'bad', found: `cannot listen on ${listen} (${code})`, advice, data: { listen, code } }
  }
}

export interface SwarmCheckInit {
  listen: string
  bootstrap?: string[]
  /** Its id, or what it is called, see KnownModel. */
  model?: string
  /** Of a private swarm. */
  swarmKey?: string
  signal?: AbortSignal
}

/** What only other hosts can tell: how they see this one, and what time it is. */
export async function * checkSwarm ({ listen, bootstrap, model, swarmKey, signal }: SwarmCheckInit): AsyncGenerator<Finding> {
  if (bootstrap === undefined) {
    yield { check: 'reachable', status: 'unknown', found: 'nobody was asked how they see this machine', advice: 'Name a host of the swarm with --bootstrap.' }
    yield { check: 'clock', status: 'unknown', found: 'nobody was asked what time it is', advice: 'Name a host of the swarm with --bootstrap.' }
    return
  }
  let host: SwarmHost
  try {
    host = await createSwarmHost({ dht: 'client', bootstrap, swarmKey, signal })
  } catch (error) {
    const known = asSwarmError(error)
    if (known === undefined || known.code === 'aborted') throw error
    yield { check: 'reachable', status: 'bad', found: known.message, advice: 'Check the address, and that a firewall lets connections out.', data: { code: known.code } }
    return
  }
  try {
    yield reachability(await observedAddresses(host, signal), listen)
    yield await checkClock(host, model, signal)
  } finally {
    await host.stop()
  }
}

/** What follows from the addresses under which others see this machine. Only a connection from outside shows that a port is open, so each finding names the command for it. */
export function reachability (observed: string[], listen: string): Finding {
  const own = Object.values(networkInterfaces()).flatMap(addresses => addresses ?? []).map(({ address }) => address)
  const seen = [...new Set(observed)]
  const data = { observed: seen, own }
  if (seen.length === 0) return { check: 'reachable', status: 'unknown', found: 'no host says how it sees this machine', data }
  const port = /\/tcp\/([1-9]\d*)/.exec(listen)?.[1] ?? '<port>'
  const address = `/${isIPv6(seen[0]) ? 'ip6' : 'ip4'}/${seen[0]}/tcp/${port}`
  const test = `To test it, run the peer and, on a machine in another network, moeswarm dht routing-table --bootstrap ${address}: it fails unless the port is open.`
  if (seen.every(address => own.includes(address))) {
    const local = seen.every(isPrivate)
    return {
      check: 'reachable', status: 'ok', found: `other hosts see this machine as ${seen.join(', ')}, its own address${local ? ' in a private network' : ''}: no address translation in between`,
      advice: local ? 'Hosts outside of that network are another matter: ask one of them with --bootstrap.' : `A firewall may still refuse connections. ${test}`, data
    }
  }
  return {
    check: 'reachable', status: 'unknown', found: `behind NAT: other hosts see this machine as ${seen.join(', ')}, which is not an address of its own; whether its port is forwarded cannot be found out from here`,
    advice: `Forward the port of --listen in the router and tell it with --announce ${address}. ${test} As a client this machine needs neither.`, data
  }
}

function isPrivate (address: string): boolean {
  return /^(127\.|10\.|192\.168\.|169\.254\.|172\.(1[6-9]|2\d|3[01])\.|::1$|f[cd]|fe80)/i.test(address)
}

/** Peers sign their manifests with the time. */
async function checkClock (host: SwarmHost, model: string | undefined, signal?: AbortSignal): Promise<Finding> {
  let modelId = model
  try {
    if (modelId === undefined || !isModelId(modelId)) modelId = (await servedModel(host, modelId, { signal })).id
  } catch (error) {
    if (!isSwarmError(error, 'bad-argument')) throw error
    return { check: 'clock', status: 'unknown', found: `nobody was asked what time it is. ${error.message}`, advice: 'Name a model with --model: its peers sign what they send with the time.' }
  }
  const peers = await new SwarmInspector(host).peers(modelId, { signal })
  const differences = peers.flatMap(({ clockDifferenceMs }) => clockDifferenceMs ?? []).sort((a, b) => a - b)
  const refused = peers.filter(({ failure }) => failure === 'untrusted-manifest').length
  if (differences.length === 0) {
    if (refused > 0) return { check: 'clock', status: 'bad', found: `${counted(refused, 'peer')} ${refused === 1 ? 'answers with a manifest that is' : 'answer with manifests that are'} not of this time`, advice: 'This machine\'s clock or all of theirs are wrong: let NTP set it (timedatectl set-ntp true).', data: { refused } }
    return { check: 'clock', status: 'unknown', found: `no peer of model ${modelId.slice(0, 12)} answers`, data: { peers: peers.length } }
  }
  const median = differences[Math.floor(differences.length / 2)]
  const data = { differenceMs: median, peers: differences.length }
  if (median >= -CLOCK_RESOLUTION_MS && median <= CLOCK_RESOLUTION_MS) return { check: 'clock', status: 'ok', found: `within ${(CLOCK_RESOLUTION_MS / 1000).toFixed(1)} s of ${counted(differences.length, 'peer')}`, data }
  const found = `${(Math.abs(median) / 1000).toFixed(1)} s ${median > 0 ? 'ahead of' : 'behind'} the median of ${counted(differences.length, 'peer')}`
  return { check: 'clock', status: Math.abs(median) > CLOCK_LIMIT_MS ? 'bad' : 'warn', found, advice: 'Manifests expire by the clock: let NTP set it (timedatectl set-ntp true).', data }
}
