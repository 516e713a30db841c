import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { readdir, readFile } from 'node:fs/promises'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join, relative } from 'node:path'

export const REPO = 'somebody/demo-model'
export const COMMIT = '0123456789abcdef0123456789abcdef01234567'

/** Of a list of files. */
const PAGE_FILES = 3

export interface HubRequest {
  path: string
  range?: string
  authorization?: string
  /** Of the storage, which has another origin, or of the hub itself. */
  toStorage: boolean
}

export interface HubServer {
  endpoint: string
  requests: HubRequest[]
  /** What `main` is. */
  commit: string
  /** Answers a request in place of the server by returning true. Undefined: nothing goes wrong. */
  fault?: (request: HubRequest, response: ServerResponse) => boolean
  close: () => Promise<void>
}

/**
 * A server with the Hub's URL layout that serves a directory as REPO: the API's revision and list of files, and `resolve`, which serves small files itself and redirects
 * weights to a storage of another origin with a signed address, as those of LFS and Xet are.
 */
export async function startHubServer (dir: string): Promise<HubServer> {
  const storage = createServer((request, response) => { void answer(request, response, true) })
  const hub = createServer((request, response) => { void answer(request, response, false) })
  for (const server of [storage, hub]) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  }
  const origin = (server: typeof hub): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const result: HubServer = {
    endpoint: origin(hub),
    requests: [],
    commit: COMMIT,
    close: async () => {
      for (const server of [storage, hub]) {
        server.closeAllConnections()
        server.close()
        await once(server, 'close')
      }
    }
  }

  const contents = new Map<string, Promise<{ bytes: Buffer, tag: string } | undefined>>()
  const read = async (file: string): Promise<{ bytes: Buffer, tag: string } | undefined> => {
    const content = contents.get(file) ?? readFile(join(dir, file)).then(bytes => ({ bytes, tag: createHash('sha256').update(bytes).digest('hex') }), () => undefined)
    contents.set(file, content)
    return content
  }

  async function answer (message: IncomingMessage, response: ServerResponse, toStorage: boolean): Promise<void> {
    const url = new URL(message.url ?? '/', 'http://localhost')
    const request: HubRequest = { path: url.pathname, range: message.headers.range, authorization: message.headers.authorization, toStorage }
    result.requests.push(request)
    if (result.fault?.(request, response) === true) return
    const api = /^\/api\/models\/(.+)\/revision\/([^/]+)$/.exec(url.pathname)
    if (api != null) {
      if (api[1] !== REPO) return refuse(response, 404, 'RepoNotFound')
      if (api[2] !== 'main' && api[2] !== result.commit) return refuse(response, 404, 'RevisionNotFound')
      response.setHeader('content-type', 'application/json; charset=utf-8')
      response.end(JSON.stringify({ _id: '1', id: REPO, sha: result.commit, private: false, gated: false, downloads: 0, likes: 0, lastModified: '2026-01-01T00:00:00Z' }))
      return
    }
    if (url.pathname === `/api/models/${REPO}/tree/${COMMIT}`) {
      const files = (await readdir(dir, { recursive: true, withFileTypes: true })).map(entry => ({ type: entry.isFile() ? 'file' : 'directory', path: relative(dir, join(entry.parentPath, entry.name)), size: 0, oid: '' }))
      // In pages, as the Hub does.
      const from = Number(url.searchParams.get('cursor') ?? 0)
      response.setHeader('content-type', 'application/json; charset=utf-8')
      if (from + PAGE_FILES < files.length) response.setHeader('link', `<${origin(hub)}${url.pathname}?recursive=true&cursor=${from + PAGE_FILES}>; rel="next"`)
      response.end(JSON.stringify(files.slice(from, from + PAGE_FILES)))
      return
    }
    const file = toStorage ? /^\/signed\/(.+)$/.exec(url.pathname)?.[1] : new RegExp(`^/${REPO}/resolve/${COMMIT}/(.+)$`).exec(url.pathname)?.[1]
    const content = file == null ? undefined : await read(file)
    if (file == null || content == null) return refuse(response, 404, 'EntryNotFound')
    if (!toStorage && /\.(safetensors|gguf)$/.test(file) && message.headers.range !== 'bytes=0-0') {
      response.writeHead(302, { location: `${origin(storage)}/signed/${file}?signature=1` }).end()
      return
    }
    serveRange(response, content.bytes, message.headers.range, content.tag)
  }
  return result
}

export function refuse (response: ServerResponse, status: number, code?: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'text/plain', ...code == null ? {} : { 'x-error-code': code }, ...headers }).end('no')
}

export function serveRange (response: ServerResponse, bytes: Buffer, range: string | undefined, tag = 'tag'): void {
  response.setHeader('etag', `"${tag}"`)
  const match = /^bytes=(\d+)-(\d+)$/.exec(range ?? '')
  if (match == null) {
    response.end(bytes)
    return
  }
  const [first, last] = [Number(match[1]), Math.min(Number(match[2]), bytes.length - 1)]
  response.writeHead(206, { 'content-range': `bytes ${first}-${last}/${bytes.length}` })
  response.end(bytes.subarray(first, last + 1))
}
