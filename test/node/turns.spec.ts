import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import { type Pass, Turns } from '../../node/client/turns.js'

/** Sequences that take turns of a given cost, on a clock that only computing moves. */
class Simulation {
  clock = 0
  readonly turns = new Turns({ now: () => this.clock })
  readonly log: string[] = []
  readonly spent: Record<string, number> = {}
  #sequences: Record<string, object> = {}

  /** `awayMs` is spent waiting for the network, where there is one. */
  async turn (name: string, cost: number, pass: Pass = 'decode'): Promise<void> {
    this.#sequences[name] ??= {}
    await this.turns.take(this.#sequences[name], pass, async () => {
      this.log.push(name)
      await setImmediate()
      this.clock += cost
      this.spent[name] = (this.spent[name] ?? 0) + cost
    })
  }

  /** Always has the next turn ready, until the clock is at `end`. */
  async flood (name: string, cost: number, end: number, pass: Pass): Promise<void> {
    while (this.clock < end) await this.turn(name, cost, pass)
  }
}

describe('turns', () => {
  it('are one at a time', async () => {
    const turns = new Turns()
    let computing = 0
    await Promise.all(Array.from({ length: 10 }, async () => {
      await turns.take({}, 'decode', async () => {
        assert.equal(++computing, 1)
        await setImmediate()
        computing--
      })
    }))
  })

  it('give sequences that always compute equal time, whatever their turns cost', async () => {
    const simulation = new Simulation()
    await Promise.all([
      simulation.flood('long', 100, 10_000, 'prefill'), simulation.flood('short', 5, 10_000, 'prefill'), simulation.flood('token', 1, 10_000, 'decode')
    ])
    for (const ms of Object.values(simulation.spent)) assert.ok(Math.abs(ms - 10_000 / 3) <= 101, `${ms} ms`)
  })

  it('let a decoding sequence wait for one turn at most, under a flood of prompts', async () => {
    const simulation = new Simulation()
    const prompts = Array.from({ length: 20 }, async (_, i) => { await simulation.flood(`prompt ${i}`, 50, 5_000, 'prefill') })
    await simulation.turn('prompt 0', 50, 'prefill')
    while (simulation.clock < 4_000) {
      const since = simulation.clock
      await simulation.turn('token', 1)
      assert.ok(simulation.clock - since <= 51, `waited from ${since} to ${simulation.clock}`)
      // Away, for its reply.
      for (let tick = 0; tick < 3; tick++) await setImmediate()
    }
    await Promise.all(prompts)
  })

  it('let a prompt go on under a flood of decoding sequences', async () => {
    const simulation = new Simulation()
    await Promise.all([
      ...Array.from({ length: 15 }, async (_, i) => { await simulation.flood(`token ${i}`, 2, 8_000, 'decode') }), simulation.flood('prompt', 40, 8_000, 'prefill')
    ])
    assert.ok(simulation.spent.prompt >= 8_000 / 16 - 41, `${simulation.spent.prompt} ms`)
  })

  it('give no credit for time away', async () => {
    const simulation = new Simulation()
    await simulation.turn('idler', 1)
    await simulation.flood('worker', 10, 1_000, 'decode')
    simulation.log.length = 0
    await Promise.all([simulation.flood('idler', 10, 1_200, 'decode'), simulation.flood('worker', 10, 1_200, 'decode')])
    assert.ok(Math.abs(simulation.log.filter(name => name === 'idler').length - simulation.log.length / 2) <= 2, simulation.log.join())
  })

  it('keep the order of a sequence, and go on after one that failed', async () => {
    const turns = new Turns()
    const sequence = {}
    const order: number[] = []
    const taken = [0, 1, 2, 3].map(async i => {
      await turns.take(sequence, 'prefill', async () => {
        await setImmediate()
        order.push(i)
        if (i === 1) throw new Error('failed')
      })
    })
    const ended = await Promise.allSettled(taken)
    assert.deepEqual(ended.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
    assert.deepEqual(order, [0, 1, 2, 3])
  })

  it('of one place follow each other, as many as may be together', async () => {
    const log: string[] = []
    const turns = new Turns({ together: () => 3, onLeave: () => { log.push('sent') } })
    const begun: Array<Promise<void>> = []
    for (const [name, place] of [['a0', 0], ['b1', 1], ['c0', 0], ['d', undefined], ['e0', 0], ['f1', 1], ['g0', 0]] as const) {
      begun.push(turns.take({}, 'decode', async () => {
        log.push(name)
        await setImmediate()
        if (name === 'c0') throw new Error('one that fails')
      }, place))
    }
    assert.equal((await Promise.allSettled(begun)).filter(({ status }) => status === 'rejected').length, 1)
    assert.deepEqual(log.slice(0, 4), ['a0', 'c0', 'e0', 'sent'])
    assert.equal(log.indexOf('f1'), log.indexOf('b1') + 1)
    assert.equal(log[log.indexOf('f1') + 1], 'sent')
    assert.equal(log[log.indexOf('g0') + 1], 'sent')
    assert.equal(log.filter(name => name === 'sent').length, 3)
  })

  it('are left before they are over, where nobody else waits', async () => {
    let sent = 0
    const turns = new Turns({ together: () => 4, onLeave: () => { sent++ } })
    await turns.take({}, 'decode', () => {}, 0)
    assert.equal(sent, 1)
  })

  it('tell when there is nothing to compute', async () => {
    const turns = new Turns()
    await turns.idle()
    let idle = false
    const computing = turns.take({}, 'decode', async () => {
      void turns.idle().then(() => { idle = true })
      for (let tick = 0; tick < 5; tick++) await setImmediate()
      assert.equal(idle, false)
    })
    // One that goes on without a pause is not idle in between.
    await computing.then(async () => { await turns.take({}, 'decode', async () => { await setImmediate(); assert.equal(idle, false) }) })
    for (let tick = 0; tick < 3; tick++) await setImmediate()
    assert.equal(idle, true)
  })
})
