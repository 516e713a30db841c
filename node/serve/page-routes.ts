import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { anySignal } from 'any-signal'
import { EventStream } from './event-stream.js'
import type { Route, RouteCall } from './routes.js'
import type { ViewSource } from './swarm-view.js'

/** How often the page hears of the running generations, and of all the rest, in milliseconds. */
const TRAFFIC_MS = 100
const VIEW_MS = 1_000

const FILES: Array<[file: string, type: string]> = [
  ['index.html', 'text/html'], ['style.css', 'text/css'], ['app.js', 'text/javascript'], ['feed.js', 'text/javascript'], ['chat.js', 'text/javascript'],
  ['swarm-map.js', 'text/javascript'], ['figures.js', 'text/javascript'], ['icon.svg', 'image/svg+xml']
]

/** The page needs nothing but this server, and nobody may put it into a page of theirs. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

/** The web page and the feed that fills it. */
export function pageRoutes (source: ViewSource): Route[] {
  const files = FILES.map(([file, type]): Route => ({
    method: 'GET',
    path: file === 'index.html' ? /^\/$/ : new RegExp(`^/page/${file.replace('.', '\\.')}$`),
    open: true,
    handle: async ({ response }) => {
      const body = await readFile(new URL(`./page/${file}`, import.meta.url))
      response.writeHead(200, {
        'content-type': `${type}; charset=utf-8`, 'content-length': body.length, 'cache-control': 'no-cache', 'content-security-policy': POLICY,
        'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer'
      })
      response.end(body)
    }
  }))
  return [...files, { method: 'GET', path: /^\/swarm\/feed$/, handle: async call => { await feed(call, source) } }]
}

/** Sends the view every VIEW_MS, and between what the traffic changed. Ends with the reader or the server. */
async function feed ({ response, signal, ending }: RouteCall, { view, traffic }: ViewSource): Promise<void> {
  const events = new EventStream(response)
  const end = anySignal([signal, ending])
  let viewAt = -Infinity
  let before = ''
  try {
    while (!end.aborted) {
      const now = traffic()
      const changes = JSON.stringify([now.running, now.traffic.map(({ laps }) => laps)])
      if (performance.now() - viewAt >= VIEW_MS) {
        viewAt = performance.now()
        await events.send({ type: 'view', ...view() })
      } else if (changes !== before) {
        await events.send({ type: 'traffic', ...now })
      }
      before = changes
      await sleep(TRAFFIC_MS, undefined, { signal: end }).catch(() => {})
    }
  } finally {
    end.clear()
  }
  events.end()
}
