import { Chat } from './chat.js'
import { ask, events, useKey } from './feed.js'
import { bars, element, milliseconds, setText } from './figures.js'
import { SwarmMap } from './swarm-map.js'

/** How long until a lost connection is tried again, in milliseconds. */
const RETRY_MS = 2_000

const LAP_ROWS = {
  embedding: 'Embedding', turn: 'Its turn', attention: 'Attention', send: 'Sending', serialise: 'Serialising', denseMlp: 'Dense MLP',
  network: 'Network', queue: 'Queue', experts: 'Experts', combine: 'Combining',
  draft: 'Drafting', head: 'Head', other: 'Other'
}

const at = id => document.getElementById(id)
const map = new SwarmMap(at('map'))
let chat
let role = 'client'

function showView (view) {
  const { model, cells, peers } = view
  const [name, id] = model.name.split(':')
  setText(at('model'), `${name} · ${id} · ${model.layers} layers of ${model.experts} experts`)
  document.title = `${name} · moeswarm`
  role = view.role
  map.show(cells)
  showTraffic(view)
  showPeers(peers)

  const held = cells.filter(cell => cell.local || cell.replicas > 0).length
  setText(at('peer-count'), String(peers.length))
  setText(at('covered'), String(held))
  setText(at('covered-of'), `of ${cells.length} blocks`)
  const holes = cells.length - held
  state(holes === 0 ? 'good' : 'bad', holes === 0 ? 'All experts are within reach' : `${holes} ${holes === 1 ? 'block has' : 'blocks have'} no live copy`)
  at('time').hidden = role === 'peer'
  at('under-way').hidden = role === 'peer'
  at('columns').classList.toggle('single', role === 'peer')
  if (view.chat && chat === undefined) {
    at('chat').hidden = false
    chat = new Chat(async error => error.status === 401 && await askForKey())
  }
}

function showTraffic ({ traffic, running, last }) {
  map.traffic(traffic)
  if (role === 'peer') return showService(traffic)
  showRunning(running)
  const speeds = running.map(({ tokensPerSecond }) => tokensPerSecond).filter(speed => speed > 0)
  const speed = speeds.length > 0 ? speeds.reduce((a, b) => a + b, 0) : last?.tokensPerSecond
  setText(at('speed'), speed === undefined ? '–' : speed >= 100 ? speed.toFixed(0) : speed.toFixed(1))
  setText(at('first'), last === null ? '–' : last.firstTokenMs.toFixed(0))
  if (last !== null) showLap(last.lap)
}

/** A line a text: how much of its prompt is read, then its tokens. */
function showRunning (running) {
  if (running.length === 0) return at('running').replaceChildren(element('li', 'empty', 'None at the moment.'))
  at('running').replaceChildren(...running.map(({ id, promptTokens, prefilled, tokens, tokensPerSecond }) => {
    const reads = tokens === 0
    const bar = bars([[reads ? 'queue' : 'compute', reads ? prefilled / promptTokens : 1]])
    bar.setAttribute('aria-hidden', 'true')
    const done = reads ? `prompt ${prefilled} of ${promptTokens}` : `${tokens} ${tokens === 1 ? 'token' : 'tokens'}${tokensPerSecond > 0 ? `, ${tokensPerSecond.toFixed(1)} tok/s` : ''}`
    return element('li', reads ? '' : 'writes', element('b', '', `Text ${id + 1}`), bar, element('span', '', done))
  }))
}

/** What a peer computes for others, in place of what a client generates. */
function showService (traffic) {
  const batches = traffic.reduce((sum, { laps }) => sum + laps, 0)
  setText(at('speed-name'), 'Batches computed')
  setText(at('speed'), String(batches))
  setText(at('speed-unit'), '')
  setText(at('first-name'), 'Time of one')
  setText(at('first'), batches === 0 ? '–' : (traffic.reduce((sum, { laps, serviceMs }) => sum + laps * serviceMs, 0) / batches).toFixed(2))
}

