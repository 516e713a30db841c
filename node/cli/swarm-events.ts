import { counted, type DonationEvent, formatRanges, type GenerateEvent, type SwarmEvent } from '../index.js'
import type { Log, LogLevel } from './log.js'
import { formatMs } from './terminal.js'

/** Last characters of a peer id: what tells two apart. */
export function shortPeerId (peerId: string): string {
  return `…${peerId.slice(-8)}`
}

/** A line for a person's log; undefined for what is too frequent or too fine for one. */
function describeEvent (event: SwarmEvent): string | undefined {
  switch (event.type) {
    case 'bootstrap-failed': return `No answer from ${event.address} (${event.reason}).`
    case 'announced': return `Announced ${counted(event.keys, 'key')} on the DHT in ${formatMs(event.tookMs)}.`
    case 'announce-failed': return `${counted(event.keys, 'key')} could not be announced (${event.reason}); trying again.`
    case 'peer-lost': return `Peer ${shortPeerId(event.peerId)} is gone (${event.reason}).`
    case 'peer-refused': return `Peer ${shortPeerId(event.peerId)} refused us (${event.code}).`
    case 'request-failed': return `Layer ${event.layer}: ${shortPeerId(event.peerId)} failed (${event.code}); asking a replica.`
    case 'experts-waiting': return `Layer ${event.layer}: nobody holds experts ${event.experts.join(', ')} at the moment; looking for peers.`
    case 'experts-local': return `Layer ${event.layer}: nobody came who holds experts ${event.experts.join(', ')}; this machine's copy computes them.`
    case 'replies-disagree': return `Layer ${event.layer}: ${event.peerIds.map(shortPeerId).join(' and ')} answer differently (${(100 * event.deviation).toPrecision(2)} % apart, honest replies at most ${(100 * event.tolerance).toPrecision(2)} %).`
    case 'peer-lied': return `Peer ${shortPeerId(event.peerId)} lied in layer ${event.layer} and is asked nothing any more; moeswarm liars shows why.`
    case 'liar-not-kept': return `That peer ${shortPeerId(event.peerId)} lied could not be written to ${event.path}; it is left out until this command ends.`
    case 'stream-aborted': return `Stream of ${shortPeerId(event.peerId)} aborted (${event.code}).`
    default: return undefined
  }
}

const GRAVE = new Set<SwarmEvent['type']>(['bootstrap-failed', 'announce-failed', 'peer-lost', 'peer-refused', 'request-failed', 'experts-waiting', 'experts-local', 'replies-disagree', 'peer-lied', 'liar-not-kept', 'stream-aborted', 'chunk-refused'])

/** Writes the swarm's events to a log: what failed as warnings, what is too fine for a person at level debug. */
export function logEvents (log: Log): (event: SwarmEvent) => void {
  return ({ type, ...fields }) => {
    const text = describeEvent({ type, ...fields } as SwarmEvent)
    const level: LogLevel = GRAVE.has(type) ? 'warn' : text === undefined ? 'debug' : 'info'
    log.write(level, type, text, fields)
  }
}

/** What a liar's part in an answer means for who reads it. */
export function describeLied ({ peerId, replies, again }: Extract<GenerateEvent, { type: 'lied' }>): string {
  return again
    ? `Peer ${shortPeerId(peerId)} lied: what came after the first of its ${counted(replies, 'reply', 'replies')} to this answer is computed again.`
    : `Peer ${shortPeerId(peerId)} lied, and ${counted(replies, 'reply', 'replies')} of it went into this answer uncompared: generate it again, or with --paranoid or --audit 1.`
}

/** An event's fields but its type, for a structured log. */
export function donationFields ({ type: _, ...fields }: DonationEvent): object {
  return fields
}

/** A line for a person's log; undefined for progress, which has a bar. */
export function describeDonation (event: DonationEvent): string | undefined {
  switch (event.type) {
    case 'plan': return event.reasons.map(({ action, block, reason }) => `${action === 'take' ? 'Taking' : 'Giving up'} layer ${block.layer} experts ${block.firstExpert}-${block.firstExpert + block.experts - 1} (${reason}).`).join('\n')
    case 'hosting': return `Now hosting ${counted(event.blocks.length, 'block')}, layers ${formatRanges([...new Set(event.blocks.map(block => block.layer))].sort((a, b) => a - b))}.`
    case 'review-failed': return `The swarm's coverage could not be followed: ${event.reason} Trying again.`
    case 'client-part-missing': return `The client part cannot be kept for new users: ${event.reason} Trying again.`
    case 'fetching': return undefined
  }
}
