import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { CACHE_DIR } from './cache.js'
import { thisCpu } from './cpu.js'

/** The npm package that carries llama.cpp's source, with the version that is measured. */
const CARRIER = 'node-llama-cpp@3.22.1'
/** The llama.cpp in it. */
export const LLAMA_CPP_VERSION = '0.5.0'

/** Native, with the backend that splits a model over machines, without what needs a GPU, the internet or a browser. */
const CMAKE_FLAGS = [
  '-G', 'Ninja', '-DCMAKE_BUILD_TYPE=Release', '-DBUILD_SHARED_LIBS=OFF', '-DGGML_NATIVE=ON', '-DGGML_RPC=ON', '-DGGML_CUDA=OFF', '-DGGML_CCACHE=OFF', '-DLLAMA_OPENSSL=OFF',
  '-DLLAMA_BUILD_TESTS=OFF', '-DLLAMA_BUILD_EXAMPLES=OFF', '-DLLAMA_BUILD_SERVER=OFF', '-DLLAMA_BUILD_APP=OFF', '-DLLAMA_BUILD_UI=OFF', '-DLLAMA_USE_PREBUILT_UI=OFF'
]
const TARGETS = ['llama-bench', 'ggml-rpc-server']

/** Programs that the build takes, and how Debian calls what has them. */
const DEBIAN_PACKAGES: Record<string, string> = { git: 'git', tar: 'tar', cmake: 'cmake', ninja: 'ninja-build', 'c++': 'g++' }

export interface LlamaCpp {
  version: string
  /** Paths of its programs. */
  llamaBench: string
  rpcServer: string
}

export interface LlamaCppOptions {
  /** Parallel compilers. */
  jobs: number
  onNote: (text: string) => void
  onProgress: (done: number, total: number) => void
  signal?: AbortSignal
}

/**
 * llama.cpp, compiled for this CPU on first use, which takes some minutes, and kept in the cache for the next time.
 * Throws Error naming the Debian package that is missing, or with the last lines of the step that failed.
 */
export async function llamaCpp (options: LlamaCppOptions): Promise<LlamaCpp> {
  const dir = join(CACHE_DIR, `llama.cpp-${LLAMA_CPP_VERSION}`)
  // Compiled for a CPU: on another one it may end with an illegal instruction.
  const { model, features } = await thisCpu()
  const build = join(dir, `build-${createHash('sha256').update(`${model} ${features.join(' ')}`).digest('hex').slice(0, 8)}`)
  const programs = { version: LLAMA_CPP_VERSION, llamaBench: join(build, 'bin', 'llama-bench'), rpcServer: join(build, 'bin', 'ggml-rpc-server') }
  if (await exists(programs.llamaBench) && await exists(programs.rpcServer)) return programs
  await requirePrograms()
  const source = join(dir, 'source')
  if (!await exists(source)) await fetchSource(dir, source, options)
  options.onNote(`Compiling llama.cpp ${LLAMA_CPP_VERSION} in ${build}, once ...`)
  await step('cmake', ['-S', source, '-B', build, ...CMAKE_FLAGS], options)
  await step('ninja', ['-C', build, '-j', String(options.jobs), ...TARGETS], options, line => {
    const [, done, total] = /^\[(\d+)\/(\d+)\]/.exec(line) ?? []
    if (total !== undefined) options.onProgress(Number(done), Number(total))
  })
  return programs
}

async function requirePrograms (): Promise<void> {
  const dirs = (process.env.PATH ?? '').split(':')
  const missing: string[] = []
  for (const program of Object.keys(DEBIAN_PACKAGES)) {
    const found = await Promise.all(dirs.map(async dir => exists(join(dir, program))))
    if (!found.includes(true)) missing.push(program)
  }
  if (missing.length === 0) return
  throw new Error(`llama.cpp is compiled with ${missing.join(' and ')}, which this machine lacks: apt-get install ${missing.map(program => DEBIAN_PACKAGES[program]).join(' ')}`)
}

/** Leaves the source at `source`, whole or not at all. */
async function fetchSource (dir: string, source: string, options: LlamaCppOptions): Promise<void> {
  await mkdir(dir, { recursive: true })
  const scratch = await mkdtemp(join(dir, 'source-'))
  try {
    options.onNote(`Getting llama.cpp ${LLAMA_CPP_VERSION} out of ${CARRIER} ...`)
    await step('npm', ['pack', CARRIER, '--silent', '--pack-destination', scratch], options)
    const [archive] = await readdir(scratch)
    await step('tar', ['-xzf', join(scratch, archive), '-C', scratch, 'package/llama/gitRelease.bundle'], options)
    await step('git', ['-c', 'advice.detachedHead=false', 'clone', '--quiet', join(scratch, 'package', 'llama', 'gitRelease.bundle'), join(scratch, 'source')], options)
    await rename(join(scratch, 'source'), source)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

const KEPT_LINES = 20

async function step (program: string, args: string[], { signal }: LlamaCppOptions, onLine?: (line: string) => void): Promise<void> {
  signal?.throwIfAborted()
  const child = spawn('nice', [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'], signal })
  const tail: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', line => {
      tail.push(line)
      if (tail.length > KEPT_LINES) tail.shift()
      onLine?.(line)
    })
  }
  const [code] = await once(child, 'close') as [number | null]
  if (code !== 0) throw new Error(`${program} ended with ${code}; its last lines:\n${tail.join('\n')}`)
}

async function exists (path: string): Promise<boolean> {
  return await access(path).then(() => true, () => false)
}
