import { within } from './deadline.js'
import type { SwarmHost } from './host.js'

/** How long a host may take to say how it sees us, in milliseconds. */
const IDENTIFY_TIMEOUT_MS = 5_000

/** The IP addresses from which the hosts that we are connected to see our connections come. */
export async function observedAddresses ({ libp2p }: SwarmHost, signal?: AbortSignal): Promise<string[]> {
  using limit = within(IDENTIFY_TIMEOUT_MS, signal)
  const answers = await Promise.allSettled(libp2p.getConnections().map(async connection =>
    await libp2p.services.identify.identify(connection, { signal: limit.signal })))
  signal?.throwIfAborted()
  return answers.flatMap(answer => {
    const address = answer.status === 'fulfilled' ? /^\/ip[46]\/([^/]+)/.exec(answer.value.observedAddr?.toString() ?? '')?.[1] : undefined
    return address === undefined ? [] : [address]
  })
}
