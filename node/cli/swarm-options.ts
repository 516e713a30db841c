import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { DEFAULT_PEER_LIMITS, type PeerLimits, readSwarmKey } from '../index.js'
import { parse, UsageError } from './command.js'

/** Of every command that enters a swarm. */
export interface SwarmKeyOptions {
  swarmKey?: string
}

export interface AccessOptions {
  allow?: string[]
  deny?: string[]
}

export function withSwarmKey (command: Command): Command {
  return command.option('--swarm-key <file>', 'key of a private swarm, see `moeswarm swarm-key` (default: an open swarm)')
}

/** @throws SwarmError 'bad-key-file' */
export async function swarmKeyOf ({ swarmKey }: SwarmKeyOptions): Promise<string | undefined> {
  return swarmKey === undefined ? undefined : await readSwarmKey(swarmKey)
}

const PEER_ID = /^(12D3KooW|16Uiu2|Qm)[1-9A-HJ-NP-Za-km-z]{30,60}$/

/** Peer ids given one by one, or as files of one a line; what follows a # is a comment. @throws UsageError */
export async function accessListsOf ({ allow, deny }: AccessOptions): Promise<{ allow?: string[], deny?: string[] }> {
  return { allow: await peerIds('--allow', allow), deny: await peerIds('--deny', deny) }
}

async function peerIds (option: string, given: string[] | undefined): Promise<string[] | undefined> {
  if (given === undefined) return undefined
  const lists = await Promise.all(given.map(async item => {
    if (PEER_ID.test(item)) return [item]
    let text: string
    try {
      text = await readFile(item, 'utf8')
    } catch (error) {
      throw new UsageError(`${option} takes a peer id such as 12D3KooW..., or a file of them; ${JSON.stringify(item)} is neither.`, { cause: error })
    }
    const ids = text.split('\n').map(line => line.replace(/#.*/, '').trim()).filter(line => line !== '')
    const wrong = ids.find(id => !PEER_ID.test(id))
    if (wrong !== undefined) throw new UsageError(`${option}: ${JSON.stringify(wrong.slice(0, 80))} in ${item} is not a peer id such as 12D3KooW...`)
    return ids
  }))
  return lists.flat()
}

type LimitName = keyof PeerLimits

interface LimitOption {
  /** Of the value in the help. */
  unit: 'n' | 'size' | 'ms'
  text: string
}

/** The limits that have a flag: all that a volunteer may have a reason to change. The flag is the limit's name. */
const LIMIT_OPTIONS: Partial<Record<LimitName, LimitOption>> = {
  maxConnections: { unit: 'n', text: 'inbound connections' },
  maxConnectionsPerPeer: { unit: 'n', text: 'of one peer id' },
  maxConnectionsPerIp: { unit: 'n', text: 'of one address (IPv6: /64)' },
  maxConnectionsPerSubnet: { unit: 'n', text: 'of one /24 (IPv6: /48)' },
  maxPendingConnections: { unit: 'n', text: 'handshakes at a time' },
  dialsPerSecondPerIp: { unit: 'n', text: 'new connections a second of one address' },
  dialsPerSecond: { unit: 'n', text: 'new connections a second' },
  handshakeTimeoutMs: { unit: 'ms', text: 'for a handshake to be over' },
  maxStreamsPerConnection: { unit: 'n', text: 'streams of one connection' },
  maxFrameBytes: { unit: 'size', text: 'of one request' },
  maxRequestTokens: { unit: 'n', text: 'tokens of one request' },
  frameTimeoutMs: { unit: 'ms', text: 'for a request to arrive, or a reply to leave' },
  maxPartialFrameBytes: { unit: 'size', text: 'of requests that are arriving' },
  maxBacklogBytesPerStream: { unit: 'size', text: 'of replies that wait for one reader' },
  maxBacklogBytes: { unit: 'size', text: 'of replies that wait for all readers' },
  maxRequestsPerPeer: { unit: 'n', text: 'requests at a time of one peer' },
  maxRequests: { unit: 'n', text: 'requests at a time' },
  maxBytesInFlightPerPeer: { unit: 'size', text: 'memory for the requests of one peer' },
  maxBytesInFlight: { unit: 'size', text: 'memory for requests' },
  requestsPerSecondPerPeer: { unit: 'n', text: 'requests a second of one peer' },
  requestsPerSecond: { unit: 'n', text: 'requests a second' },
  blockBytesPerSecondPerPeer: { unit: 'size', text: 'of files sent to one peer a second' },
  blockBytesPerSecond: { unit: 'size', text: 'of files sent a second' },
  dhtMessagesPerSecondPerPeer: { unit: 'n', text: 'DHT messages a second of one peer' },
  dhtMessagesPerSecond: { unit: 'n', text: 'DHT messages a second' },
  maxProviderRecordsPerPeer: { unit: 'n', text: 'DHT records kept for one peer' },
  maxProviderRecords: { unit: 'n', text: 'DHT records kept' }
}

export function withAccessLists (command: Command): Command {
  return command
    .option('--allow <peer id or file>', 'only these peers may connect, may be repeated (default: everybody)', parse.collect)
    .option('--deny <peer id or file>', 'these peers may not connect, may be repeated', parse.collect)
}

/** Adds a group of flags, one a limit. */
export function withLimits (command: Command): Command {
  command.optionsGroup('Limits on what strangers may cost (see docs/security.md):')
  for (const [name, { unit, text }] of limitOptions()) {
    const standard = DEFAULT_PEER_LIMITS[name]
    const shown = unit === 'size' ? `${standard / 1024 ** 2}MiB` : String(standard)
    command.option(`--${name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)} <${unit}>`, `${text} (default: ${shown})`, unit === 'size' ? parse.bytes : parse.count(1))
  }
  command.optionsGroup('Options:')
  return command
}

/** Those that were given. */
export function limitsOf (options: Partial<PeerLimits>): Partial<PeerLimits> {
  return Object.fromEntries(limitOptions().flatMap(([name]) => options[name] === undefined ? [] : [[name, options[name]]]))
}

function limitOptions (): Array<[LimitName, LimitOption]> {
  return Object.entries(LIMIT_OPTIONS) as Array<[LimitName, LimitOption]>
}
