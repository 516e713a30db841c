import type { Random } from './random.js'

interface Manifest extends Record<string, unknown> {
  config: { layerTypes: string[] }
  files: Record<string, unknown>
  tensors: Record<string, { file: string }>
  blocks: Array<{ layer: number, file: string }>
}

/**
 * The same model with its last layer alone and no drafter: a valid manifest of a tenth of the bytes. A fuzz's time goes into parsing JSON and writing it
 * again, so a million inputs of this are ten times as many kinds of them as of a whole one.
 */
export function smallManifest (text: Uint8Array): Uint8Array {
  const whole = JSON.parse(Buffer.from(text).toString()) as Manifest
  Reflect.deleteProperty(whole, 'drafter')
  const last = whole.config.layerTypes.length - 1
  const tensors = Object.fromEntries(Object.entries(whole.tensors).flatMap(([name, tensor]) => {
    const layer = /^layers\.(\d+)\.(.*)$/.exec(name)
    if (layer === null) return name.startsWith('drafter.') ? [] : [[name, tensor]]
    return Number(layer[1]) === last ? [[`layers.0.${layer[2]}`, tensor]] : []
  }))
  const blocks = whole.blocks.filter(({ layer }) => layer === last).map(block => ({ ...block, layer: 0 }))
  const used = new Set([...Object.values(tensors), ...blocks].map(({ file }) => file))
  const files = Object.fromEntries(Object.entries(whole.files).filter(([file]) => used.has(file)))
  const small: Manifest = { ...whole, config: { ...whole.config, layerTypes: ['full'] }, tensors, blocks, files }
  return Buffer.from(sortedJson(small))
}

const HOSTILE_VALUES: readonly unknown[] = [null, true, -1, 0, 0.5, 1e308, 2 ** 53, '', '../../etc/passwd', '__proto__', 'a'.repeat(2_000), [], {}, [[]], { constructor: 1 }]

/** A manifest that parses as canonical JSON, with one value of another kind somewhere in it, or nested without end. */
export function hostileJson (random: Random, text: Uint8Array): Uint8Array {
  if (random.chance(0.02)) {
    const depth = random.chance(0.1) ? 20_000 : 60 + random.below(100)
    return Buffer.from(`{"config":${'['.repeat(depth)}${']'.repeat(depth)},"format":"moeswarm-bundle/1"}`)
  }
  const root = JSON.parse(Buffer.from(text).toString()) as Record<string, unknown>
  let holder: Record<string, unknown> = root
  for (;;) {
    const name = random.of(Object.keys(holder))
    const value = holder[name]
    if (typeof value === 'object' && value !== null && Object.keys(value).length > 0 && random.chance(0.85)) {
      holder = value as Record<string, unknown>
      continue
    }
    if (random.chance(0.2) && !Array.isArray(holder)) Reflect.deleteProperty(holder, name)
    else holder[name] = random.of(HOSTILE_VALUES)
    return Buffer.from(JSON.stringify(root))
  }
}

/** As the decoder wants it, written apart from its own code. */
function sortedJson (value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) =>
    typeof item !== 'object' || item === null || Array.isArray(item) ? item : Object.fromEntries(Object.entries(item).sort(([a], [b]) => a < b ? -1 : 1)))
}
