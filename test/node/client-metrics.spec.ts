import assert from 'node:assert/strict'
import { ClientMetrics } from '../../node/metrics/index.js'
import { SwarmClient } from '../../node/swarm-client.js'
import { demoBundle } from '../../scripts/demo-bundle.js'

describe('metrics of a client', function () {
  this.timeout(60_000)

  it('count generations, tokens, laps and exchanges', async () => {
    const metrics = new ClientMetrics()
    const client = await SwarmClient.open({ model: await demoBundle('f32'), localLayers: 'all', threads: 1, onLayer: metrics.onLayer, onEvent: metrics.onEvent })
    try {
      metrics.follow(client)
      for await (const event of client.generate('One day', { maxTokens: 4, sampling: { temperature: 0 }, draft: 'none' })) metrics.onGenerate(event)
    } finally {
      await client.close()
    }
    metrics.onEvent({ type: 'request-failed', peerId: 'x', layer: 0, code: 'timeout' })
    metrics.onEvent({ type: 'request-hedged', peerId: 'x', toPeerId: 'y', layer: 0 })
    const text = await metrics.text()
    const has = (line: RegExp): void => { assert.match(text, line) }
    has(/^moeswarm_client_tokens_total 4$/m)
    has(/^moeswarm_client_generations_total\{reason="length"\} 1$/m)
    has(/^moeswarm_client_laps_total 3$/m)
    has(/^moeswarm_client_exchange_seconds_count 24$/m) // six layers, the prompt and three more laps
    has(/^moeswarm_client_lap_seconds_total\{row="attention"\} 0\.\d+/m)
    has(/^moeswarm_client_first_token_seconds_count 1$/m)
    has(/^moeswarm_client_failed_requests_total\{code="timeout"\} 1$/m)
    has(/^moeswarm_client_hedged_requests_total 1$/m)
  })

  it('count what was compared, as the client counts it at the time of a scrape', async () => {
    const metrics = new ClientMetrics()
    assert.match(await metrics.text(), /^moeswarm_client_liars_total 0$/m)
    const counters = { requests: 7, compared: 9, alone: 2, disagreements: 3, undecided: 1, lies: 4, liars: 1, largestPassed: 0.5, compareMs: 250 }
    metrics.follow({ peers: () => [], audits: () => counters })
    metrics.onGenerate({ type: 'lied', peerId: 'x', replies: 3, again: true })
    metrics.onGenerate({ type: 'lied', peerId: 'y', replies: 1, again: false })
    for (const line of [
      'moeswarm_client_audits_total{result="equal"} 6', 'moeswarm_client_audits_total{result="different"} 3', 'moeswarm_client_audits_total{result="alone"} 2',
      'moeswarm_client_audit_requests_total 7', 'moeswarm_client_audits_undecided_total 1', 'moeswarm_client_lies_total 4', 'moeswarm_client_liars_total 1',
      'moeswarm_client_audit_largest_passed_ratio 0.5', 'moeswarm_client_audit_compare_seconds_total 0.25',
      'moeswarm_client_tainted_answers_total{done="computed-again"} 1', 'moeswarm_client_tainted_answers_total{done="kept"} 1'
    ]) assert.ok((await metrics.text()).split('\n').includes(line), line)
    counters.liars = 2
    assert.match(await metrics.text(), /^moeswarm_client_liars_total 2$/m)
  })

  it('count laps that gave several tokens once', async () => {
    const metrics = new ClientMetrics()
    const client = await SwarmClient.open({ model: await demoBundle('f32'), localLayers: 'all', threads: 1 })
    let laps = 0
    try {
      for await (const event of client.generate('One day', { maxTokens: 24, sampling: { temperature: 0 }, draft: 'assistant' })) {
        metrics.onGenerate(event)
        if (event.type === 'done') laps = event.generation.speculation.laps
      }
    } finally {
      await client.close()
    }
    assert.ok(laps > 0 && laps < 23, String(laps))
    assert.match(await metrics.text(), new RegExp(`^moeswarm_client_laps_total ${laps}$`, 'm'))
  })
})
