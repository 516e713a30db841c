import { ModelError } from '../errors.js'
import type { BlockEntry, ModelConfig } from './manifest.js'

/** Inclusive at both ends, as people write it. */
export interface Range {
  first: number
  last: number
}

/**
 * Parses "0-5,7" into ranges, in ascending order and merged where they touch.
 *
 * @param what - what is counted, in the plural, for the error: "layers"
 * @param count - how many there are: numbers run from 0 to count - 1
 * @throws ModelError 'malformed' for other text, 'out-of-range' naming the valid range
 */
export function parseRanges (text: string, what: string, count: number): Range[] {
  const ranges = text.split(',').map(part => {
    const match = /^\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?$/.exec(part)
    if (match == null) throw new ModelError('malformed', `"${text}" does not name ${what}; write for example 0-5,7.`, { text })
    const first = Number(match[1])
    const last = Number(match[2] ?? match[1])
    if (last < first) throw new ModelError('malformed', `"${part.trim()}" runs backwards; write ${last}-${first}.`, { text })
    if (last >= count) {
      throw new ModelError('out-of-range', `The model has ${what} 0-${count - 1}; ${first === last ? first : `${first}-${last}`} lies outside.`, { first, last, count })
    }
    return { first, last }
  })
  const merged: Range[] = []
  for (const range of ranges.sort((a, b) => a.first - b.first)) {
    const previous = merged.at(-1)
    if (previous != null && range.first <= previous.last + 1) previous.last = Math.max(previous.last, range.last)
    else merged.push(range)
  }
  return merged
}

/**
 * The blocks that `--layers` and `--experts` name; each is all of them where absent.
 * Throws ModelError as parseRanges does, and 'out-of-range' with the nearest bounds for experts that would cut a block in two.
 */
export function selectBlocks (bundle: { config: ModelConfig, blocks: BlockEntry[] }, layers?: string, experts?: string): BlockEntry[] {
  const { config, blocks } = bundle
  const layerRanges = layers == null ? undefined : parseRanges(layers, 'layers', config.layerTypes.length)
  const expertRanges = experts == null ? undefined : parseRanges(experts, 'experts', config.experts)
  return blocks.filter(({ layer, firstExpert, experts }) => {
    if (layerRanges != null && !layerRanges.some(range => range.first <= layer && layer <= range.last)) return false
    if (expertRanges == null) return true
    const lastExpert = firstExpert + experts - 1
    const touching = expertRanges.find(range => range.first <= lastExpert && firstExpert <= range.last)
    if (touching == null) return false
    if (touching.first > firstExpert || touching.last < lastExpert) throw cutError(blocks, layer, touching)
    return true
  })
}

function cutError (blocks: BlockEntry[], layer: number, { first, last }: Range): ModelError {
  const touched = blocks.filter(block => block.layer === layer && block.firstExpert <= last && first < block.firstExpert + block.experts)
  const outerFirst = Math.min(...touched.map(block => block.firstExpert))
  const outerLast = Math.max(...touched.map(block => block.firstExpert + block.experts - 1))
  return new ModelError('out-of-range', `Experts ${first}-${last} cut a block of layer ${layer} in two; the nearest bounds of whole blocks are ${outerFirst}-${outerLast}.`,
    { first, last, layer, outerFirst, outerLast })
}
