import { createRequire } from 'node:module'
import Mocha from 'mocha'

const { EVENT_RUN_END } = Mocha.Runner.constants
const require = createRequire(import.meta.url)
const Spec = require('mocha/lib/reporters/spec.js') as typeof Mocha.reporters.Spec

/** mocha's spec reporter with a closing line for CI, made from the run's own figures. */
export default class ClosingLineReporter extends Spec {
  constructor (runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options)
    runner.once(EVENT_RUN_END, () => {
      const { passes, failures, pending } = this.stats
      // After the summary, which the parent prints in its own listener.
      process.once('exit', () => {
        process.stdout.write(`${passes} passed, ${failures} failed${pending > 0 ? `, ${pending} skipped` : ''}\n`)
      })
    })
  }
}
