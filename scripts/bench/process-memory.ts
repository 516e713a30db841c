import { readFile } from 'node:fs/promises'

/** Memory of a process, in bytes. */
export interface ProcessMemory {
  /** Each page once, though it may be mapped twice; of those that others map too, this process's part (the kernel's proportional set size). */
  residentBytes: number
  /** Of these, pages that exist nowhere else. */
  anonymousBytes: number
  /** Of these, pages of mapped files, which the system may drop. */
  fileBytes: number
  /** Most that was ever resident, each page as often as it was mapped. */
  peakBytes: number
}

/** Of a running process, from the kernel; undefined where the kernel does not tell (not Linux) and for a process that has ended. */
export async function processMemory (pid: number | 'self'): Promise<ProcessMemory | undefined> {
  const [status, rollup] = await Promise.all(['status', 'smaps_rollup'].map(async name => await readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '')))
  return parseMemory(status, rollup)
}

/** Of the texts of /proc/PID/status and smaps_rollup. A zombie's have no such lines. */
export function parseMemory (status: string, rollup: string): ProcessMemory | undefined {
  const bytes = (text: string, name: string): number | undefined => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)
    return found === null ? undefined : Number(found[1]) * 1024
  }
  const [residentBytes, anonymousBytes, peakBytes] = [bytes(rollup, 'Pss'), bytes(rollup, 'Pss_Anon'), bytes(status, 'VmHWM')]
  if (residentBytes === undefined || anonymousBytes === undefined || peakBytes === undefined) return undefined
  return { residentBytes, anonymousBytes, fileBytes: residentBytes - anonymousBytes, peakBytes }
}

const SAMPLE_MS = 500

/** Looks at a process twice a second, since it cannot be asked after its end. */
export function watchMemory (pid: number): { last: () => ProcessMemory | undefined, stop: () => void } {
  let latest: ProcessMemory | undefined
  const timer = setInterval(() => {
    void processMemory(pid).then(memory => { latest = memory ?? latest })
  }, SAMPLE_MS)
  return { last: () => latest, stop: () => { clearInterval(timer) } }
}
