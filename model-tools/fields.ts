import { ModelError, type ModelErrorCode } from './errors.js'

/** Parses JSON that came from outside. `where` names it in the error. */
export function parseJson (text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new ModelError('malformed', `${where} is not valid JSON; it is truncated or damaged, get it again.`, { where }, { cause })
  }
}

/**
 * Checked access to an untrusted JSON object. Every getter takes one key, throws a ModelError that names file and key when the
 * value is not what is asked for, and remembers the key, so that `unread` can tell which keys nobody understood.
 */
export class Fields {
  readonly #value: Record<string, unknown>
  readonly #read = new Set<string>()

  constructor (value: unknown, readonly where: string, private readonly code: ModelErrorCode = 'malformed') {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new ModelError(code, `${where} must be a JSON object.`, { where })
    }
    this.#value = value as Record<string, unknown>
  }

  /** The raw value; undefined where the key is absent or null. */
  get (key: string): unknown {
    this.#read.add(key)
    // Own keys only: "constructor" in a file must not find Object's.
    return Object.hasOwn(this.#value, key) ? this.#value[key] ?? undefined : undefined
  }

  has (key: string): boolean {
    return this.get(key) !== undefined
  }

  keys (): string[] {
    return Object.keys(this.#value)
  }

  /** Keys with a value other than null that no getter has asked for. */
  unread (): string[] {
    return this.keys().filter(key => !this.#read.has(key) && this.#value[key] !== null)
  }

  /** Throws when a key is left that nobody asked for. */
  end (): void {
    const [key] = this.unread()
    if (key != null) throw this.error(key, 'is not known to this version')
  }

  integer (key: string, min = 1, max = Number.MAX_SAFE_INTEGER, fallback?: number): number {
    const value = this.get(key) ?? fallback
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw this.error(key, max === Number.MAX_SAFE_INTEGER ? `must be an integer of at least ${min}` : `must be an integer from ${min} to ${max}`)
    }
    return value
  }

  number (key: string, min: number, max: number, fallback?: number): number {
    const value = this.get(key) ?? fallback
    if (typeof value !== 'number' || !Number.isFinite(value) || value < min || value > max) {
      throw this.error(key, `must be a number from ${min} to ${max}`)
    }
    return value
  }

  boolean (key: string, fallback?: boolean): boolean {
    const value = this.get(key) ?? fallback
    if (typeof value !== 'boolean') throw this.error(key, 'must be true or false')
    return value
  }

  string (key: string, fallback?: string): string {
    const value = this.get(key) ?? fallback
    if (typeof value !== 'string') throw this.error(key, 'must be a string')
    return value
  }

  oneOf<T extends string> (key: string, allowed: readonly T[], fallback?: T): T {
    const value = this.get(key) ?? fallback
    if (!allowed.includes(value as T)) throw this.error(key, `must be one of ${allowed.join(', ')}`)
    return value as T
  }

  array (key: string): unknown[] {
    const value = this.get(key)
    if (!Array.isArray(value)) throw this.error(key, 'must be an array')
    return value
  }

  object (key: string): Fields {
    return new Fields(this.get(key), `${this.where}: "${key}"`, this.code)
  }

  error (key: string, problem: string, code = this.code): ModelError {
    const shown = Object.hasOwn(this.#value, key) ? `is ${brief(this.#value[key])} and ` : ''
    return new ModelError(code, `${this.where}: "${key}" ${shown}${problem}.`, { where: this.where, key, value: this.#value[key] })
  }
}

/** A value from a file, short enough for an error message. */
function brief (value: unknown): string {
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}
