import { readFile } from 'node:fs/promises'
import { cpus } from 'node:os'

export interface Cpu {
  model: string
  /** Vector instructions, where the system tells: on Linux. */
  features: string[]
  cores: number
}

/** What a table of figures must name: machines of one kind have different CPUs. */
export async function thisCpu (): Promise<Cpu> {
  const text = await readFile('/proc/cpuinfo', 'utf8').catch(() => '')
  const flags = /^flags\s*:\s*(.+)$/m.exec(text)?.[1].split(' ') ?? []
  return { model: cpus()[0]?.model ?? 'unknown', features: flags.filter(flag => /^(avx|amx|fma$|f16c)/.test(flag)), cores: cpus().length }
}
