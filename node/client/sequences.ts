/** How many sequences may be under way, since each holds a KV cache; further ones wait, first come first. */
export class Sequences {
  private running = 0
  private readonly queue: Array<() => void> = []

  constructor (readonly limit: number) {}

  /** Sequences under way, and those that wait for one to end. */
  get load (): { running: number, waiting: number } {
    return { running: this.running, waiting: this.queue.length }
  }

  /** Waits for a place and returns what frees it; calling that again does nothing. @throws the signal's reason */
  async enter (signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted()
    if (this.running >= this.limit) await this.wait(signal)
    else this.running++
    let left = false
    return () => {
      if (left) return
      left = true
      // The place goes to the next one, so nobody who comes meanwhile takes it.
      const next = this.queue.shift()
      if (next === undefined) this.running--
      else next()
    }
  }

  private async wait (signal?: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const begin = (): void => {
        signal?.removeEventListener('abort', abort)
        resolve()
      }
      const abort = (): void => {
        this.queue.splice(this.queue.indexOf(begin), 1)
        reject(signal?.reason as Error)
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.queue.push(begin)
    })
  }
}
