import { basename, resolve } from 'node:path'
import type { Bundle } from '../../model-tools/index.js'
import { ApiError } from './api-error.js'

/** Digits of a model id that tell models apart for a person. */
const SHORT_ID = 12

/** How requests may name the model: the name with the short id, the name, the short id, the id. */
export class ModelNames {
  readonly id: string
  readonly aliases: string[]

  constructor ({ id, dir }: Pick<Bundle, 'id' | 'dir'>, private readonly createdSeconds: number) {
    const name = basename(resolve(dir)).replace(/\.bundle$/, '')
    this.id = `${name}:${id.slice(0, SHORT_ID)}`
    this.aliases = [...new Set([name, id.slice(0, SHORT_ID), id])]
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
