/** What ends everything that an `open` or a `start` began. */
export class Closers {
  private readonly closers: Array<() => Promise<void>> = []

  /** Registers how to end what has just been begun. */
  add (close: () => Promise<void>): void { this.closers.push(close) }

  /** Ends all in reverse order, each once. */
  async close (): Promise<void> {
    for (const close of this.closers.splice(0).reverse()) await close()
  }
}
