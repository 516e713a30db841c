import Mocha from 'mocha'

const { EVENT_RUN_END } = Mocha.Runner.constants

/** mocha's spec reporter with a closing line for CI, made from the run's own figures. */
export default class ClosingLineReporter extends Mocha.reporters.Spec {
  constructor (runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options)
    // The parent prints its summary in an earlier listener of the same event.
    runner.once(EVENT_RUN_END, () => {
      const { passes, failures, pending } = this.stats
      process.stdout.write(`${passes} passed, ${failures} failed${pending > 0 ? `, ${pending} skipped` : ''}\n`)
    })
  }
}
