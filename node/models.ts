import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Bundle, ModelError, modelName, parseManifest } from '../model-tools/index.js'
import { connectBlocks, type OnSwarmEvent, type SwarmHost, SwarmError, SwarmInspector } from '../swarm/index.js'
import { modelsDirectory } from './bundle-store.js'

/** A model as people may call it: by its id, or 4 digits of its beginning at least, by its name or the beginning of that (gemma4), and by its directory's name. */
export interface KnownModel {
  id: string
  /** Of `modelName`; absent where nobody has given its manifest. */
  name?: string
  dir?: string
}

/** Models that an error names. */
const NAMED_MODELS = 5

const ID_BEGINNING = /^[0-9a-f]{4,64}$/

/** The bundles that are kept in `modelsDirectory()`, whole or in part. */
export async function keptModels (): Promise<Bundle[]> {
  const dirs = await readdir(modelsDirectory()).catch(() => [])
  const found = await Promise.all(dirs.sort().map(async dir => await Bundle.open(join(modelsDirectory(), dir)).catch(() => undefined)))
  return found.filter(bundle => bundle !== undefined)
}

/**
 * Opens the bundle in a directory, or else the kept one that is called so.
 * @throws ModelError 'not-found' where there is none or several, naming them; and as Bundle.open
 */
export async function openModel (model: string): Promise<Bundle> {
  try {
    return await Bundle.open(model)
  } catch (error) {
    if (!isNotFound(error) || isPath(model)) throw error
    const kept = await keptModels()
    const found = called(model, kept.map(bundle => ({ bundle, ...known(bundle) })))
    if (found.length === 1) return found[0].bundle
    if (found.length > 1) throw new ModelError('not-found', `Several models in ${modelsDirectory()} are called ${model} (${listed(found)}): say which.`, { path: model })
    const others = kept.length === 0 ? '' : `; ${listed(kept.map(known))} ${kept.length === 1 ? 'is' : 'are'} kept`
    throw new ModelError('not-found', `${model} holds no model bundle (there is no manifest.json), and no model that is kept here is called so${others}. Make one with moeswarm convert, get one with moeswarm fetch, or name a swarm that has it with --bootstrap.`, { path: model })
  }
}

/** Whether it can only be meant as a directory. */
export function isPath (model: string): boolean {
  return /[/\\]/.test(model)
}

export function isNotFound (error: unknown): error is ModelError {
  return error instanceof ModelError && error.code === 'not-found'
}

/** The models of the hosts that this one is connected to, a bootstrap host being one of them, with their names. */
export async function servedModels (host: SwarmHost, { signal, onEvent }: { signal?: AbortSignal, onEvent?: OnSwarmEvent } = {}): Promise<KnownModel[]> {
  const ids = await new SwarmInspector(host).models({ signal })
  return await Promise.all(ids.map(async id => {
    const blocks = connectBlocks({ host, modelId: id, onEvent })
    try {
      // Whose digest is the id, so it is what was converted.
      return { id, name: modelName(parseManifest(Buffer.from(await blocks.fetchManifest({ signal })).toString('utf8'), id)) }
    } catch {
      signal?.throwIfAborted()
      return { id }
    } finally {
      await blocks.stop()
    }
  }))
}

/**
 * The served model that is called so.
 * @param model - see KnownModel @default the only one
 * @throws SwarmError 'bad-argument' where there is none or several, naming them
 */
export async function servedModel (host: SwarmHost, model: string | undefined, options: { signal?: AbortSignal, onEvent?: OnSwarmEvent } = {}): Promise<KnownModel> {
  const known = model === undefined || ID_BEGINNING.test(model) ? (await new SwarmInspector(host).models(options)).map(id => ({ id })) : await servedModels(host, options)
  const found = model === undefined ? known : called(model, known)
  if (found.length === 1) return found[0]
  const which = model === undefined ? '' : ` called ${model}`
  throw new SwarmError('bad-argument', found.length > 0
    ? `The hosts asked serve several models${which} (${listed(found)}): say which.`
    : `The hosts asked serve no model${which}${known.length === 0 ? '' : `, but ${listed(known)}`}: give the whole id, or the bundle.`, { argument: 'model' })
}

export function known (bundle: Bundle): KnownModel {
  return { id: bundle.id, name: modelName(bundle.manifest), dir: bundle.dir }
}

/** Those that are called just so, or else those whose name or id begins so; of several with one id the first. */
function called<T extends KnownModel> (model: string, models: T[]): T[] {
  const namesOf = ({ id, name = '', dir = '' }: T): string[] => [id, name, basename(dir), basename(dir).replace(/\.bundle$/, '')]
  const exact = models.filter(one => namesOf(one).includes(model))
  const found = exact.length > 0 ? exact : models.filter(({ id, name }) => (ID_BEGINNING.test(model) && id.startsWith(model)) || (name !== undefined && [':', '-'].some(end => name.startsWith(model + end))))
  return found.filter(({ id }, i) => found.findIndex(one => one.id === id) === i)
}

/** Such as gemma4:25b-u4 (9f2c61a0b5d3). */
function listed (models: KnownModel[]): string {
  return models.slice(0, NAMED_MODELS).map(({ id, name }) => name === undefined ? id : `${name} (${id.slice(0, 12)})`).join(', ')
}
