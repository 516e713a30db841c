import assert from 'node:assert/strict'
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Bundle } from '../../model-tools/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { type PeerProcess, startPeerProcess } from '../../scripts/peer-process.js'
import { type CliResult, jsonLines, runCli } from '../fixtures/run-cli.js'

describe('models by their names', function () {
  this.timeout(120_000)
  let scratch: string
  let model: Bundle
  let seeder: PeerProcess

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-models-'))
    model = await Bundle.open(await demoBundle('q8'))
    seeder = await startPeerProcess(['--model', model.dir, '--threads', '1'])
  })

  after(async () => {
    await seeder.stop()
    await rm(scratch, { recursive: true })
  })

  /** With a store of its own. */
  const moeswarm = async (store: string, ...args: string[]): Promise<CliResult> => await runCli(args, { cwd: scratch, env: { XDG_DATA_HOME: join(scratch, store) } })
  const kept = (store: string): string => join(scratch, store, 'moeswarm', 'models')
  const swarm = (): string[] => ['--bootstrap', seeder.addresses[0]]

  it('generates with what only the swarm has, named as a person would, and keeps what that took', async () => {
    const args = ['generate', '--model', 'gemma4', '--prompt', 'Once upon a time', '--max-tokens', '4', '--temperature', '0', ...swarm()]
    const first = await moeswarm('user', ...args)
    assert.equal(first.code, 0, first.stderr)
    assert.match(first.stderr, new RegExp(`Getting the client part of gemma4:9m-q8, model ${model.id.slice(0, 12)}`))
    assert.deepEqual(await readdir(kept('user')), [model.id])
    const fetched = await Bundle.open(join(kept('user'), model.id))
    assert.equal(await fetched.hasClientPart(), true)
    assert.equal((await fetched.heldBlocks()).length, 0)

    const second = await moeswarm('user', ...args)
    assert.equal(second.stdout, first.stdout)
    assert.doesNotMatch(second.stderr, /Getting/)

    await rm(fetched.path(fetched.clientFiles()[0]))
    const mended = await moeswarm('user', ...args)
    assert.equal(mended.stdout, first.stdout)
    assert.equal(await fetched.hasClientPart(), true)
  })

  it('lists what is kept and what a swarm serves', async () => {
    assert.match((await moeswarm('none', 'models')).stderr, /No model is kept in .*none.moeswarm.models: get one with moeswarm fetch/)
    const { code } = await moeswarm('list', 'fetch', model.id.slice(0, 6), '--part', 'all', ...swarm())
    assert.equal(code, 0)
    const { stdout } = await moeswarm('list', 'models', '--json', ...swarm())
    const bytes = Object.values(model.manifest.files).reduce((sum, file) => sum + file.bytes, 0)
    assert.deepEqual(jsonLines(stdout), [
      { event: 'model', id: model.id, name: 'gemma4:9m-q8', dir: join(kept('list'), model.id), bytes, client: true, blocks: model.blocks.length, allBlocks: model.blocks.length },
      { event: 'served', id: model.id, name: 'gemma4:9m-q8' }
    ])
    const people = await moeswarm('list', 'models', ...swarm())
    assert.match(people.stdout, new RegExp(`^name .*\\ngemma4:9m-q8 +${model.id.slice(0, 12)} +client part, ${model.blocks.length} of ${model.blocks.length} blocks, .*\\ngemma4:9m-q8 .* in the swarm`))
  })

  it('looks into the swarm and donates to a model by its name', async () => {
    const { code, stdout, stderr } = await moeswarm('none', 'dht', 'coverage', '--model', 'gemma4:9m', '--json', ...swarm())
    assert.equal(code, 0, stderr)
    assert.equal(jsonLines(stdout).length, model.blocks.length)
    assert.match(stderr, new RegExp(`Model gemma4:9m-q8, ${model.id}`))
    const donor = await startPeerProcess(['--model', 'gemma4', '--donate', '400MiB', '--donate-cores', '1', '--dir', join(scratch, 'donated'), ...swarm()])
    assert.ok(donor.blocks.length > 0)
    assert.equal(await donor.stop(), 0)
    assert.equal((await Bundle.open(join(scratch, 'donated'))).id, model.id)
  })

  it('says which there are when a name is none\'s or several models\'', async () => {
    await cp(model.dir, join(kept('two'), 'stories.bundle'), { recursive: true })
    await cp(await demoBundle('u4'), join(kept('two'), 'small'), { recursive: true })
    const name = async (...args: string[]): Promise<CliResult> => await moeswarm('two', 'generate', '--local-layers', 'all', '--threads', '1', '--prompt', 'One day', '--max-tokens', '1', '--model', ...args)
    for (const one of ['stories', 'gemma4:9m-u4']) assert.equal((await name(one)).code, 0, one)
    const several = await name('gemma4')
    assert.equal(several.code, 1)
    assert.match(several.stderr, /^moeswarm: Several models in \S+ are called gemma4 \(gemma4:9m-u4 \(\w{12}\), gemma4:9m-q8 \(\w{12}\)\): say which\.\n$/)
    const none = await name('llama')
    assert.equal(none.code, 1)
    assert.match(none.stderr, /^moeswarm: llama holds no model bundle.*no model that is kept here is called so; gemma4:9m-u4 .* are kept\. .*moeswarm fetch/)
    const elsewhere = await name('llama', ...swarm())
    assert.match(elsewhere.stderr, new RegExp(`^moeswarm: The hosts asked serve no model called llama, but gemma4:9m-q8 \\(${model.id.slice(0, 12)}\\)`))
    // What can only be a path is not looked for among names.
    assert.match((await name('./llama', ...swarm())).stderr, /llama holds no model bundle \(there is no manifest.json\); make one/)
  })
})
