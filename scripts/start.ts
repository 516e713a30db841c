import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Terminal } from '../node/cli/terminal.js'
import { demoBundle, ROOT, shown } from './demo-bundle.js'
import { CLI, type PeerProcess, startPeerProcess } from './peer-process.js'

// npm start: a swarm of three peer processes on this machine, and a story written with it; with --dashboard a web page of it, until Ctrl-C.

const DEFAULT_PROMPT = 'Once upon a time, there was a little'

/** Each layer is on two of the three peers, so any one of them may vanish. */
const PEER_LAYERS = ['0-3', '2-5', '0-1,4-5']

/** A demonstration leaves nothing in the user's own state. */
const STATE = join(ROOT, '.cache', 'state')

const dashboard = process.argv.includes('--dashboard')
const prompt = process.argv.slice(2).filter(arg => arg !== '--dashboard').join(' ') || DEFAULT_PROMPT
const terminal = new Terminal({})
const abort = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => { abort.abort() })
const peers: PeerProcess[] = []

try {
  const bundle = await demoBundle('q8', terminal.progress('Converting', 'bytes'), abort.signal)
  terminal.endProgress()
  for (const [i, layers] of PEER_LAYERS.entries()) {
    abort.signal.throwIfAborted()
    const bootstrap = peers.length === 0 ? [] : ['--bootstrap', peers[0].addresses[0]]
    const peer = await startPeerProcess(['--model', bundle, '--layers', layers, '--threads', '1', ...bootstrap])
    peers.push(peer)
    terminal.note(`Peer ${i + 1} of ${PEER_LAYERS.length}: ${peer.peerId}, layers ${layers}`)
  }
  terminal.note('')
  process.exitCode = await cli(dashboard ? ['serve', '--port', '0'] : ['generate', '--no-trace', '--prompt', prompt], bundle)
  if (process.exitCode === 0) terminal.note(`\nThe peers end with this command. To keep one: node dist/node/cli/main.js peer --model ${shown(bundle)}`)
} catch (error) {
  if (!abort.signal.aborted) throw error
} finally {
  await Promise.all(peers.map(peer => peer.stop()))
  if (abort.signal.aborted) process.exitCode = 130
}

async function cli ([command, ...args]: string[], bundle: string): Promise<number> {
  const child = spawn(process.execPath, [CLI, command, '--model', bundle, '--bootstrap', peers[0].addresses[0], ...args], { stdio: 'inherit', env: { ...process.env, XDG_STATE_HOME: STATE } })
  const stop = (): void => { child.kill('SIGTERM') }
  abort.signal.addEventListener('abort', stop)
  if (abort.signal.aborted) stop()
  const [code] = await once(child, 'exit') as [number | null]
  abort.signal.removeEventListener('abort', stop)
  return code ?? 1
}
