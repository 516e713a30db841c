import { once } from 'node:events'
import type { ServerResponse } from 'node:http'

/** Server-sent events. The head goes out with the first of them, so that an error before it can still be an answer of its own. */
export class EventStream {
  constructor (private readonly response: ServerResponse) {}

  get begun (): boolean { return this.response.headersSent }

  /** Waits while the reader is slower than we are. */
  async send (data: object | '[DONE]'): Promise<void> {
    await this.write(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`)
  }

  /** What readers ignore; keeps connections open that end when they are idle. */
  async comment (text: string): Promise<void> { await this.write(`: ${text}\n\n`) }

  end (): void { this.response.end() }

  private async write (text: string): Promise<void> {
    if (this.response.destroyed) return
    if (!this.begun) {
      this.response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' })
    }
    if (this.response.write(text)) return
    // A reader that leaves never drains.
    const gone = new AbortController()
    const close = (): void => { gone.abort() }
    this.response.once('close', close)
    await once(this.response, 'drain', { signal: gone.signal }).catch(() => {})
    this.response.off('close', close)
  }
}
