import { once } from 'node:events'
import type { Command } from 'commander'
import { SwarmPeer } from '../swarm-peer.js'
import { action, command, parse } from './command.js'
import { describeEvent } from './swarm-events.js'
import { formatRanges, type OutputOptions } from './terminal.js'

interface PeerOptions extends OutputOptions {
  model: string
  layers?: string
  experts?: string
  listen?: string[]
  bootstrap?: string[]
  key?: string
  threads?: number
}

export function peerCommand (): Command {
  return command('peer', 'Donate CPU: host experts of a model and serve them to the swarm.', 'moeswarm peer --model ./demo.bundle --layers 0-3 --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW...')
    .requiredOption('--model <bundle dir>', 'bundle whose experts are hosted')
    .option('--layers <ranges>', 'layers to host, such as 0-5,7 (default: all)')
    .option('--experts <ranges>', 'experts to host in each layer, whole blocks such as 0-15 (default: all)')
    .option('--listen <multiaddr>', 'address to listen on, may be repeated (default: a free loopback port)', parse.collect)
    .option('--bootstrap <multiaddr>', 'a host that is in the swarm, may be repeated; none starts a swarm', parse.collect)
    .option('--key <file>', 'identity of this peer, created when it does not exist (default: a fresh one)')
    .option('--threads <n>', 'compute workers (default: all cores)', parse.count(1))
    .action(action<PeerOptions>(async (options, { terminal, signal }) => {
      const verified = terminal.progress('Verifying blocks')
      const peer = await SwarmPeer.start({
        ...options,
        keyFile: options.key,
        onProgress: verified,
        onEvent: event => {
          const text = describeEvent(event)
          if (text !== undefined) terminal.note(text)
        },
        signal
      })
      terminal.endProgress()
      const blocks = peer.blocks.map(({ layer, firstExpert, experts }) => ({ layer, firstExpert, experts }))
      terminal.event('ready', { peerId: peer.peerId, addresses: peer.addresses, model: peer.bundle.id, blocks })
      terminal.note(`Peer ${peer.peerId} serves ${blocks.length} blocks of model ${peer.bundle.id.slice(0, 12)}, layers ${formatRanges([...new Set(blocks.map(block => block.layer))])}.`)
      for (const address of peer.addresses) terminal.note(`Others join with --bootstrap ${address}`)
      if (!signal.aborted) await once(signal, 'abort')
      terminal.note('Finishing the requests in flight ...')
      await peer.stop()
      terminal.event('stopped')
    }))
}
