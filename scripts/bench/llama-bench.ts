import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '../peer-process.js'
import type { Measurement, Work } from './decode-measurement.js'
import type { LlamaCpp } from './llama-cpp.js'
import { watchMemory } from './process-memory.js'

/** A line of `llama-bench --output jsonl`, as far as it is read: one test of so many tokens of prompt, or so many generated ones. */
interface TestLine {
  n_prompt: number
  n_gen: number
  samples_ts: number[]
}

/** Tokens per second by kind of work, from llama-bench's lines. Throws Error for lines that are none of its own. */
export function parseTests (output: string): { decode: number[], prefill: Record<string, number[]> } {
  const decode: number[] = []
  const prefill: Record<string, number[]> = {}
  for (const line of output.split('\n').filter(line => line.trim() !== '')) {
    const { n_prompt: prompt, n_gen: generated, samples_ts: samples } = JSON.parse(line) as Partial<TestLine>
    if (prompt === undefined || generated === undefined || !Array.isArray(samples)) throw new Error(`llama-bench printed a line without n_prompt, n_gen and samples_ts: ${line}`)
    if (generated > 0) decode.push(...samples)
    else (prefill[prompt] ??= []).push(...samples)
  }
  return { decode, prefill }
}

/**
 * A whole run of llama-bench in a process of its own: load, warm up, prefill, decode. Weights are repacked, which is its default. `rpc` is the address of
 * a server that computes all layers. Throws Error with what it said last.
 */
export async function runLlamaBench ({ llamaBench }: LlamaCpp, model: string, { threads, tokens, repeats, prefill, signal }: Work, rpc?: string): Promise<Measurement> {
  const args = [
    '-m', model, '-t', String(threads), '-r', '1', '-o', 'jsonl', '--progress', '-p', prefill.length === 0 ? '0' : prefill.join(','),
    '-n', Array.from({ length: repeats }, () => tokens).join(','), ...rpc === undefined ? [] : ['--rpc', rpc, '-ngl', '99']
  ]
  const started = performance.now()
  const child = spawn(llamaBench, args, { stdio: ['ignore', 'pipe', 'pipe'], signal })
  const memory = watchMemory(child.pid ?? 0)
  let output = ''
  let errors = ''
  let loadSeconds = 0
  child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString() })
  createInterface({ input: child.stderr }).on('line', line => {
    if (loadSeconds === 0 && line.includes('warmup')) loadSeconds = (performance.now() - started) / 1000
    errors = `${errors}${line}\n`.slice(-4000)
  })
  try {
    const [code] = await once(child, 'close') as [number | null]
    if (code !== 0) throw new Error(`llama-bench ended with ${code}:\n${errors}`)
    return { loadSeconds, ...parseTests(output), processes: [{ name: 'llama-bench', memory: memory.last() }] }
  } finally {
    memory.stop()
  }
}

/** The same with all layers on one server on loopback, in a process of its own. */
export async function runLlamaRpc (programs: LlamaCpp, model: string, work: Work): Promise<Measurement> {
  const port = await freePort()
  const server = spawn(programs.rpcServer, ['--port', String(port), '--threads', String(work.threads)], { stdio: 'ignore', signal: work.signal })
  const ended = once(server, 'exit')
  ended.catch(() => { /* aborted: whoever waits for llama-bench hears of it */ })
  const memory = watchMemory(server.pid ?? 0)
  try {
    await listening(server, port)
    const measured = await runLlamaBench(programs, model, work, `127.0.0.1:${port}`)
    return { ...measured, processes: [...measured.processes, { name: 'rpc-server', memory: memory.last() }] }
  } finally {
    memory.stop()
    server.kill()
    await ended.catch(() => undefined)
  }
}

const LISTEN_TRIES = 100

async function listening (server: ChildProcess, port: number): Promise<void> {
  for (let i = 0; i < LISTEN_TRIES && server.exitCode === null; i++) {
    const socket = connect({ port, host: '127.0.0.1' })
    const connected = await once(socket, 'connect').then(() => true, () => false)
    socket.destroy()
    if (connected) return
    await pause(100)
  }
  throw new Error(`llama.cpp's rpc-server did not listen on port ${port}`)
}
