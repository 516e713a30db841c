import { setTimeout as sleep } from 'node:timers/promises'
import { fileDownloadInfo, InvalidApiResponseFormatError, listFiles, modelInfo } from '@huggingface/hub'
import { ModelError } from '../errors.js'
import { LocalFile, type CheckpointFolder, type RangeFile } from './folder.js'
import { HubCache } from './hub-cache.js'
import { NoSuchFile } from './hub-errors.js'
import { HubHttp, type RemoteFile } from './hub-http.js'
import { hubSettings, type HubSettings } from './hub-settings.js'
import { MAX_SIDE_FILE_BYTES } from './source.js'

const PREFIX = 'hf:'
/** `hf:owner/name`, `@` with a branch, tag or commit, `:` with one of its GGUF files. No segment starts with a dot, so none leaves the cache's directory. */
const SPEC = /^hf:(\w[\w.-]*\/\w[\w.-]*)(?:@(\w[\w.-]*(?:\/\w[\w.-]*)*))?(?::(\w[\w.+-]*(?:\/\w[\w.+-]*)*))?$/
const COMMIT = /^[0-9a-f]{40}$/
const DEFAULT_REVISION = 'main'

export function isHubSpec (text: string): boolean {
  return text.startsWith(PREFIX)
}

/** The file that `hf:owner/name[@revision]:file` names. */
export function fileOfHubSpec (spec: string): string | undefined {
  return SPEC.exec(spec)?.[3]
}

/**
 * A repository of the Hugging Face Hub as a folder. A branch or tag is resolved to its commit once, and all is read at that commit.
 *
 * Of weights only the ranges that are asked for cross the network, and they are not cached: 50 GB that are read once and kept as a bundle would be on
 * the disk twice. Files that a tool of the ecosystem has downloaded as a whole are read from its cache. Small files (configuration, tokenizer,
 * index) go into that cache, where other tools find them.
 *
 * Ranges are read from the `resolve` address, which every server of the Hub's layout has and which redirects to storage; the package's
 * Xet client needs two more requests for each range and unpacks it on the cores that are to encode.
 *
 * Rejects with ModelError 'malformed' for another text than hf:owner/name[@revision][:file], 'not-found' for a repository or revision that is not there, 'denied'
 * where a token or an accepted licence is missing, 'unreachable' when the network does not do, or with the signal's reason.
 */
export async function openHubFolder (spec: string, { settings, signal }: { settings?: HubSettings, signal?: AbortSignal } = {}): Promise<CheckpointFolder> {
  const match = SPEC.exec(spec)
  if (match == null) throw new ModelError('malformed', `"${spec}" names no repository; write for example hf:google/gemma-4-26B-A4B or hf:google/gemma-4-26B-A4B@main.`, { spec })
  const [, repo, revision = DEFAULT_REVISION] = match
  const used = settings ?? await hubSettings(process.env, async (ms, signal) => sleep(ms, undefined, { signal }))
  const http = new HubHttp(used, repo, revision, signal)
  const cache = new HubCache(used.cacheDir, repo)
  const commit = COMMIT.test(revision) ? revision : await resolveRevision(http, used, repo, revision)
  if (commit !== revision) await quietly(cache.storeRef(revision, commit))
  return new HubFolder(http, cache, used.endpoint, repo, commit)
}

async function resolveRevision (http: HubHttp, { endpoint }: HubSettings, repo: string, revision: string): Promise<string> {
  const { sha } = await understood(endpoint, modelInfo({ name: repo, revision, additionalFields: ['sha'], hubUrl: endpoint, fetch: http.fetch }))
  if (!COMMIT.test(sha)) throw new ModelError('unreachable', `${endpoint}/${repo} names no commit for ${revision}; check HF_ENDPOINT.`, { repo, revision })
  return sha
}

/** What the package makes of an answer. Its own errors mean one that no server of the Hub's layout gives. */
async function understood<T> (endpoint: string, result: Promise<T>): Promise<T> {
  try {
    return await result
  } catch (cause) {
    if (!(cause instanceof InvalidApiResponseFormatError || cause instanceof SyntaxError || cause instanceof TypeError)) throw cause
    throw new ModelError('unreachable', `${endpoint} does not answer as a Hugging Face Hub does (${cause.message}); check HF_ENDPOINT.`, { endpoint }, { cause })
  }
}

class HubFolder implements CheckpointFolder {
  readonly location: string
  readonly pinned: string

  constructor (private readonly http: HubHttp, private readonly cache: HubCache, private readonly endpoint: string, private readonly repo: string, private readonly commit: string) {
    this.pinned = `${PREFIX}${repo}@${commit}`
    this.location = this.pinned
  }

  path (name: string): string {
    return `${this.location}/${name}`
  }

  async open (name: string): Promise<RangeFile | undefined> {
    const cached = await this.cache.find(this.commit, name)
    if (cached != null) return LocalFile.open(cached, this.commit)
    const found = await this.#find(name)
    if (found == null) return undefined
    const { http, commit } = this
    return {
      path: this.path(name),
      bytes: found.bytes,
      version: commit,
      read: async (position, length) => http.range(found, position, length),
      close: async () => { /* connections belong to the folder */ }
    }
  }

  async list (): Promise<string[]> {
    const { endpoint, repo, commit, http } = this
    const collect = async (): Promise<string[]> => {
      const names: string[] = []
      for await (const { type, path } of listFiles({ repo: { type: 'model', name: repo }, recursive: true, revision: commit, hubUrl: endpoint, fetch: http.fetch })) if (type === 'file') names.push(path)
      return names
    }
    return understood(endpoint, collect())
  }

  async sideFile (name: string): Promise<Uint8Array | undefined> {
    const cached = await this.cache.find(this.commit, name)
    const found = cached == null ? await this.#find(name) : await LocalFile.open(cached)
    if (found == null) return undefined
    try {
      if (found.bytes > MAX_SIDE_FILE_BYTES) throw new ModelError('malformed', `${this.path(name)} has ${found.bytes} bytes, too many for such a file; check the repository.`, { path: this.path(name) })
      if (found instanceof LocalFile) return await found.read(0, found.bytes)
      const bytes = await this.http.range(found, 0, found.bytes)
      await quietly(this.cache.store(this.commit, name, found.etag, bytes))
      return bytes
    } finally {
      if (found instanceof LocalFile) await found.close()
    }
  }

  async close (): Promise<void> {
    this.http.close()
  }

  async #find (name: string): Promise<RemoteFile & { etag: string } | undefined> {
    const { endpoint, repo, commit, http } = this
    try {
      const info = await understood(endpoint, fileDownloadInfo({ repo, path: name, revision: commit, hubUrl: endpoint, fetch: http.fetch }))
      // Not info.url, which may be a redirect's target that expires before 50 GB are read.
      return info == null ? undefined : { url: `${endpoint}/${repo}/resolve/${commit}/${name}`, bytes: info.size, etag: info.etag }
    } catch (error) {
      if (error instanceof NoSuchFile) return undefined
      throw error
    }
  }
}

/** The cache is a convenience: a disk that is full or read-only must not stop a conversion. */
async function quietly (storing: Promise<void>): Promise<void> {
  await storing.catch(() => { /* the file is fetched again next time */ })
}
