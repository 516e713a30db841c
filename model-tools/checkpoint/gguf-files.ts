import { basename } from 'node:path'

const GGUF_FILE = /\.gguf$/i
/** The vision part of a model, which llama.cpp keeps in a file of its own. */
const PROJECTOR_FILE = /^mmproj/i
/** What llama-gguf-split calls the parts of a model, from 00001 on. */
const PART = /-(\d{5})-of-(\d{5})\.gguf$/i

export function isGgufName (name: string): boolean {
  return GGUF_FILE.test(name)
}

/** The GGUF models among the files of a folder, each by the name of its only or first part. */
export function ggufModels (names: readonly string[]): string[] {
  return names.filter(name => isGgufName(name) && !PROJECTOR_FILE.test(basename(name)) && Number(PART.exec(name)?.[1] ?? 1) === 1).sort()
}

/** Names of all parts of the model of which `name` is one, in order; `name` alone where it is whole. */
export function ggufParts (name: string): string[] {
  const found = PART.exec(name)
  const count = Number(found?.[2] ?? 0)
  if (found == null || count === 0) return [name]
  const stem = name.slice(0, found.index)
  return Array.from({ length: count }, (_, part) => `${stem}-${String(part + 1).padStart(5, '0')}-of-${found[2]}${name.slice(-'.gguf'.length)}`)
}
