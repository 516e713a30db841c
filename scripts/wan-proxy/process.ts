import { type ChildProcess, fork, type ForkOptions } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Endpoint, LinkChange, WanProxyInit } from './proxy.js'

/** A link of a proxy process, by its number in the order of the start. */
export type ProxyCommand =
  | { id: number, link: number, do: 'set', change: LinkChange }
  | { id: number, link: number, do: 'connect', to: Endpoint }
  | { id: number, link: number, do: 'cut', refuse: boolean }
  | { id: number, link: number, do: 'stall' | 'resume' }

/** What a proxy process says. */
export type ProxyAnswer = { ready: Endpoint[] } | { done: number }

export type ProxySpec = WanProxyInit

/** Infinity does not survive JSON, but it does survive the structured clone that this IPC channel uses. */
const IPC: ForkOptions = { serialization: 'advanced', stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }

export interface ProxyProcess {
  /** Where each link listens. */
  readonly links: Endpoint[]
  set: (link: number, change: LinkChange) => Promise<void>
  connectTo: (link: number, to: Endpoint) => Promise<void>
  cut: (link: number, refuse?: boolean) => Promise<void>
  stall: (link: number) => Promise<void>
  resume: (link: number) => Promise<void>
  stop: () => Promise<void>
}

/** Links in a process of their own, so that neither who measures nor who is measured delays them. It ends with its parent. */
export async function startProxyProcess (specs: ProxySpec[]): Promise<ProxyProcess> {
  const child = fork(fileURLToPath(new URL('main.js', import.meta.url)), ['--ipc'], IPC)
  const ended = once(child, 'exit')
  const answers = new Map<number, () => void>()
  child.send(specs)
  const [{ ready }] = await Promise.race([
    once(child, 'message') as Promise<[{ ready: Endpoint[] }]>,
    ended.then(() => { throw new Error('the proxy process ended before it listened') })
  ])
  child.on('message', (answer: { done: number }) => {
    answers.get(answer.done)?.()
    answers.delete(answer.done)
  })
  let nextId = 1
  const ask = async (command: ProxyCommand): Promise<void> => {
    await Promise.race([
      new Promise<void>((resolve, reject) => {
        answers.set(command.id, resolve)
        // Without a callback a closed channel would be an event that nobody listens to.
        child.send(command, error => { if (error !== null) reject(error) })
      }),
      ended.then(() => { throw new Error('the proxy process ended') })
    ])
  }
  return {
    links: ready,
    set: async (link, change) => { await ask({ id: nextId++, link, do: 'set', change }) },
    connectTo: async (link, to) => { await ask({ id: nextId++, link, do: 'connect', to }) },
    cut: async (link, refuse = false) => { await ask({ id: nextId++, link, do: 'cut', refuse }) },
    stall: async link => { await ask({ id: nextId++, link, do: 'stall' }) },
    resume: async link => { await ask({ id: nextId++, link, do: 'resume' }) },
    stop: async () => { await stop(child, ended) }
  }
}

/** Killed: a proxy keeps nothing, and Node 20 that ends while a reset socket has something left to write spins for ever (in CleanupHandles). */
async function stop (child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
  await ended
}