let shownLap = ''
function showLap (lap) {
  const text = JSON.stringify(lap)
  if (text === shownLap) return
  shownLap = text
  const { total, ...rows } = lap
  // A row that takes less than a thousandth says nothing.
  at('lap-empty').hidden = true
  const shown = Object.entries(rows).filter(([, ms]) => ms > total / 1000)
  at('lap').replaceChildren(
    ...shown.map(([row, ms]) => lapRow(LAP_ROWS[row] ?? row, ms, ms / total, '')),
    lapRow('A lap', total, undefined, 'total')
  )
}

function lapRow (label, ms, share, className) {
  const bar = element('dd', 'bars')
  if (share !== undefined) bar.append(...bars([['', share]]).childNodes)
  bar.setAttribute('aria-hidden', 'true')
  return element('div', className, element('dt', '', label), bar, element('dd', '', milliseconds(ms)))
}

// A phone shows the first of them without scrolling.
const PEER_COLUMNS = ['Peer', 'Layers', 'Latency', 'Share of the work', 'Compute', 'Queue', 'Requests', 'Load']

function showPeers (peers) {
  const withWork = peers.some(({ work }) => work !== null)
  const columns = withWork ? PEER_COLUMNS : PEER_COLUMNS.filter(column => !['Compute', 'Queue', 'Requests', 'Share of the work'].includes(column))
  const head = element('tr', '', ...columns.map(column => {
    const made = element('th', ['Peer', 'Layers', 'Share of the work'].includes(column) ? '' : 'number', column)
    made.scope = 'col'
    return made
  }))
  const rows = peers.map(({ peerId, self, layers, latencyMs, load, capacity, version, work }) => {
    const name = element('th', '', self ? 'this peer' : `…${peerId.slice(-8)}`)
    name.scope = 'row'
    name.title = `${peerId} (${version})`
    const number = text => element('td', 'number', text)
    const cells = [name, element('td', '', layers), number(self ? '–' : milliseconds(latencyMs))]
    if (withWork) cells.push(element('td', 'share', element('div', 'track', bars([['compute', work?.share ?? 0]]), element('b', '', `${((work?.share ?? 0) * 100).toFixed(0)} %`))))
    if (work !== null) cells.push(number(milliseconds(work.requests === 0 ? null : work.serviceMs)), number(milliseconds(work.requests === 0 ? null : work.queueMs)), number(work.failures === 0 ? String(work.requests) : `${work.requests} (${work.failures} failed)`))
    else if (withWork) cells.push(number('–'), number('–'), number('–'))
    cells.push(number(`${load}/${capacity}`))
    return element('tr', '', ...cells)
  })
  if (rows.length === 0) {
    const none = element('td', 'empty', 'Nobody within reach.')
    none.colSpan = columns.length
    rows.push(element('tr', '', none))
  }
  at('peers').replaceChildren(element('caption', 'sr', 'Peers within reach'), element('thead', '', head), element('tbody', '', ...rows))
}

function state (kind, text) {
  at('state').className = `state ${kind}`
  setText(at('state'), text)
}

/** Shows the dialog until there is a key. */
async function askForKey () {
  const dialog = at('key-dialog')
  if (!dialog.open) {
    at('key').value = ''
    dialog.showModal()
  }
  await new Promise(resolve => { dialog.addEventListener('close', resolve, { once: true }) })
  if (at('key').value === '') return false
  useKey(at('key').value)
  return true
}

async function follow () {
  for (;;) {
    try {
      for await (const event of events(await ask('swarm/feed'))) {
        if (event.type === 'view') showView(event)
        else showTraffic(event)
      }
      state('bad', 'The server has ended; trying again')
    } catch (error) {
      if (error.status === 401) {
        await askForKey()
        continue
      }
      state('bad', error.status === undefined ? 'The server does not answer; trying again' : error.message)
    }
    await new Promise(resolve => { setTimeout(resolve, RETRY_MS) })
  }
}

void follow()
