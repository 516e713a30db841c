import assert from 'node:assert/strict'
import { runChaos } from '../../../scripts/chaos/run.js'

const SEED = 1
const MINUTES = 2
/** Of what happened, what a failure shows. */
const SHOWN = 60

describe('a swarm of twelve peer processes', function () {
  // The time that it takes to start and end them on a machine with other work; what is tested takes two minutes.
  this.timeout(1_200_000)

  it(`loses no token and no generation in ${MINUTES} minutes of peers that are killed, stopped, restarted, slowed and cut off`, async () => {
    const processesBefore = children()
    const history: string[] = []
    const note = (what: object): void => { history.push(`${performance.now().toFixed(0)} ${JSON.stringify(what)}`) }
    const { tokens, generations, differing, failures, faults, caughtAfter } = await runChaos({ seed: SEED, minutes: MINUTES, onFault: note, onEvent: note })
    assert.ok(tokens > 0 && generations > 0)
    const until = failures.length > 0 ? history.findIndex(line => parseInt(line) > failures[0].atMs) : -1
    assert.deepEqual(failures, [], `what happened before:\n${history.slice(0, until < 0 ? undefined : until).slice(-SHOWN).join('\n')}`)
    assert.equal(differing, 0)
    assert.deepEqual(caughtAfter, [], 'nobody lies, so nobody is accused')
    // Where peers come back late some of the schedule is left out, since it would take the last replica.
    const injected = Object.values(faults)
    assert.ok(injected.reduce((a, b) => a + b, 0) >= 5 && injected.filter(count => count > 0).length >= 3, JSON.stringify(faults))
    assert.equal(children(), processesBefore)
  })
})

/** Child processes that run, of this process. */
function children (): number {
  return process.getActiveResourcesInfo().filter(resource => resource === 'ProcessWrap').length
}
