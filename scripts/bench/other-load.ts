import { readFile } from 'node:fs/promises'

/** Shares of all cores' time, 0 to 1, that a measurement did not get. */
export interface OtherLoad {
  /** Taken by processes that are not ours. */
  others: number
  /** Taken by other machines of the same host. */
  stolen: number
}

/** Clock ticks since the start. */
interface Ticks {
  total: number
  busy: number
  stolen: number
  own: number
}

/** Begins to watch. What is returned tells what others took since, of a span in which all our children were started and have ended. Linux only. */
export async function watchOtherLoad (): Promise<() => Promise<OtherLoad | undefined>> {
  const before = await ticks()
  return async () => {
    const after = await ticks()
    return before === undefined || after === undefined ? undefined : otherLoad(before, after)
  }
}

async function ticks (): Promise<Ticks | undefined> {
  const [system, own] = await Promise.all(['/proc/stat', '/proc/self/stat'].map(async path => await readFile(path, 'utf8').catch(() => undefined)))
  return system === undefined || own === undefined ? undefined : parseTicks(system, own)
}

/** Of the texts of /proc/stat and /proc/self/stat. */
export function parseTicks (system: string, own: string): Ticks {
  const [user, nice, kernel, idle, waiting, interrupts, softInterrupts, stolen] = /^cpu +(.+)$/m.exec(system)?.[1].split(' ').map(Number) ?? []
  const busy = user + nice + kernel + interrupts + softInterrupts
  // Behind the name, which may hold anything: our ticks in user and kernel mode, then those of children that have ended.
  const fields = own.slice(own.lastIndexOf(')') + 2).split(' ').map(Number)
  return { total: busy + idle + waiting + stolen, busy, stolen, own: fields[11] + fields[12] + fields[13] + fields[14] }
}

export function otherLoad (before: Ticks, after: Ticks): OtherLoad {
  const since = (of: (ticks: Ticks) => number): number => of(after) - of(before)
  const total = Math.max(1, since(({ total }) => total))
  // Both count whole ticks, so that the difference may fall below zero.
  return { others: Math.max(0, since(({ busy }) => busy) - since(({ own }) => own)) / total, stolen: since(({ stolen }) => stolen) / total }
}
