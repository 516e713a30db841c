import { rm } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Bundle, convertCheckpoint, ModelError, type WeightFormat } from '../model-tools/index.js'

/** Root of the checkout: scripts are run from dist/scripts. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** The demo model as it would lie on a Hugging Face page. */
export const DEMO_CHECKPOINT = join(ROOT, 'model-tools', 'demo-model')

/** The demo model's drafter. */
export const DEMO_DRAFTER = join(ROOT, 'model-tools', 'demo-drafter')

/** 32 experts make four blocks a layer, so that three peers can hold different, overlapping ones. */
export const DEMO_BLOCK_EXPERTS = 8

/** Between two looks at a bundle that another process is making. */
const BUSY_RETRY_MS = 200

/** The demo model's bundle in .cache, converted on first use. Returns its directory. */
export async function demoBundle (quant: WeightFormat, onProgress?: (done: number, total: number) => void, signal?: AbortSignal): Promise<string> {
  const out = join(ROOT, '.cache', `demo-${quant}`)
  for (;;) {
    try {
      if (!await isCurrent(out)) {
        await convertCheckpoint({
          checkpoint: DEMO_CHECKPOINT, drafter: DEMO_DRAFTER, out, quant, blockExperts: DEMO_BLOCK_EXPERTS, signal,
          onProgress: ({ doneBytes, totalBytes }) => onProgress?.(doneBytes, totalBytes)
        })
      }
      return out
    } catch (error) {
      if (!(error instanceof ModelError) || error.code !== 'busy') throw error
      await sleep(BUSY_RETRY_MS, undefined, { signal })
    }
  }
}

/** Takes away one of an older version of the format. */
async function isCurrent (out: string): Promise<boolean> {
  try {
    const bundle = await Bundle.open(out)
    if (bundle.manifest.drafter !== undefined) return true
  } catch (error) {
    if (!(error instanceof ModelError)) throw error
    if (error.code === 'not-found') return false
  }
  await rm(out, { recursive: true })
  return false
}

/** A path as a person would type it. */
export function shown (path: string): string {
  return relative(process.cwd(), path) || '.'
}
