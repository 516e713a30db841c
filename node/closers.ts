/** What ends everything that an `open` or a `start` began. */
export class Closers {
  private readonly closers: Array<() => Promise<void>> = []

  /** Registers how to end what has just been begun. */
  add (close: () => Promise<void>): void { this.closers.push(close) }

  /** Ends all in reverse order, each once, whatever fails. @throws the first failure, when all have been tried */
  async close (): Promise<void> {
    const failures: unknown[] = []
    for (const close of this.closers.splice(0).reverse()) {
      try {
        await close()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
