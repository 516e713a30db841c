import colors from 'picocolors'
import { counted, type CoverageCell } from '../index.js'
import { table } from './terminal.js'

/** A row a layer, a column a run of experts, the number of live replicas in each cell; a hole is red. */
export function coverageMapText (cells: CoverageCell[]): string {
  const columns = [...new Set(cells.map(columnOf))]
  const layers = [...new Set(cells.map(cell => cell.layer))]
  const rows = layers.map(layer => {
    const ofLayer = new Map(cells.filter(cell => cell.layer === layer).map(cell => [columnOf(cell), cell.peers.length]))
    return [`layer ${layer}`, ...columns.map(column => replicas(ofLayer.get(column)))]
  })
  const holes = cells.filter(cell => cell.peers.length === 0).length
  const least = cells.reduce((min, cell) => Math.min(min, cell.peers.length), Infinity)
  const verdict = holes > 0
    ? colors.red(`${holes} of ${counted(cells.length, 'block')} ${holes === 1 ? 'has' : 'have'} no live replica: the model cannot run.`)
    : colors.green(`All ${cells.length} blocks are covered, each by at least ${least}.`)
  return `${table(['experts', ...columns], rows)}\n\n${verdict}`
}

function columnOf ({ firstExpert, experts }: CoverageCell): string {
  return `${firstExpert}-${firstExpert + experts - 1}`
}

function replicas (count: number | undefined): string {
  if (count === undefined) return ''
  if (count === 0) return colors.red('0 hole')
  return count === 1 ? colors.yellow('1') : colors.green(String(count))
}
