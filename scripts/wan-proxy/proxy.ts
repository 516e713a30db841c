import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import { Direction, type DirectionSettings } from './direction.js'
import { PreciseClock } from './precise-clock.js'

export interface Endpoint {
  host: string
  port: number
}

/** What a link does. `up` is from who dials to who listens. */
export interface LinkSettings {
  up: DirectionSettings
  down: DirectionSettings
  /** Bytes that may be on their way in each direction of a connection: what a router's queue and both TCP windows hold. */
  bufferBytes: number
  /** Mean time between cuts of all connections, in milliseconds; Infinity for none. */
  cutEveryMs: number
  /** Mean time between stalls, and how long each lasts, in milliseconds; Infinity for none. */
  stallEveryMs: number
  stallMs: number
}

/** Settings as they are asked for: a direction's names apply to both unless `up` or `down` says otherwise. */
export type LinkChange = Partial<Omit<LinkSettings, 'up' | 'down'>> & Partial<DirectionSettings> & { up?: Partial<DirectionSettings>, down?: Partial<DirectionSettings> }

export interface WanProxyInit extends LinkChange {
  /** @default a free port of the loopback interface */
  listen?: Partial<Endpoint>
  /** Where connections go; may be told later, by `connectTo`. */
  to?: Endpoint
  /** Of jitter, cuts and stalls. @default 1 */
  seed?: number
}

const NO_LINK: DirectionSettings = { delayMs: 0, jitterMs: 0, mbitPerSecond: Infinity }

const DEFAULTS: Omit<LinkSettings, 'up' | 'down'> = { bufferBytes: 4 * 2 ** 20, cutEveryMs: Infinity, stallEveryMs: Infinity, stallMs: 1000 }

/** One clock a process: it naps for all links at once. */
const clock = new PreciseClock()

interface Link {
  sockets: [Socket, Socket]
  directions: [Direction, Direction]
}

/**
 * A TCP proxy that behaves like a link across the internet: delay and jitter each way, bandwidth, cuts and stalls. All of it can be changed while
 * it runs; equal seeds give equal jitter, cuts and stalls.
 */
export class WanProxy {
  readonly #server: Server
  readonly #links = new Set<Link>()
  readonly #settings: LinkSettings
  readonly #random: () => number
  #to: Endpoint | undefined
  #stalled = false
  #refusing = false
  #cutTimer: NodeJS.Timeout | undefined
  #stallTimer: NodeJS.Timeout | undefined

