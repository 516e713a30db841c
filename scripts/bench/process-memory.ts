import { readFile } from 'node:fs/promises'

/** Memory of a process, in bytes. */
export interface ProcessMemory {
  residentBytes: number
  /** Of these, pages that exist nowhere else. */
  anonymousBytes: number
  /** Of these, pages of mapped files, which the system may drop. */
  fileBytes: number
  /** Most that was ever resident. */
  peakBytes: number
}

/** Of a running process, from the kernel; undefined where the kernel does not tell (not Linux) and for a process that has ended. */
export async function processMemory (pid: number | 'self'): Promise<ProcessMemory | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return parseStatus(status)
}

/** Of the text of /proc/PID/status. A zombie's has no such lines. */
export function parseStatus (status: string): ProcessMemory | undefined {
  const bytes = (name: string): number | undefined => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)
    return found === null ? undefined : Number(found[1]) * 1024
  }
  const [residentBytes, anonymousBytes, fileBytes, peakBytes] = ['VmRSS', 'RssAnon', 'RssFile', 'VmHWM'].map(bytes)
  if (residentBytes === undefined || anonymousBytes === undefined || fileBytes === undefined || peakBytes === undefined) return undefined
  return { residentBytes, anonymousBytes, fileBytes, peakBytes }
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
