// Loaded into each process of a soak (`node --expose-gc --import`). Between collections V8 lets a heap of 28 MiB grow to 57, a minute or two each, and its young generation be
// anything from 1 to 32 MiB: what a process keeps cannot be seen from outside below that. So all is collected now and then; package.json fixes the young generation's size.

const INTERVAL_MS = 10_000

const collect = globalThis.gc
if (collect == null) throw new Error('collector.js wants node --expose-gc.')
setInterval(() => { void collect() }, INTERVAL_MS).unref()
