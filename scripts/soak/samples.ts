import { readdir, readlink } from 'node:fs/promises'
import { processMemory } from '../bench/process-memory.js'
import type { Point } from './fit.js'

/** What is looked at of every process. */
export const FIGURES = ['memory MiB', 'open files', 'sockets'] as const
export type Figure = typeof FIGURES[number] | 'active resources' | 'ms a token' | 'ms a token / all local'

/** By process and figure, what was seen when. */
export class Samples {
  readonly series = new Map<string, Map<Figure, Point[]>>()
  readonly startedAtMs = performance.now()

  add (who: string, figure: Figure, value: number): void {
    const figures = this.series.get(who) ?? new Map<Figure, Point[]>()
    this.series.set(who, figures)
    const points = figures.get(figure) ?? []
    figures.set(figure, points)
    points.push({ minutes: (performance.now() - this.startedAtMs) / 60_000, value })
  }

  /** Looks at a process from outside. Nothing is added where the kernel does not tell (not Linux). */
  async look (who: string, pid: number): Promise<void> {
    const memory = await processMemory(pid)
    const files = await readdir(`/proc/${pid}/fd`).catch(() => undefined)
    if (memory === undefined || files === undefined) return
    const targets = await Promise.all(files.map(async file => await readlink(`/proc/${pid}/fd/${file}`).catch(() => '')))
    this.add(who, 'memory MiB', memory.anonymousBytes / 2 ** 20)
    this.add(who, 'open files', files.length)
    this.add(who, 'sockets', targets.filter(target => target.startsWith('socket:')).length)
  }
}
