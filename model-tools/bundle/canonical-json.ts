import { ModelError } from '../errors.js'

/** Ours have five; a stranger's could have so many that the stack ends. */
const MAX_DEPTH = 64

/**
 * JSON with sorted keys and no white space: one value has one text, so a digest of the text identifies the value.
 * Takes what JSON.parse can return. Throws ModelError 'malformed' for what is nested more than MAX_DEPTH times.
 */
export function canonicalJson (value: unknown, depth = 0): string {
  if (depth > MAX_DEPTH) throw new ModelError('malformed', 'The JSON is nested too deeply to be one of a model; get it again.')
  if (Array.isArray(value)) return `[${value.map(item => canonicalJson(item, depth + 1)).join(',')}]`
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined).sort(([a], [b]) => a < b ? -1 : 1)
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item, depth + 1)}`).join(',')}}`
  }
  return JSON.stringify(value)
}
