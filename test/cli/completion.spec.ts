import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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

/** What zsh runs when these keys are typed at its prompt: a Tab behind each line, then Enter. */
function zshRuns (file: string, lines: string[]): string[] {
  const { stdout, stderr, status, error } = spawnSync('zsh', ['-f', '-c', `
    zmodload zsh/zpty
    zpty shell TERM=dumb zsh -f -i
    zpty -w shell 'autoload -Uz compinit && compinit -D -u && source $SCRIPT'
    # What is typed is echoed: it must not look like what is printed.
    zpty -w shell 'moeswarm () { print -r -- "<"RAN">$*<"END">" }; print REA""DY'
    zpty -r shell answer '*READY*'
    for line in "$@"; do
      zpty -w -n shell "$line"$'\t\n'
      zpty -r shell answer '*<RAN>*<END>*'
      answer=\${answer##*<RAN>}
      print -r -- "\${answer%%<END>*}"
    done
    zpty -d shell`, 'zsh', ...lines], { encoding: 'utf8', timeout: 20_000, env: { ...process.env, SCRIPT: file } })
  if (error !== undefined) throw error
  assert.equal(status, 0, stderr)
  return stdout.trimEnd().split('\n')
}

/** What fish offers behind a line. */
function fishOffers (file: string, line: string): string[] {
  const { stdout, stderr, status, error } = spawnSync('fish', ['--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', file, line], { encoding: 'utf8', timeout: 20_000, env: { ...process.env, TERM: 'dumb' } })
  if (error !== undefined) throw error
  assert.equal(status, 0, stderr)
  return stdout.split('\n').filter(one => one !== '').map(one => one.split('\t')[0])
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

  describe('from a file', () => {
    let dir: string
    const file = async (shell: string): Promise<string> => {
      const path = join(dir, `moeswarm.${shell}`)
      await writeFile(path, await script(shell))
      return path
    }
    before(async () => { dir = await mkdtemp(join(tmpdir(), 'moeswarm-completion-')) })
    after(async () => { await rm(dir, { recursive: true }) })

    it('zsh completes them at its prompt', async function () {
      const zsh = await file('zsh')
      if (!has('zsh')) this.skip()
      const typed = ['moeswarm gen', 'moeswarm dht cov', 'moeswarm convert x --quant u', 'moeswarm peer --donate-c', 'moeswarm dht providers --la', 'moeswarm completion f']
      assert.deepEqual(zshRuns(zsh, typed), ['generate', 'dht coverage', 'convert x --quant u4', 'peer --donate-cores', 'dht providers --layer', 'completion fish'])
    })

    it('fish completes them', async function () {
      const fish = await file('fish')
      if (!has('fish')) this.skip()
      assert.deepEqual(fishOffers(fish, 'moeswarm gen'), ['generate'])
      assert.ok(fishOffers(fish, 'moeswarm ').includes('peer'))
      assert.deepEqual(fishOffers(fish, 'moeswarm dht cov'), ['coverage'])
      assert.deepEqual(fishOffers(fish, 'moeswarm convert x --quant q'), ['q4', 'q8'])
      assert.deepEqual(fishOffers(fish, 'moeswarm peer --donate-c'), ['--donate-cores'])
      assert.deepEqual(fishOffers(fish, 'moeswarm dht providers --la'), ['--layer'])
      assert.deepEqual(fishOffers(fish, 'moeswarm completion f'), ['fish'])
    })
  })

  it('another shell is refused', async () => {
    assert.equal((await runCli(['completion', 'tcsh'])).code, 2)
  })
})