  /** Returns when it listens. Rejects with what Node's listen fails with, and with RangeError for settings that are none. */
  static async listen (init: WanProxyInit = {}): Promise<WanProxy> {
    const proxy = new WanProxy(init)
    proxy.#server.listen(init.listen?.port ?? 0, init.listen?.host ?? '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  private constructor ({ to, seed = 1, listen: _listen, ...change }: WanProxyInit) {
    this.#to = to
    const random = xoroshiro128plus(seed)
    this.#random = () => uniformFloat64(random)
    this.#settings = { ...DEFAULTS, up: { ...NO_LINK }, down: { ...NO_LINK } }
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, socket => { this.#accept(socket) })
    this.set(change)
  }

  get host (): string { return (this.#server.address() as AddressInfo).address }

  get port (): number { return (this.#server.address() as AddressInfo).port }

  /** Open connections. */
  get connections (): number { return this.#links.size }

  /** Changes what the link does, from the next byte on. @throws RangeError */
  set ({ delayMs, jitterMs, mbitPerSecond, up, down, ...rest }: LinkChange): void {
    const both = defined({ delayMs, jitterMs, mbitPerSecond })
    const next = {
      ...this.#settings, ...defined(rest), up: { ...this.#settings.up, ...both, ...defined(up ?? {}) }, down: { ...this.#settings.down, ...both, ...defined(down ?? {}) }
    }
    check(next)
    // The directions of open connections hold these two objects.
    Object.assign(this.#settings.up, next.up)
    Object.assign(this.#settings.down, next.down)
    Object.assign(this.#settings, next, { up: this.#settings.up, down: this.#settings.down })
    this.#cutLater()
    this.#stallLater()
  }

  /** Where connections go that are opened from now on. */
  connectTo (to: Endpoint): void { this.#to = to }

  /** Resets all connections. With `refuse` new ones are reset too, until `resume`. */
  cut ({ refuse = false }: { refuse?: boolean } = {}): void {
    this.#refusing ||= refuse
    for (const link of this.#links) this.#reset(link)
  }

  /** Nothing goes on until `resume`, what is on its way neither: like a path that is lost without a word. */
  stall (): void {
    this.#stalled = true
    for (const { directions } of this.#links) directions.forEach(direction => { direction.stall() })
  }

  resume (): void {
    this.#stalled = false
    this.#refusing = false
    for (const { directions } of this.#links) directions.forEach(direction => { direction.resume() })
  }

  async close (): Promise<void> {
    clearTimeout(this.#cutTimer)
    clearTimeout(this.#stallTimer)
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.cut()
    await closed
  }

  #accept (near: Socket): void {
    near.on('error', () => {}) // a direction passes it on; a link that is gone needs nothing
    if (this.#to === undefined || this.#refusing) {
      near.resetAndDestroy()
      return
    }
    const far = connect({ ...this.#to, allowHalfOpen: true, noDelay: true })
    far.on('error', () => {})
    const { up, down } = this.#settings
    const now = performance.now()
    const shared = { clock, random: this.#random, bufferBytes: () => this.#settings.bufferBytes }
    const link: Link = {
      sockets: [near, far],
      directions: [
        // Who dials waits for its SYN to be answered before it sends.
        new Direction({ ...shared, from: near, to: far, settings: up, openAtMs: now + up.delayMs + down.delayMs }),
        new Direction({ ...shared, from: far, to: near, settings: down, openAtMs: now + up.delayMs })
      ]
    }
    if (this.#stalled) link.directions.forEach(direction => { direction.stall() })
    this.#links.add(link)
    const onClose = (): void => {
      if (near.destroyed && far.destroyed) this.#forget(link)
    }
    near.on('close', onClose)
    far.on('close', onClose)
  }

  #reset (link: Link): void {
    this.#forget(link)
    for (const socket of link.sockets) socket.resetAndDestroy()
  }

  #forget (link: Link): void {
    for (const direction of link.directions) direction.close()
    this.#links.delete(link)
  }

  #cutLater (): void {
    clearTimeout(this.#cutTimer)
    if (this.#settings.cutEveryMs === Infinity) return
    this.#cutTimer = setTimeout(() => {
      this.cut()
      this.#cutLater()
    }, this.#waitOf(this.#settings.cutEveryMs))
  }

  #stallLater (): void {
    clearTimeout(this.#stallTimer)
    if (this.#settings.stallEveryMs === Infinity) return
    this.#stallTimer = setTimeout(() => {
      this.stall()
      this.#stallTimer = setTimeout(() => {
        this.resume()
        this.#stallLater()
      }, this.#settings.stallMs)
    }, this.#waitOf(this.#settings.stallEveryMs))
  }

  /** Of events that come by chance, this often on average. */
  #waitOf (meanMs: number): number {
    return -meanMs * Math.log(1 - this.#random())
  }
}

function defined<T extends object> (values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>
}

function check ({ up, down, bufferBytes, cutEveryMs, stallEveryMs, stallMs }: LinkSettings): void {
  for (const { delayMs, jitterMs, mbitPerSecond } of [up, down]) {
    if (!(delayMs >= 0 && delayMs < Infinity) || !(jitterMs >= 0 && jitterMs < Infinity)) throw new RangeError('A delay and a jitter are milliseconds from 0 on.')
    if (!(mbitPerSecond > 0)) throw new RangeError('A bandwidth is above 0 Mbit/s.')
  }
  if (!(bufferBytes > 0) || !(cutEveryMs > 0) || !(stallEveryMs > 0) || !(stallMs >= 0)) throw new RangeError('Buffer and times between cuts and stalls are above 0.')
}
