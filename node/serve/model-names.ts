import { basename, resolve } from 'node:path'
import { type Bundle, modelName } from '../../model-tools/index.js'
import { ApiError } from './api-error.js'

/** Digits of a model id that tell models apart for a person. */
const SHORT_ID = 12

/** How requests may name the model: its directory's name with the short id, that name, the short id, the id, and what `moeswarm models` calls it. */
export class ModelNames {
  readonly id: string
  readonly aliases: string[]

  constructor ({ id, dir, manifest }: Pick<Bundle, 'id' | 'dir' | 'manifest'>, private readonly createdSeconds: number) {
    const called = modelName(manifest)
    const directory = basename(resolve(dir)).replace(/\.bundle$/, '')
    // A model that was fetched lies in a directory that has its id for a name.
    const name = directory === id ? called : directory
    this.id = directory === id ? called : `${name}:${id.slice(0, SHORT_ID)}`
    this.aliases = [...new Set([name, called, id.slice(0, SHORT_ID), id])].filter(alias => alias !== this.id)
  }

  /** The answer of `GET /v1/models`. */
  list (): object {
    return { object: 'list', data: [this.id, ...this.aliases].map(id => this.describe(id)) }
  }

  /** The answer of `GET /v1/models/{id}`. `root` is the model behind an alias. @throws ApiError 404 */
  describe (id: string): object {
    this.check(id)
    return { id, object: 'model', created: this.createdSeconds, owned_by: 'moeswarm', root: this.id }
  }

  /** A request without a name gets the one model there is. @throws ApiError 404 */
  check (id: string | undefined): string {
    if (id === undefined || id === this.id) return this.id
    if (this.aliases.includes(id)) return id
    throw new ApiError(404, 'not_found_error', `There is no model ${JSON.stringify(id.slice(0, 80))} here: this server has ${this.id}.`, { code: 'model_not_found', param: 'model' })
  }
}
