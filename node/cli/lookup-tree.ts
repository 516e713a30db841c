import colors from 'picocolors'
import { counted, type LookupHop } from '../index.js'
import { shortPeerId } from './swarm-events.js'
import { formatMs } from './terminal.js'

interface Asked {
  peerId: string
  sharedBits: number
  path: number
  askedAtMs: number
  /** How it ended, and when. */
  outcome?: { atMs: number, text: string }
  found: number
  /** Asked because this one named them. */
  next: Asked[]
}

/** The path of a lookup: under each peer those that were asked because it named them, with hops, distance and times. */
export function lookupTree (hops: LookupHop[], ownId: string): string {
  const roots: Asked[] = []
  const asked = new Map<string, Asked>()
  const namedBy = new Map<string, Asked>()
  for (const hop of hops) {
    const one = asked.get(hop.peerId)
    if (hop.kind === 'ask' && one === undefined) {
      const added: Asked = { peerId: hop.peerId, sharedBits: hop.sharedBits, path: hop.path, askedAtMs: hop.atMs, found: 0, next: [] }
      asked.set(hop.peerId, added)
      const namer = namedBy.get(hop.peerId)
      if (namer === undefined) roots.push(added)
      else namer.next.push(added)
    } else if (one !== undefined) {
      end(one, hop)
      for (const peerId of hop.closer ?? []) if (!namedBy.has(peerId) && !asked.has(peerId)) namedBy.set(peerId, one)
    }
  }
  const lines = [`${shortPeerId(ownId)} ${colors.dim('this host')}`, ...branches(roots, '', 1)]
  const deepest = Math.max(0, ...roots.map(depth))
  const failed = [...asked.values()].filter(({ outcome }) => outcome?.text.startsWith('failed') === true).length
  lines.push('', `${counted(asked.size, 'peer')} asked over ${counted(deepest, 'hop')} in ${formatMs(hops.at(-1)?.atMs ?? 0)}${failed > 0 ? `; ${failed} did not answer` : ''}.`)
  return lines.join('\n')
}

function end (one: Asked, hop: LookupHop): void {
  if (hop.kind === 'found') one.found += hop.peers?.length ?? 0
  if (hop.kind === 'answer' && one.outcome === undefined) one.outcome = { atMs: hop.atMs, text: `${hop.closer?.length ?? 0} nearer` }
  if (hop.kind === 'failed') one.outcome = { atMs: hop.atMs, text: `failed (${hop.error ?? 'unknown'})` }
}

function branches (level: Asked[], indent: string, hop: number): string[] {
  return level.flatMap((one, i) => {
    const last = i === level.length - 1
    const { outcome, askedAtMs, found, sharedBits, path } = one
    const took = outcome === undefined ? colors.dim('no answer was needed') : `${formatMs(outcome.atMs - askedAtMs)}, ${outcome.text}`
    const line = `${indent}${last ? '└─' : '├─'} ${shortPeerId(one.peerId)}  hop ${hop}, path ${path < 0 ? 'own' : path}, at ${formatMs(askedAtMs)}, ${counted(sharedBits, 'bit')} in common: ${outcome?.text.startsWith('failed') === true ? colors.red(took) : took}${found > 0 ? colors.green(`, found ${found}`) : ''}`
    return [line, ...branches(one.next, `${indent}${last ? '  ' : '│ '} `, hop + 1)]
  })
}

function depth (one: Asked): number {
  return 1 + Math.max(0, ...one.next.map(depth))
}
