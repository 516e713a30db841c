import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { peerIdFromString } from '@libp2p/peer-id'
import { freePort } from '../../scripts/peer-process.js'
import { startProxyProcess, WanProxy, type WanProxyInit } from '../../scripts/wan-proxy/index.js'
import { TestHosts } from '../swarm/fixtures/hosts.js'
import { seeded } from '../../scripts/seeded.js'

/** Bytes that nothing repeats, the same for the same length. */
function bytesOf (length: number): Buffer {
  const random = seeded(length)
  return Buffer.from(Uint32Array.from({ length: length / 4 }, () => random() * 2 ** 32).buffer)
}

function digest (bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function received (socket: Socket, length: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let got = 0
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer)
    if ((got += (chunk as Buffer).length) >= length) break
  }
  return Buffer.concat(chunks)
}

/** Returns when the socket is gone, with the code of its error if it had one. */
async function gone (socket: Socket): Promise<string> {
  let code = ''
  socket.on('error', (error: NodeJS.ErrnoException) => { code = error.code ?? '' })
  socket.resume()
  if (!socket.closed) await new Promise<void>(resolve => socket.once('close', () => { resolve() }))
  return code
}

describe('wan-proxy', () => {
  const proxies: WanProxy[] = []
  const sockets: Socket[] = []
  let server: Server
  let accepted: Promise<Socket>

  const listen = async (init: WanProxyInit = {}): Promise<WanProxy> => {
    const proxy = await WanProxy.listen({ to: { host: '127.0.0.1', port: (server.address() as AddressInfo).port }, ...init })
    proxies.push(proxy)
    return proxy
  }
  /** Both ends of a connection through the proxy. */
  const ends = async (proxy: WanProxy): Promise<[Socket, Socket]> => {
    accepted = once(server, 'connection').then(([socket]) => socket as Socket)
    const near = connect({ port: proxy.port, host: proxy.host, allowHalfOpen: true })
    await once(near, 'connect')
    const far = await accepted
    sockets.push(near, far)
    return [near, far]
  }

  beforeEach(async () => {
    server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  afterEach(async () => {
    await Promise.all(proxies.splice(0).map(async proxy => { await proxy.close() }))
    for (const socket of sockets.splice(0)) socket.destroy()
    server.close()
  })

  it('passes on everything in order, both ways at once, whatever the jitter', async () => {
    const proxy = await listen({ delayMs: 5, jitterMs: 5 })
    const [near, far] = await ends(proxy)
    const bytes = bytesOf(1 << 20)
    const random = seeded(3)
    const send = async (socket: Socket): Promise<void> => {
      for (let at = 0; at < bytes.length;) {
        const size = 1 + Math.floor(random() * 60_000)
        socket.write(bytes.subarray(at, at += size))
        if (random() < 0.3) await sleep(1)
      }
    }
    const results = await Promise.all([received(near, bytes.length), received(far, bytes.length), send(near), send(far)])
    for (const got of results.slice(0, 2)) assert.equal(digest(got as Buffer), digest(bytes))
  })

  it('delays each way by what it was told, and changes that while it runs', async () => {
    const proxy = await listen({ up: { delayMs: 40 }, down: { delayMs: 10 } })
    const [near, far] = await ends(proxy)
    far.on('data', chunk => far.write(chunk))
    far.resume()
    const roundTrip = async (): Promise<number> => {
      const start = performance.now()
      near.write('x')
      await once(near, 'data')
      return performance.now() - start
    }
    const first = await roundTrip()
    assert.ok(first >= 99.5, `the first bytes also waited for the connection to be there: ${first}`)
    const second = await roundTrip()
    assert.ok(second >= 49.5, String(second))
    proxy.set({ delayMs: 70 })
    const third = await roundTrip()
    assert.ok(third >= 139.5, String(third))
  })

  it('lets no more through than the bandwidth', async () => {
    const proxy = await listen({ mbitPerSecond: 40 })
    const [near, far] = await ends(proxy)
    const bytes = bytesOf(1 << 20)
    const start = performance.now()
    near.write(bytes)
    const got = await received(far, bytes.length)
    const tookMs = performance.now() - start
    assert.equal(digest(got), digest(bytes))
    assert.ok(tookMs >= bytes.length * 8 / 40_000 - 1, String(tookMs))
  })

  it('stops reading from a sender whose bytes nobody takes, and delivers all of them later', async () => {
    const proxy = await listen({ bufferBytes: 64 << 10 })
    const [near, far] = await ends(proxy)
    const bytes = bytesOf(64 << 20)
    near.write(bytes)
    let left = -1
    for (let before = -2; before !== left; await sleep(200)) {
      before = left
      left = near.bytesWritten - near.writableLength
    }
    // What the kernel's own buffers take is not ours to bound.
    assert.ok(near.writableLength > 0, 'the sender has been read to its end')
    const got = await received(far, bytes.length)
    assert.equal(digest(got), digest(bytes))
  })

  it('holds everything while it is stalled, and loses nothing', async () => {
    const proxy = await listen({ delayMs: 1 })
    const [near, far] = await ends(proxy)
    near.write('before')
    assert.equal(String(await received(far, 6)), 'before')
    proxy.stall()
    near.write('while')
    let early = 0
    far.on('data', (chunk: Buffer) => { early += chunk.length })
    await sleep(60)
    assert.equal(early, 0)
    proxy.resume()
    far.removeAllListeners('data')
    assert.equal(String(await received(far, 5)), 'while')
  })

  it('cuts connections so that both ends notice, and refuses new ones until it resumes', async () => {
    const proxy = await listen({ delayMs: 1 })
    const [near, far] = await ends(proxy)
    const noticed = Promise.all([gone(near), gone(far)])
    proxy.cut({ refuse: true })
    assert.deepEqual(await noticed, ['ECONNRESET', 'ECONNRESET'])
    assert.equal(proxy.connections, 0)
    const refused = connect({ port: proxy.port, host: proxy.host })
    sockets.push(refused)
    assert.equal(await gone(refused), 'ECONNRESET')
    proxy.resume()
    const [again, other] = await ends(proxy)
    again.write('hello')
    assert.equal(String(await received(other, 5)), 'hello')
  })

  it('cuts by chance, by a mean time and a seed', async () => {
    const proxy = await listen({ cutEveryMs: 20, seed: 7 })
    const [near, far] = await ends(proxy)
    assert.deepEqual(await Promise.all([gone(near), gone(far)]), ['ECONNRESET', 'ECONNRESET'])
  })

  it('passes on the end of one half, and a reset', async () => {
    const proxy = await listen({ delayMs: 2 })
    const [near, far] = await ends(proxy)
    near.end('question')
    assert.equal(String(await received(far, 8)), 'question')
    far.resume()
    if (!far.readableEnded) await once(far, 'end')
    far.end('answer')
    assert.equal(String(await received(near, 6)), 'answer')

    const [left, right] = await ends(proxy)
    const noticed = gone(right)
    left.resetAndDestroy()
    assert.equal(await noticed, 'ECONNRESET')
  })

  it('resets connections whose target does not listen', async () => {
    const proxy = await listen({ to: { host: '127.0.0.1', port: await freePort() } })
    const near = connect({ port: proxy.port, host: proxy.host })
    sockets.push(near)
    assert.equal(await gone(near), 'ECONNRESET')
  })

  it('refuses settings that are none, and keeps those it has', async () => {
    const proxy = await listen()
    for (const change of [{ delayMs: -1 }, { jitterMs: NaN }, { mbitPerSecond: 0 }, { up: { delayMs: Infinity } }]) {
      assert.throws(() => { proxy.set(change) }, RangeError)
    }
  })

  it('runs in a process of its own and obeys its parent', async () => {
    const { port } = server.address() as AddressInfo
    const process = await startProxyProcess([{ delayMs: 1 }, { delayMs: 30, mbitPerSecond: Infinity }])
    try {
      await process.connectTo(1, { host: '127.0.0.1', port })
      await process.set(1, { delayMs: 2 })
      accepted = once(server, 'connection').then(([socket]) => socket as Socket)
      const near = connect({ ...process.links[1], allowHalfOpen: true })
      const far = await accepted
      sockets.push(near, far)
      near.write('hello')
      assert.equal(String(await received(far, 5)), 'hello')
      const noticed = Promise.all([gone(near), gone(far)])
      await process.cut(1)
      assert.deepEqual(await noticed, ['ECONNRESET', 'ECONNRESET'])
    } finally {
      await process.stop()
    }
  })
})

describe('announced addresses', () => {
  const hosts = new TestHosts()
  afterEach(async () => { await hosts.stopAll() })

  it('are the only ones that others hear of and dial', async () => {
    const port = await freePort()
    const proxy = await WanProxy.listen({ to: { host: '127.0.0.1', port } })
    try {
      const first = await hosts.start()
      const behind = await hosts.start({ listen: [`/ip4/127.0.0.1/tcp/${port}`], announce: [`/ip4/127.0.0.1/tcp/${proxy.port}`], bootstrap: first.addresses })
      assert.deepEqual(behind.addresses, [`/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${behind.peerId}`])
      const client = await hosts.start({ dht: 'client', bootstrap: first.addresses })
      const connection = await client.libp2p.dial(peerIdFromString(behind.peerId), { signal: AbortSignal.timeout(10_000) })
      assert.ok(connection.remoteAddr.toString().startsWith(`/ip4/127.0.0.1/tcp/${proxy.port}`), connection.remoteAddr.toString())
      assert.ok(proxy.connections >= 1)
      const joined = await hosts.start({ dht: 'client', bootstrap: behind.addresses })
      const known = await joined.libp2p.peerStore.get(peerIdFromString(behind.peerId))
      assert.deepEqual(known.addresses.map(({ multiaddr }) => String(multiaddr)), [`/ip4/127.0.0.1/tcp/${proxy.port}`])
    } finally {
      await proxy.close()
    }
  })
})
