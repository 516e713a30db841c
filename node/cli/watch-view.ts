import colors from 'picocolors'
import { counted, type CoverageCell, formatRanges, type SwarmChange, type SwarmSnapshot, type WatchedPeer } from '../index.js'
import { shortPeerId } from './swarm-events.js'
import { formatMs, table } from './terminal.js'

export interface WatchViewInput {
  snapshot: SwarmSnapshot
  /** Lines, the newest first. */
  past: string[]
  modelId: string
  columns: number
}

const PAST_LINES = 8

/** The whole view as lines; what matters most is at the top, because short terminals cut the rest. */
export function watchView ({ snapshot, past, modelId, columns }: WatchViewInput): string {
  const { atMs, tookMs, peers, coverage, buckets, lookup } = snapshot
  const live = peers.filter(({ manifest }) => manifest !== undefined).length
  const holes = coverage.filter(cell => cell.peers.length === 0).length
  const hosts = buckets.reduce((sum, bucket) => sum + bucket.peers.length, 0)
  return [
    `${colors.bold('moeswarm dht watch')}  model ${modelId.slice(0, 12)}  ${new Date(atMs).toISOString().slice(11, 19)} UTC  ${colors.dim(`looked for ${formatMs(tookMs)}; q ends`)}`,
    `${live} of ${counted(peers.length, 'peer')} answer${peers.length === 1 ? 's' : ''}, ${holes === 0 ? colors.green(`all ${counted(coverage.length, 'block')} covered`) : colors.red(`${counted(holes, 'hole')} in ${counted(coverage.length, 'block')}`)}, routing table ${counted(hosts, 'host')} in ${counted(buckets.filter(bucket => bucket.peers.length > 0).length, 'bucket')}`,
    lookup === undefined ? '' : colors.dim(`last lookup: layer ${lookup.layer}, ${lookup.asked} asked, ${lookup.failed} failed, ${counted(lookup.providers, 'provider')} in ${formatMs(lookup.tookMs)}`),
    '',
    ...coverageRows(coverage, columns),
    '',
    table(['peer', 'layers', 'blocks', 'round trip', 'load', 'manifest', 'record seen for', ''], peers.map(peer => peerRow(peer, atMs))),
    '',
    colors.bold('changes'),
    ...(past.length === 0 ? [colors.dim('none yet')] : past.slice(0, PAST_LINES)),
    '',
    colors.bold('routing table'),
    ...buckets.filter(bucket => bucket.peers.length > 0).map(({ prefix, peers: of }) => `${(prefix === '' ? '(all)' : prefix).padEnd(10)} ${of.map(({ peerId }) => shortPeerId(peerId)).join(' ')}`)
  ].join('\n')
}

/** A character a block: its replicas, '!' a hole. Layers side by side as far as they fit. */
function coverageRows (coverage: CoverageCell[], columns: number): string[] {
  const layers = [...new Set(coverage.map(({ layer }) => layer))]
  const texts = layers.map(layer => {
    const cells = coverage.filter(cell => cell.layer === layer).map(({ peers }) => replicas(peers.length))
    return { text: `${String(layer).padStart(3)} ${cells.map(({ ink }) => ink).join('')}`, width: 4 + cells.length + 2 }
  })
  const width = Math.max(1, ...texts.map(text => text.width))
  const perRow = Math.max(1, Math.floor((columns - 8) / width))
  const rows: string[] = []
  for (let at = 0; at < texts.length; at += perRow) {
    rows.push(`${(at === 0 ? 'layers' : '').padEnd(8)}${texts.slice(at, at + perRow).map(one => one.text + ' '.repeat(width - one.width + 2)).join('')}`)
  }
  return rows
}

function replicas (count: number): { ink: string } {
  if (count === 0) return { ink: colors.red('!') }
  const text = count > 9 ? '+' : String(count)
  return { ink: count === 1 ? colors.yellow(text) : colors.green(text) }
}

function peerRow ({ peerId, manifest, latencyMs, failure, firstSeenMs, lastAnswerMs, addresses }: WatchedPeer, atMs: number): string[] {
  const seen = age(atMs - firstSeenMs)
  if (manifest === undefined) {
    return [shortPeerId(peerId), colors.red(failure ?? 'no answer'), '', '', '', lastAnswerMs === undefined ? 'never' : `${age(atMs - lastAnswerMs)} ago`, seen, addresses[0] ?? '']
  }
  const layers = [...new Set(manifest.blocks.map(({ layer }) => layer))].sort((a, b) => a - b)
  return [shortPeerId(peerId), formatRanges(layers), String(manifest.blocks.length), formatMs(latencyMs ?? NaN), `${manifest.load}/${manifest.capacity}`, `${age(manifest.ageMs)} old`, seen, addresses[0] ?? '']
}

function age (ms: number): string {
  const seconds = Math.max(0, ms / 1000)
  return seconds < 60 ? `${seconds.toFixed(0)} s` : seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`
}

/** A change as a line for a log. */
export function changeText (change: SwarmChange): string {
  switch (change.type) {
    case 'peer-joined': return colors.green(`${shortPeerId(change.peerId)} is there${change.blocks === 0 ? ', but does not answer' : ` with ${counted(change.blocks, 'block')}, layers ${formatRanges(change.layers)}`}`)
    case 'peer-left': return colors.red(`${shortPeerId(change.peerId)} is gone, and its record`)
    case 'peer-silent': return colors.red(`${shortPeerId(change.peerId)} does not answer any more (${change.failure})`)
    case 'peer-back': return colors.green(`${shortPeerId(change.peerId)} answers again`)
    case 'blocks-changed': return `${shortPeerId(change.peerId)} took ${counted(change.added, 'block')} and gave up ${change.removed}`
    case 'hole-opened': return colors.red(`layer ${change.layer} experts ${change.firstExpert}-${change.firstExpert + change.experts - 1}: nobody holds them any more`)
    case 'hole-closed': return colors.green(`layer ${change.layer} experts ${change.firstExpert}-${change.firstExpert + change.experts - 1}: covered again`)
    case 'routing-table': return `the routing table has ${counted(change.hosts, 'host')}, ${change.before} before`
  }
}
