import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { runCli } from '../fixtures/run-cli.js'

/** What a shell would offer behind `line`, by its own completion of the script that we print. */
function bashOffers (script: string, line: string): string[] {
  const words = line.split(' ')
  const { stdout, stderr, status, error } = spawnSync('bash', ['--norc', '-c', `${script}
    compopt () { :; }   # works only while a shell completes at its prompt
    COMP_WORDS=(${words.map(word => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
    _moeswarm; printf '%s\\n' "\${COMPREPLY[@]}"; complete -p moeswarm`], { encoding: 'utf8', timeout: 20_000 })
  if (error !== undefined) throw error
  assert.equal(status, 0, stderr)
  assert.equal(stderr, '')
  const lines = stdout.trim().split('\n')
  assert.equal(lines.pop(), 'complete -F _moeswarm moeswarm')
  return lines.filter(one => one !== '')
}

function has (shell: string): boolean {
  return spawnSync(shell, ['-c', 'exit 0'], { timeout: 20_000 }).status === 0
}

describe('shell completion', function () {
  this.timeout(60_000)
  const script = async (shell: string): Promise<string> => {
    const { code, stdout, stderr } = await runCli(['completion', shell])
    assert.equal(code, 0, stderr)
    return stdout
  }

  it('bash completes commands, subcommands, options and values', async function () {
    if (!has('bash')) this.skip()
    const bash = await script('bash')
    assert.deepEqual(bashOffers(bash, 'moeswarm gen'), ['generate'])
    assert.ok(bashOffers(bash, 'moeswarm ').includes('peer'))
    assert.deepEqual(bashOffers(bash, 'moeswarm dht cov'), ['coverage'])
    assert.deepEqual(bashOffers(bash, 'moeswarm convert x --quant q'), ['q4', 'q8'])
    assert.deepEqual(bashOffers(bash, 'moeswarm peer --donate-c'), ['--donate-cores'])
    assert.deepEqual(bashOffers(bash, 'moeswarm dht providers --la'), ['--layer'])
    assert.deepEqual(bashOffers(bash, 'moeswarm completion f'), ['fish'])
    assert.deepEqual(bashOffers(bash, 'moeswarm generate --model '), [])
  })

  for (const shell of ['zsh', 'fish']) {
    it(`${shell} takes its script`, async function () {
      const text = await script(shell)
      assert.match(text, /donate-cores/)
      if (!has(shell)) this.skip()
      const { status, stderr } = spawnSync(shell, ['-n'], { input: text, encoding: 'utf8', timeout: 20_000 })
      assert.equal(status, 0, stderr)
    })
  }

  it('another shell is refused', async () => {
    assert.equal((await runCli(['completion', 'tcsh'])).code, 2)
  })
})
