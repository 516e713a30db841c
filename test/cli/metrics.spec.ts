import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseHostPort } from '../../node/metrics/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { jsonLines, runCli } from '../fixtures/run-cli.js'

/** Samples of an exposition by name and labels. */
function samples (text: string): Map<string, number> {
  return new Map(text.split('\n').filter(line => line !== '' && !line.startsWith('#')).map(line => {
    const at = line.lastIndexOf(' ')
    return [line.slice(0, at), Number(line.slice(at + 1))]
  }))
}

describe('metrics and logs of a peer', function () {
  this.timeout(120_000)
  let cwd: string

  before(async () => { cwd = await mkdtemp(join(tmpdir(), 'moeswarm-metrics-')) })
  after(async () => { await rm(cwd, { recursive: true }) })

  it('count what a client was served, and the log is an object a line', async () => {
    const model = await demoBundle('f32')
    let scraped = ''
    let health = 0
    let child: ChildProcess | undefined
    let generated: Promise<unknown> = Promise.resolve()
    const peer = runCli(['peer', '--model', model, '--threads', '1', '--metrics', '127.0.0.1:0', '--log-format', 'json', '--log-level', 'debug', '--json'], {
      onLine: (line, process) => {
        const ready = JSON.parse(line) as { event: string, addresses: string[], metrics: string }
        if (ready.event !== 'ready') return
        child = process
        generated = (async () => {
          const { code, stderr } = await runCli(['generate', '--model', model, '--bootstrap', ready.addresses[0], '--prompt', 'One day', '--max-tokens', '4', '--temperature', '0', '--draft', 'none'], { cwd })
          assert.equal(code, 0, stderr)
          scraped = await (await fetch(ready.metrics)).text()
          health = (await fetch(new URL('/healthz', ready.metrics))).status
          assert.equal((await fetch(new URL('/other', ready.metrics))).status, 404)
        })().finally(() => child?.kill('SIGTERM'))
      }
    })
    const { code, stdout, stderr } = await peer
    await generated
    assert.equal(code, 0, stderr)
    assert.equal(health, 200)
    const { layers, blocks } = { layers: 6, blocks: (jsonLines(stdout)[0].blocks as unknown[]).length }
    const values = samples(scraped)
    // A prompt in one lap, then three more.
    assert.equal(values.get('moeswarm_peer_requests_total'), layers * 4)
    assert.ok(values.get('moeswarm_peer_tokens_total')! >= layers * 5)
    assert.equal(values.get('moeswarm_peer_service_seconds_count'), layers * 4)
    assert.ok(values.get('moeswarm_peer_service_seconds_sum')! > 0)
    assert.ok(values.get('moeswarm_peer_received_bytes_total')! > 0 && values.get('moeswarm_peer_sent_bytes_total')! > 0)
    assert.equal(values.get('moeswarm_peer_hosted_blocks'), blocks)
    assert.equal(values.get('moeswarm_peer_workers'), 1)
    assert.ok(values.get('moeswarm_peer_memory_bytes')! > 1e6)
    assert.ok(values.has('moeswarm_peer_connections') && values.has('moeswarm_peer_dht_peers'))
    const log = stderr.trim().split('\n').map(line => JSON.parse(line) as { time: string, level: string, event: string })
    assert.ok(log.every(({ time, level }) => !Number.isNaN(Date.parse(time)) && ['debug', 'info', 'warn', 'error'].includes(level)))
    for (const event of ['ready', 'metrics', 'announced', 'stopping']) assert.ok(log.some(line => line.event === event), event)
  })

  it('a level leaves out what is less grave', async () => {
    const model = await demoBundle('f32')
    const { stderr } = await runCli(['peer', '--model', model, '--threads', '1', '--layers', '0', '--log-level', 'error', '--json'], { onLine: (_, child) => { child.kill('SIGTERM') } })
    assert.equal(stderr, '')
  })

  it('an address that is none, or taken, is refused in a sentence', async () => {
    const model = await demoBundle('f32')
    const { code, stderr } = await runCli(['peer', '--model', model, '--metrics', 'here'])
    assert.equal(code, 1)
    assert.match(stderr, /"here" is no address.*9464/)
  })

  it('addresses are [host:]port', () => {
    assert.deepEqual(parseHostPort('9464'), { host: '127.0.0.1', port: 9464 })
    assert.deepEqual(parseHostPort('0.0.0.0:80'), { host: '0.0.0.0', port: 80 })
    assert.deepEqual(parseHostPort('[::1]:80'), { host: '::1', port: 80 })
    for (const bad of ['', 'x', ':80', '1.2.3.4', '1:70000', '::1:80']) assert.throws(() => parseHostPort(bad), /no address/, bad)
  })
})
