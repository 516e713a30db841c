import { formatRanges, type LapTimes, type LayerChoice, type PeerStats } from '../index.js'
import { shortPeerId } from './swarm-events.js'
import { formatMs, table } from './terminal.js'

/** Rows of a lap in the order in which they happen. */
const LAP_ROWS: Array<[keyof LapTimes, string]> = [
  ['embedding', 'embedding'], ['turn', 'waiting for its turn'], ['attention', 'attention and router'], ['send', 'choosing peers, sending'], ['serialise', 'serialising'], ['denseMlp', 'dense MLP'],
  ['network', 'waiting: network'], ['queue', 'waiting: queue'], ['experts', 'waiting: experts'], ['combine', 'combining'], ['head', 'head'], ['other', 'other']
]

/** Where the time of an average lap went. */
export function lapTable (lap: LapTimes): string {
  return table(['an average lap', 'time', 'share'], [
    ...LAP_ROWS.map(([row, label]) => [label, formatMs(lap[row]), `${(100 * lap[row] / lap.total).toFixed(0)} %`]),
    ['total', formatMs(lap.total), '']
  ])
}

/** What each peer did, and why it is in the plans or not. */
export function peerTable (peers: PeerStats[], plan: LayerChoice[]): string {
  return table(['peer', 'layers', 'latency', 'queue', 'compute', 'requests', 'failures', 'late', 'hedges won', 'now'], peers.map(peer => [
    shortPeerId(peer.peerId), formatRanges(peer.layers), `${formatMs(peer.latencyMs)} ± ${formatMs(peer.deviationMs)}`, formatMs(peer.queueMs), formatMs(peer.serviceMs),
    String(peer.requests), String(peer.failures), String(peer.late), `${peer.hedgesWon}/${peer.hedges}`, standing(peer.peerId, plan)
  ]))
}

/** Why a peer is in the plans or not, such as 'whole 0-3, slower 4-5'. */
function standing (peerId: string, plan: LayerChoice[]): string {
  const layers = new Map<string, number[]>()
  for (const { layer, peers } of plan) {
    const reason = peers.find(peer => peer.peerId === peerId)?.reason
    if (reason !== undefined && reason !== 'holds-none') layers.set(reason, [...layers.get(reason) ?? [], layer])
  }
  return [...layers].map(([reason, of]) => `${reason} ${formatRanges(of)}`).join(', ')
}
