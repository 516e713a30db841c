import { explain } from './explanation.js'
import type { GenerationTrace } from './trace.js'
import { type Segment, SEGMENTS, waterfall } from './waterfall.js'

const ROW = 18
const LEFT = 70
const WIDTH = 860
const RIGHT = 90
const TOP = 58

/** Distinct in light and dark, and for eyes that tell red from green badly (Okabe and Ito's palette). */
const COLORS: Record<Segment, string> = {
  turn: '#999999', attention: '#0072b2', messages: '#cc79a7', 'dense MLP': '#56b4e9', network: '#e69f00', queue: '#d55e00', experts: '#009e73'
}

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #222; }
  .axis { stroke: #ccc; }
  @media (prefers-color-scheme: dark) { text { fill: #ddd; } .axis { stroke: #555; } }`

/** The waterfall of an average decoding lap (of the prefill where nothing was decoded) as an SVG document of its own. */
export function traceSvg (trace: GenerationTrace): string {
  const rows = waterfall(trace.layers.length > 0 ? trace.layers : trace.prefillLayers)
  const total = rows.reduce((sum, { ms }) => sum + ms, 0)
  const x = (ms: number): number => LEFT + (total === 0 ? 0 : ms / total * (WIDTH - LEFT - RIGHT))
  const height = TOP + rows.length * ROW + 12
  const legend = SEGMENTS.map((segment, i) => `<rect x="${LEFT + i * 105}" y="26" width="12" height="12" fill="${COLORS[segment]}"/><text x="${LEFT + i * 105 + 18}" y="36">${segment}</text>`)
  const bars = rows.map(({ layer, startMs, parts, ms }, i) => {
    const y = TOP + i * ROW
    let at = startMs
    const rects = parts.map(part => {
      const from = at
      at += part.ms
      return `<rect x="${x(from).toFixed(1)}" y="${y}" width="${(x(at) - x(from)).toFixed(1)}" height="${ROW - 4}" fill="${COLORS[part.segment]}"><title>layer ${layer}, ${part.segment}: ${part.ms.toFixed(2)} ms</title></rect>`
    })
    return `<text x="${LEFT - 8}" y="${y + 11}" text-anchor="end">layer ${layer}</text>${rects.join('')}<text x="${(x(startMs + ms) + 6).toFixed(1)}" y="${y + 11}">${ms.toFixed(1)} ms</text>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Where the time of an average lap went, layer by layer">
<style>${STYLE}</style>
<text x="${LEFT}" y="16">Generation ${trace.id}: an average lap, ${total.toFixed(1)} ms in the layers</text>
${legend.join('')}
<line class="axis" x1="${LEFT}" y1="${TOP - 6}" x2="${LEFT}" y2="${height - 8}"/>
${bars.join('\n')}
</svg>
`
}

/** The explanation and the waterfall as a page without external resources. */
export function traceHtml (trace: GenerationTrace): string {
  const peers = trace.peers.map(peer => `<tr><td><code>${escaped(peer.peerId)}</code></td>${[peer.latencyMs, peer.queueMs, peer.serviceMs].map(ms => `<td>${Number.isFinite(ms) ? `${ms.toFixed(2)} ms` : '-'}</td>`).join('')}<td>${peer.requests}</td><td>${peer.failures}</td></tr>`)
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Generation ${trace.id}</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
svg { width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
</style>
<main>
<h1>Why generation ${trace.id} took as long as it did</h1>
${explain(trace).map(sentence => `<p>${escaped(sentence)}</p>`).join('\n')}
${traceSvg(trace)}
${peers.length === 0 ? '' : `<h2>Peers</h2><div class="wide"><table><thead><tr><th>peer</th><th>round trip</th><th>queue</th><th>computing</th><th>requests</th><th>failures</th></tr></thead><tbody>${peers.join('\n')}</tbody></table></div>`}
</main>
</html>
`
}

function escaped (text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
