import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { table, Terminal } from '../../node/cli/terminal.js'
import { scriptOptions } from '../script-options.js'
import { startProxyProcess } from '../wan-proxy/index.js'
import { spread } from './figures.js'

const HELP = `npm run bench:proxy [-- --json]

The delay that the wan-proxy adds beside what it says: round trips of 6 KB through it less such without it, in turn.
`

const BYTES = 6_000
const ROUND_TRIPS = 150
const DELAYS_MS = [0, 0.5, 2.5, 9, 25, 50]
/** What "it is what it says" means, one way, in milliseconds. */
const ALLOWED_MS = 0.3

const terminal = new Terminal(scriptOptions(HELP, {}))
const echo = createServer({ noDelay: true }, socket => {
  socket.on('data', (chunk: Buffer) => socket.write(chunk))
  socket.on('error', () => {})
})
echo.listen(0, '127.0.0.1')
await once(echo, 'listening')
const to = { host: '127.0.0.1', port: (echo.address() as AddressInfo).port }
const proxy = await startProxyProcess(DELAYS_MS.map(delayMs => ({ to, delayMs })))
const direct = await open(to.port)
const rows: string[][] = []
let worst = 0
for (const [link, delayMs] of DELAYS_MS.entries()) {
  const through = await open(proxy.links[link].port)
  const added: number[] = []
  for (let i = -10; i < ROUND_TRIPS; i++) {
    const base = await roundTrip(direct)
    const with_ = await roundTrip(through)
    if (i >= 0) added.push((with_ - base) / 2)
  }
  const sorted = added.map(ms => ms - delayMs).sort((a, b) => a - b)
  const { median } = spread(sorted)
  const p99 = sorted[Math.floor(sorted.length * 0.99)]
  if (Math.abs(median) > Math.abs(worst)) worst = median
  terminal.event('delay', { delayMs, errorMs: { median, p99, least: sorted[0] } })
  rows.push([delayMs.toFixed(1), (delayMs + median).toFixed(3), median.toFixed(3), sorted[0].toFixed(3), p99.toFixed(3)])
  through.destroy()
}
terminal.result(`${table(['delay asked, ms', 'added, median', 'error, median', 'least', 'p99'], rows)}\n
One way, half of a round trip of ${BYTES} bytes through the proxy less half of one without it, ${ROUND_TRIPS} each in turn. Largest median error ${worst.toFixed(3)} ms: ${Math.abs(worst) <= ALLOWED_MS ? 'within' : 'NOT within'} ${ALLOWED_MS} ms.\n`)
direct.destroy()
echo.close()
await proxy.stop()

async function open (port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  return socket
}

async function roundTrip (socket: Socket): Promise<number> {
  const start = performance.now()
  socket.write(Buffer.alloc(BYTES, 7))
  for (let got = 0; got < BYTES;) {
    const [chunk] = await once(socket, 'data') as [Buffer]
    got += chunk.length
  }
  return performance.now() - start
}
