import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { ModelError } from '../../model-tools/index.js'

/** Generations that a directory keeps; the oldest goes when another comes. */
const KEPT = 20

const ID = /^\d{14}-[0-9a-f]{6}$/

const tokens = z.array(z.number().int().min(0))
const SavedGenerationFile = z.object({
  format: z.literal(1),
  id: z.string(),
  modelId: z.string(),
  promptTokens: tokens,
  /** What was typed; absent where token ids or a conversation were given. */
  promptText: z.string().optional(),
  /** Generated so far. */
  tokens,
  maxTokens: z.number().int(),
  /** The seed included: a token's chance depends on it, its place and itself alone, so nothing else of the sampler has a state. */
  sampling: z.object({ temperature: z.number(), topK: z.number(), topP: z.number(), seed: z.number() })
})

/** An answer that was cut short, with all that its other tokens depend on but the KV cache, which is computed again from the tokens. */
export type SavedGeneration = z.infer<typeof SavedGenerationFile>

/** Such as 20261128031500-5f0c2a, by the time of its start. */
export function newGenerationId (): string {
  return `${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}-${randomUUID().slice(0, 6)}`
}

/** Answers that were cut short, a file of mode 0600 each. */
export class SavedGenerations {
  constructor (private readonly dir: string) {}

  /** Writes it to `file`, or to this directory under its id; a file that is there is replaced as a whole. Returns where it is. */
  async save (saved: SavedGeneration, file = join(this.dir, `${saved.id}.json`)): Promise<string> {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    const fresh = `${file}.${randomUUID()}`
    try {
      const handle = await open(fresh, 'wx', 0o600)
      try {
        await handle.writeFile(JSON.stringify(saved))
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(fresh, file)
    } catch (error) {
      await rm(fresh, { force: true })
      throw error
    }
    if (dirname(file) === this.dir) await this.forgetOldest()
    return file
  }

  /** @param what - a file, or the id of one in this directory @throws ModelError 'not-found', 'unsupported' */
  async open (what: string): Promise<SavedGeneration> {
    const file = ID.test(what) ? join(this.dir, `${what}.json`) : what
    let text: string
    try {
      text = await readFile(file, 'utf8')
    } catch (error) {
      throw new ModelError('not-found', `There is no saved generation ${file}: give the file or the id that moeswarm generate named when it stopped.`, { path: file }, { cause: error })
    }
    try {
      return SavedGenerationFile.parse(JSON.parse(text))
    } catch (error) {
      throw new ModelError('unsupported', `${file} is no saved generation, or one of another version of moeswarm: generate anew.`, { path: file }, { cause: error })
    }
  }

  private async forgetOldest (): Promise<void> {
    const names = (await readdir(this.dir)).filter(name => ID.test(name.replace(/\.json$/, ''))).sort().reverse()
    for (const name of names.slice(KEPT)) await unlink(join(this.dir, name)).catch(() => { /* another process was first */ })
  }
}
