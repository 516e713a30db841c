import koffi from 'koffi'
import type { Bundle } from '../../model-tools/index.js'
import { KEPT_BYTES, mayDropScales, mayMap } from './memory.js'

/** Of mallopt, in malloc.h of glibc. */
const M_MMAP_THRESHOLD = -3

/** Between two times that free pages are given back. */
const RETURN_MS = 60_000

let asked: boolean | undefined

/**
 * Makes the C library map pieces of KEPT_BYTES and more, for the whole process, so that they go back to the system when they are freed; whether it does.
 * onnxruntime packs at loading also what is mapped, and frees that; glibc would keep it, 2 MiB an expert of the 26B shape. Who has set MALLOC_MMAP_THRESHOLD_
 * has decided that.
 */
export function returnLargePieces (): boolean {
  return (asked ??= mayDropScales() && setThreshold())
}

/**
 * Gives pages in which nothing lies back to the system, now and every minute, until the returned function is called. glibc gives back only what is free behind all that is used: of a peer
 * of the demo model it keeps 5 to 25 MiB for nothing, in steps and the more the longer it runs (docs/hosting.md). Takes a millisecond or two. Nothing where the C library is another one.
 */
export function returnFreePages (): () => void {
  const trim = trimmer()
  trim?.(0)
  const timer = setInterval(() => { trim?.(0) }, RETURN_MS).unref()
  return () => { clearInterval(timer) }
}

function trimmer (): ((pad: number) => number) | undefined {
  try {
    return process.platform === 'linux' ? koffi.load(null).func('int malloc_trim(size_t)') as (pad: number) => number : undefined
  } catch { // another C library
    return undefined
  }
}

/** Whether a bundle's mapped weights take less memory than others here. */
export function mappingPays (bundle: Bundle): boolean {
  return mayMap(bundle) && returnLargePieces()
}

function setThreshold (): boolean {
  const threshold = process.env.MALLOC_MMAP_THRESHOLD_
  if (threshold !== undefined) return Number(threshold) > 0 && Number(threshold) <= KEPT_BYTES
  try {
    const mallopt = koffi.load(null).func('int mallopt(int, int)') as (parameter: number, value: number) => number
    return mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) === 1
  } catch { // another C library
    return false
  }
}
