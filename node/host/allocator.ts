import koffi from 'koffi'
import type { Bundle } from '../../model-tools/index.js'
import { KEPT_BYTES, mayDropScales, mayMap } from './memory.js'

/** Of mallopt, in malloc.h of glibc. */
const M_MMAP_THRESHOLD = -3

let asked: boolean | undefined

/**
 * Makes the C library map pieces of KEPT_BYTES and more, for the whole process, so that they go back to the system when they are freed; whether it does.
 * onnxruntime packs at loading also what is mapped, and frees that; glibc would keep it, 2 MiB an expert of the 26B shape. Who has set MALLOC_MMAP_THRESHOLD_
 * has decided that.
 */
export function returnLargePieces (): boolean {
  return (asked ??= mayDropScales() && setThreshold())
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
