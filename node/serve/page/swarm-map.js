import { bars, element, milliseconds, setText } from './figures.js'

/** From this many layers on rows are low. */
const DENSE_LAYERS = 14
/** How long a layer is marked after a batch went to it, in milliseconds. */
const MARK_MS = 240

/** The table of layers x blocks with the traffic of each layer. */
export class SwarmMap {
  #table
  #rows = new Map()
  #shape = ''

  constructor (table) { this.#table = table }

  /** `cells` of a view. */
  show (cells) {
    const columns = [...new Set(cells.map(blockOf))]
    const layers = [...new Set(cells.map(cell => cell.layer))]
    const shape = JSON.stringify([columns, layers])
    if (shape !== this.#shape) this.#build(columns, layers)
    this.#shape = shape
    for (const cell of cells) {
      const box = this.#rows.get(cell.layer).cells.get(blockOf(cell))
      const text = cell.local ? 'here' : String(cell.replicas)
      box.className = `cell ${cell.local ? 'local' : `r${Math.min(3, cell.replicas)}`}`
      box.title = `layer ${cell.layer}, experts ${blockOf(cell)}: ${cell.local ? 'computed by this machine' : cell.replicas === 0 ? 'no live copy' : `${cell.replicas} live ${cell.replicas === 1 ? 'copy' : 'copies'}`}`
      setText(box, text)
    }
  }

  /** Time bars, all on the scale of the slowest layer; layers with new laps are marked. */
  traffic (layers) {
    const slowest = Math.max(1e-9, ...layers.map(({ ms }) => ms))
    for (const { layer, laps, ms, serviceMs, queueMs, networkMs } of layers) {
      const row = this.#rows.get(layer)
      if (row === undefined) continue
      if (laps !== row.laps) {
        if (row.laps !== undefined) this.#mark(row.element)
        row.laps = laps
      }
      row.time.firstChild?.replaceWith(bars([['compute', serviceMs / slowest], ['queue', queueMs / slowest], ['network', Math.max(0, Math.min(networkMs, ms - serviceMs - queueMs)) / slowest]]))
      setText(row.time.lastChild, milliseconds(ms))
    }
  }

  #mark (row) {
    row.classList.add('active')
    clearTimeout(row.unmark)
    row.unmark = setTimeout(() => { row.classList.remove('active') }, MARK_MS)
  }

  #build (columns, layers) {
    const head = element('tr', '', header('Layer', 'layer'), ...columns.map(column => header(column)), header('Time', 'time'))
    const body = element('tbody')
    this.#rows.clear()
    for (const layer of layers) {
      const cells = new Map(columns.map(column => [column, element('td', 'cell')]))
      const time = element('div', 'track', bars([]), element('b', '', '–'))
      const name = element('th', '', String(layer))
      name.scope = 'row'
      const row = element('tr', '', name, ...cells.values(), element('td', 'time', time))
      this.#rows.set(layer, { element: row, cells, time, laps: undefined })
      body.append(row)
    }
    this.#table.style.setProperty('--blocks', columns.length)
    this.#table.classList.toggle('dense', layers.length > DENSE_LAYERS)
    this.#table.replaceChildren(element('caption', 'sr', 'Live copies of each block of experts by layer, and the time of a lap in the layer'), element('thead', '', head), body)
  }
}

function blockOf ({ firstExpert, experts }) {
  return experts === 1 ? String(firstExpert) : `${firstExpert}–${firstExpert + experts - 1}`
}

function header (text, className) {
  const made = element('th', className, text)
  made.scope = 'col'
  return made
}
