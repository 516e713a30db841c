import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { Bundle } from '../../node/index.js'
import { reachability } from '../../node/doctor/network.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { type PeerProcess, startPeerProcess } from '../../scripts/peer-process.js'
import { jsonLines, runCli } from '../fixtures/run-cli.js'

interface Found { check: string, status: string, found: string, advice?: string, data: Record<string, unknown> }

describe('moeswarm doctor', function () {
  this.timeout(120_000)
  const findings = (stdout: string): Map<string, Found> => new Map(jsonLines(stdout).map(line => line as unknown as Found).map(line => [line.check, line]))

  it('measures this machine, and says what nobody can know', async () => {
    const { code, stdout, stderr } = await runCli(['doctor', '--listen', '/ip4/127.0.0.1/tcp/0', '--threads', '1', '--dir', `${tmpdir()}/not/there`, '--json'])
    assert.equal(code, 0, stderr)
    const found = findings(stdout)
    assert.deepEqual([...found.keys()], ['node', 'processor', 'memory', 'disk', 'bandwidth', 'experts', 'port', 'reachable', 'clock'])
    assert.ok((found.get('processor')!.data.cores as number) >= 1)
    assert.ok((found.get('bandwidth')!.data.gigabytesPerSecond as number) > 0)
    const { runsPerSecond, weightBytesPerSecond, tokensPerSecondWholeModel } = found.get('experts')!.data as Record<string, number>
    assert.ok(runsPerSecond > 0)
    // 3 x 2816 x 704 weights of 4 bits with a half a scale for each 32.
    assert.ok(Math.abs(weightBytesPerSecond / runsPerSecond / (3 * 2816 * 704 * 18 / 32) - 1) < 0.01)
    assert.ok(Math.abs(tokensPerSecondWholeModel - runsPerSecond / 240) < 1e-6)
    assert.ok((found.get('disk')!.data.freeBytes as number) > 0)
    assert.equal(found.get('port')!.status, 'ok')
    assert.deepEqual([found.get('reachable')!.status, found.get('clock')!.status], ['unknown', 'unknown'])
    assert.match(found.get('reachable')!.advice!, /--bootstrap/)
    assert.deepEqual((await readdir(tmpdir())).filter(name => name.startsWith('moeswarm-doctor-')), [])
  })

  it('asks a peer how it sees this machine, and what time it is', async () => {
    const model = await demoBundle('f32')
    let peer: PeerProcess | undefined
    try {
      peer = await startPeerProcess(['--model', model, '--layers', '0', '--threads', '1'])
      const { code, stdout, stderr } = await runCli(['doctor', '--no-measure', '--listen', '/ip4/127.0.0.1/tcp/0', '--bootstrap', peer.addresses[0], '--model', model, '--json'])
      assert.equal(code, 0, stderr)
      const found = findings(stdout)
      assert.ok(!found.has('experts'))
      assert.deepEqual(found.get('reachable')!.data.observed, ['127.0.0.1'])
      assert.equal(found.get('clock')!.status, 'ok', found.get('clock')!.found)
      const { id } = await Bundle.open(model)
      for (const { named, clock } of [{ named: ['--model', id.slice(0, 6)], clock: 'ok' }, { named: [], clock: 'ok' }, { named: ['--model', 'ffff'], clock: 'unknown' }]) {
        const again = findings((await runCli(['doctor', '--no-measure', '--listen', '/ip4/127.0.0.1/tcp/0', '--bootstrap', peer.addresses[0], ...named, '--json'])).stdout)
        assert.equal(again.get('clock')!.status, clock, again.get('clock')!.found)
      }
    } finally {
      await peer?.stop()
    }
  })

  it('says in a sentence that a port is taken, and exits with 1', async () => {
    const server = createServer()
    await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
    const { port } = server.address() as AddressInfo
    const { code, stdout } = await runCli(['doctor', '--no-measure', '--listen', `/ip4/127.0.0.1/tcp/${port}`])
    server.close()
    assert.equal(code, 1)
    assert.match(stdout, new RegExp(`✗ .*port.*cannot listen on .*tcp/${port} \\(port-in-use\\)\\n.*→ Another program`))
  })

  it('names the command that tests the port from another network', () => {
    // Addresses for documentation (RFC 5737, RFC 3849): no machine has them, so each is behind NAT as far as it can tell.
    const found = reachability(['198.51.100.7'], '/ip4/0.0.0.0/tcp/4001')
    assert.equal(found.status, 'unknown')
    assert.match(found.advice!, /--announce \/ip4\/198\.51\.100\.7\/tcp\/4001\. .*moeswarm dht routing-table --bootstrap \/ip4\/198\.51\.100\.7\/tcp\/4001:/)
    assert.match(reachability(['2001:db8::7'], '/ip6/::/tcp/0').advice!, /--bootstrap \/ip6\/2001:db8::7\/tcp\/<port>:/)
  })
})
