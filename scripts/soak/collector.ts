// Loaded into each thread of a soak (`node --expose-gc --import`). Between collections V8 lets a heap of 28 MiB grow to 57, a minute or two each, and its young generation be
// anything from 1 to 32 MiB: what a process keeps can be seen from outside only right behind a collection. So all threads of all processes collect at the same seconds of the
// clock, and the soak looks then; package.json fixes the young generation's size.

const INTERVAL_MS = 10_000
/** For the collections of a machine with less cores than processes. */
const COLLECTING_MS = 1_000

const collect = globalThis.gc
if (collect == null) throw new Error('collector.js wants node --expose-gc.')

/** Calls `next` when all have collected, again and again until the returned function is called. */
export function behindCollections (next: () => void): () => void {
  return atSeconds(COLLECTING_MS, next)
}

function atSeconds (phaseMs: number, perform: () => void): () => void {
  let timer: NodeJS.Timeout
  const wait = (): void => {
    timer = setTimeout(() => {
      perform()
      wait()
    }, INTERVAL_MS - (Date.now() - phaseMs) % INTERVAL_MS).unref()
  }
  wait()
  return () => { clearTimeout(timer) }
}

atSeconds(0, () => { void collect() })
