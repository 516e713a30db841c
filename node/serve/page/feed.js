// Server-sent events by fetch: unlike EventSource it sends a key, and it reads answers to POST.

const KEY = 'moeswarm-api-key'

/** The answer of a request to this server, with the key of this tab. @throws Error with the server's own words, and its `status` */
export async function ask (path, init = {}) {
  const key = sessionStorage.getItem(KEY)
  const response = await fetch(path, { ...init, headers: { ...init.headers, ...(key !== null && { authorization: `Bearer ${key}` }) } })
  if (response.ok) return response
  const body = await response.json().catch(() => undefined)
  throw Object.assign(new Error(body?.error?.message ?? `The server answered ${response.status}.`), { status: response.status })
}

/** Keeps the key for as long as the tab lives. */
export function useKey (key) { sessionStorage.setItem(KEY, key) }

/** The data of each event of a stream, parsed; ends at [DONE] or with the stream. */
export async function * events (response) {
  let text = ''
  for await (const part of chunks(response.body.pipeThrough(new TextDecoderStream()))) {
    const blocks = (text + part).split('\n\n')
    text = blocks.pop()
    for (const block of blocks) {
      if (!block.startsWith('data: ')) continue
      const data = block.slice(6)
      if (data === '[DONE]') return
      yield JSON.parse(data)
    }
  }
}

/** Not every browser iterates over streams. */
async function * chunks (stream) {
  const reader = stream.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}
