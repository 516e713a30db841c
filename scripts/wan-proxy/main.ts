import { once } from 'node:events'
import { parseArgs } from 'node:util'
import type { ProxyAnswer, ProxyCommand, ProxySpec } from './process.js'
import { type Endpoint, type LinkChange, WanProxy } from './proxy.js'

const HELP = `A link across the internet, as a TCP proxy.

  node dist/scripts/wan-proxy/main.js --listen 127.0.0.1:4002 --to 127.0.0.1:4001 --delay 9 --jitter 1 --bandwidth 50

  --listen <host:port>     where it listens (default: a free port of 127.0.0.1)
  --to <host:port>         where connections go
  --delay <ms[/ms]>        one way; two figures are up/down, up from who dials
  --jitter <ms[/ms]>       each piece takes the delay +- this; order is kept
  --bandwidth <Mbit/s[/Mbit/s]>
  --buffer <KiB>           what may be on its way each way (default: 4096)
  --cut-every <s>          mean time between resets of all connections
  --stall-every <s>        mean time between stalls ...
  --stall <ms>             ... and how long each lasts (default: 1000)
  --seed <n>               of jitter, cuts and stalls (default: 1)

A peer behind it: moeswarm peer --listen /ip4/127.0.0.1/tcp/4001 --announce /ip4/127.0.0.1/tcp/4002
On stdin, a line each: cut, stall, resume, or settings such as {"delayMs": 50}.
`

const OPTIONS = {
  listen: { type: 'string' }, to: { type: 'string' }, delay: { type: 'string' }, jitter: { type: 'string' }, bandwidth: { type: 'string' }, buffer: { type: 'string' },
  'cut-every': { type: 'string' }, 'stall-every': { type: 'string' }, stall: { type: 'string' }, seed: { type: 'string' },
  ipc: { type: 'boolean' }, help: { type: 'boolean' }
} as const

async function runLine (): Promise<void> {
  const { values: options } = parseArgs({ options: OPTIONS })
  if (options.help === true || options.to === undefined) {
    process.stdout.write(HELP)
    process.exitCode = options.help === true ? 0 : 2
    return
  }
  const [delay, jitter, bandwidth] = [pair(options.delay), pair(options.jitter), pair(options.bandwidth)]
  const seconds = (text: string | undefined): number | undefined => text === undefined ? undefined : number(text) * 1000
  const proxy = await WanProxy.listen({
    listen: options.listen === undefined ? undefined : endpoint(options.listen),
    to: endpoint(options.to),
    up: { delayMs: delay?.[0], jitterMs: jitter?.[0], mbitPerSecond: bandwidth?.[0] },
    down: { delayMs: delay?.[1], jitterMs: jitter?.[1], mbitPerSecond: bandwidth?.[1] },
    bufferBytes: options.buffer === undefined ? undefined : number(options.buffer) * 1024,
    cutEveryMs: seconds(options['cut-every']),
    stallEveryMs: seconds(options['stall-every']),
    stallMs: options.stall === undefined ? undefined : number(options.stall),
    seed: options.seed === undefined ? undefined : number(options.seed)
  })
  process.stdout.write(`${proxy.host}:${proxy.port}\n`)
  process.stdin.setEncoding('utf8').on('data', (text: string) => {
    for (const line of text.split('\n').map(part => part.trim()).filter(part => part !== '')) obey(proxy, line)
  })
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  process.stdin.destroy()
  await proxy.close()
}

function obey (proxy: WanProxy, line: string): void {
  try {
    if (line === 'cut') proxy.cut()
    else if (line === 'stall') proxy.stall()
    else if (line === 'resume') proxy.resume()
    else proxy.set(JSON.parse(line) as LinkChange)
  } catch (error) {
    process.stderr.write(`${line}: ${error instanceof Error ? error.message : String(error)}\n`)
  }
}

/** Several links, ordered about by the parent process. */
async function runForParent (): Promise<void> {
  const say = (answer: ProxyAnswer): void => { process.send?.(answer) }
  const [specs] = await once(process, 'message') as [ProxySpec[]]
  const proxies = await Promise.all(specs.map(async spec => await WanProxy.listen(spec)))
  process.on('message', (command: ProxyCommand) => {
    const proxy = proxies[command.link]
    switch (command.do) {
      case 'set': proxy.set(command.change); break
      case 'connect': proxy.connectTo(command.to); break
      case 'cut': proxy.cut({ refuse: command.refuse }); break
      case 'stall': proxy.stall(); break
      case 'resume': proxy.resume()
    }
    say({ done: command.id })
  })
  say({ ready: proxies.map(({ host, port }) => ({ host, port })) })
  await once(process, 'disconnect')
  // Node's own end may take for ever, see process.ts.
  process.kill(process.pid, 'SIGKILL')
}

function endpoint (text: string): Endpoint {
  const at = text.lastIndexOf(':')
  return { host: text.slice(0, at), port: number(text.slice(at + 1)) }
}

function pair (text: string | undefined): [number, number] | undefined {
  if (text === undefined) return undefined
  const [up, down = up] = text.split('/')
  return [number(up), number(down)]
}

function number (text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) {
    process.stderr.write(`${JSON.stringify(text)} is not a number; see --help.\n`)
    process.exit(2)
  }
  return value
}

if (process.argv.includes('--ipc')) await runForParent()
else await runLine()
