import { availableParallelism } from 'node:os'
import { type Bundle, type ChatMessage, ModelError, type ModelConfig, openText, type RenderOptions, toolCallSyntax, type ToolCallSyntax } from '../model-tools/index.js'
import { type AuditCounters, isSwarmError, type LayerChoice, type LayerCoverage, type LivePeer, type OnSwarmEvent, type PeerStats, type WireChoice } from '../swarm/index.js'
import { chooseDevice, type Device } from './device.js'
import { AttentionClient } from './client/attention-client.js'
import { Closers } from './closers.js'
import { generate, type GenerateEvent, type GenerateOptions, type Verification } from './client/generate.js'
import type { LapProfile } from './client/lap-profile.js'
import { KeptCaches } from './client/kept-caches.js'
import { type KvCache, kvCacheBytes } from './client/kv-cache.js'
import type { LayerEvent } from './client/observation.js'
import type { SamplingOptions } from './client/sampler.js'
import { Assistant, type Drafter, DraftPolicy, SelfDrafter, type SpeculationInit, type SpeculationOptions } from './client/speculation/index.js'
import { Sequences } from './client/sequences.js'
import { type ClientExperts, openClientExperts } from './client-experts.js'
import { availableMemory } from './host/memory.js'
import { openModel } from './models.js'

/** Below this hidden size a product is too small to be shared between threads: waking them costs more than it saves. */
const MIN_HIDDEN_FOR_THREADS = 1024

/** Sequences at a time at most where nothing else is said, and positions that each is expected to come to. */
const MAX_SEQUENCES = 16
const SEQUENCE_POSITIONS = 4096

/** Share of the available memory that KV caches may take where nothing else is said. */
const CACHE_SHARE = 0.5

/** `draft` and `draftTokens` are of generations that do not say themselves. */
export interface SwarmClientInit extends SpeculationOptions {
  /** Bundle directory, or what a bundle in `modelsDirectory()` is called, see KnownModel. */
  model: string
  /** Multiaddrs of hosts in the swarm. Not needed when all layers are local. */
  bootstrap?: string[]
  /** Pre-shared key of a private swarm, see `readSwarmKey`. @default an open swarm */
  swarmKey?: string
  /** Form of the hidden states on the wire. @default 'auto': fp16, and int8 over links that are slow for it */
  wire?: WireChoice
  /** Layers whose experts this process computes itself. @default none */
  localLayers?: number[] | 'all'
  /**
   * Bytes for further experts: those that the swarm lacks, then whole layers that it is slowest for, then hot blocks. Files that the bundle lacks
   * are fetched from peers. @default none
   */
  localMemory?: number
  /** Of local experts, see ExpertHostInit. @default where that takes less memory (mappingPays) */
  mapWeights?: boolean
  /** Directory where it is kept from run to run which peers lied, and how often which experts were used, which is what hot blocks are chosen by. @default not kept */
  stateDir?: string
  /**
   * Share of the requests that two peers answer, to be compared, in [0, 1]; hedged ones are compared beside that. With 1 every reply is compared before it is
   * used, at twice the traffic; 0 compares nothing. @default 0.02
   */
  audit?: number
  /** Equal seeds compare the same requests. @default by chance: peers must not be able to tell */
  auditSeed?: string
  /** Bytes for experts of this machine's bundle that are loaded when peers answer differently, to say who lies, or when nobody else holds them; 0 for never. @default 1 GiB, a quarter of what is available at most */
  copyMemory?: number
  /** How long a request waits for somebody to hold its experts when nobody does, in milliseconds. @default 5000 */
  patienceMs?: number
  /** Generations that may run at a time; further ones wait. @default 16, or as many as there is memory for their KV caches */
  maxSequences?: number
  /**
   * Whether the KV caches of generations that ended are kept, as many as `maxSequences` leaves, for prompts that begin as they did: only the rest is then computed. Its numbers
   * differ from those of a prompt computed anew in the last bits, as those of another cut into chunks do. @default true
   */
  reusePrefixes?: boolean
  /** Whether the drafter that the bundle may have is loaded, for `draft: 'auto'` and 'assistant'. @default where `draft` is one of these */
  assistant?: boolean
  /** Proposes tokens beside the drafters that are there, for `draft: 'auto'`, or alone for 'own'. What it throws ends the generation. @default none */
  drafter?: Drafter
  /** Threads of attention, dense MLP and head, and compute workers of local experts. @default all cores */
  threads?: number
  /** What attention, dense MLP and head are computed on; the CPU where that cannot be, see `device` and `onDeviceProblem`. @default 'cpu' */
  device?: Device
  /** Called with a sentence when the CPU has to do for the wanted device. */
  onDeviceProblem?: (problem: string) => void
  onEvent?: OnSwarmEvent
  /** Called twice per layer of each lap of all generations, for a view of the traffic. */
  onLayer?: (event: LayerEvent) => void
  onProgress?: (step: 'fetch-blocks' | 'verify-experts' | 'pack-experts' | 'load-layers' | 'find-peers', done: number, total: number) => void
  signal?: AbortSignal
}

/** What `SwarmClient.generate` leaves to the model or to chance where it is not given. */
export interface GenerateInit extends Omit<GenerateOptions, 'maxTokens' | 'sampling' | 'observation'> {
  /** @default up to the end of the model's context */
  maxTokens?: number
  /** @default the model's own; the seed by chance */
  sampling?: Partial<SamplingOptions>
  /** Whether control tokens, such as those around a tool call, are part of the text. @default 'skip' */
  specialTokens?: 'skip' | 'keep'
  /** W3C trace id, 32 hex digits: events and the logs of peers name this generation's requests by it. @default not traced */
  traceId?: string
  /** Called twice per layer of each lap of this generation. */
  onLayer?: (event: LayerEvent) => void
}

/** Seeds by chance are below this. */
const SEEDS = 2 ** 31

/**
 * Generates text with a model whose experts are in the swarm, in this process, or some here and some there.
 * Close it: it holds connections and threads.
 */
export class SwarmClient {
  private constructor (
    readonly bundle: Bundle,
    private readonly text: Awaited<ReturnType<typeof openText>>,
    private readonly attention: AttentionClient,
    private readonly experts: ClientExperts,
    private readonly sequences: Sequences,
    private readonly kept: KeptCaches | undefined,
    private readonly speculation: SpeculationInit & { defaults: SpeculationOptions },
    private readonly closers: Closers
  ) {}

  /**
   * Returns when every layer's experts are within reach.
   * @throws ModelError for a bad bundle; SwarmError 'unreachable', 'coverage-incomplete'
   */
  static async open (init: SwarmClientInit): Promise<SwarmClient> {
    const bundle = await openModel(init.model)
    const closers = new Closers()
    try {
      const threads = init.threads ?? availableParallelism()
      const { device, problem } = await chooseDevice(init.device ?? 'cpu')
      if (problem !== undefined) init.onDeviceProblem?.(problem)
      const experts = await openClientExperts(bundle, init, threads, closers)
      const ownThreads = bundle.config.hiddenSize < MIN_HIDDEN_FOR_THREADS ? 1 : threads
      const attention = await AttentionClient.load({
        bundle,
        dispatcher: experts.dispatcher,
        onLayer: init.onLayer,
        threads: ownThreads,
        device,
        onProgress: (done, total) => init.onProgress?.('load-layers', done, total),
        signal: init.signal
      })
      closers.add(async () => { await attention.close() })
      const { draft = 'auto', draftTokens } = init
      const assistant = init.assistant ?? (draft === 'auto' || draft === 'assistant') ? await Assistant.load(bundle, ownThreads) : undefined
      closers.add(async () => { await assistant?.close() })
      const self = experts.localOnly && new SelfDrafter(attention, experts.localOnly)
      init.onProgress?.('find-peers', 0, 1)
      await experts.ready()
      init.onProgress?.('find-peers', 1, 1)
      const sequences = new Sequences(init.maxSequences ?? sequencesThatFit(bundle.config))
      const kept = init.reusePrefixes === false ? undefined : new KeptCaches(sequences.limit * kvCacheBytes(bundle.config, SEQUENCE_POSITIONS))
      const speculation = { drafters: { assistant, self, own: init.drafter }, policy: new DraftPolicy(), defaults: { draft, draftTokens } }
      return new SwarmClient(bundle, await openText(bundle), attention, experts, sequences, kept, speculation, closers)
    } catch (error) {
      await closers.close().catch(() => { /* what failed first is what the caller must hear of */ })
      throw error
    }
  }

  get config (): ModelConfig { return this.bundle.config }

  /** Token ids of a text, with the beginning-of-text token. */
  encode (text: string): number[] { return this.text.tokenizer.encode(text) }

  /** Token ids of a conversation, ending where the model's answer begins. @throws ModelError when the bundle has no chat template */
  encodeChat (messages: ChatMessage[], options?: RenderOptions): number[] {
    const { tokenizer, chatTemplate } = this.text
    if (chatTemplate === undefined) throw new ModelError('unsupported', 'This bundle has no chat template: use a plain prompt.')
    return tokenizer.encode(chatTemplate.render(messages, options), { addBos: false })
  }

  /** The text of token ids, without control tokens. @throws ModelError 'out-of-range' */
  decode (ids: number[]): string { return this.text.tokenizer.decode(ids) }

  /** Text and bytes of a token by itself, control tokens written out. @throws ModelError 'out-of-range' */
  token (id: number): { text: string, bytes: number[] } { return this.text.tokenizer.token(id) }

  /** How the model writes calls of tools; undefined for a model whose chat template knows none. */
  get toolCalls (): ToolCallSyntax | undefined { return toolCallSyntax(this.text.chatTemplate?.source ?? '') }

  /**
   * Generates from a text, a conversation or token ids; see `generate` in client/generate.ts. Several may run at a time: they take turns, and more than `maxSequences` wait. Leaving the loop or aborting
   * the signal ends it; an aborted one rejects with the signal's reason, as `fetch` does.
   * @throws ModelError 'out-of-range', 'unsupported'; SwarmError 'experts-unavailable'
   */
  generate (prompt: string | ChatMessage[] | number[], options: GenerateInit = {}): AsyncGenerator<GenerateEvent, void, void> {
    const { maxTokens = Infinity, sampling, specialTokens = 'skip', traceId, onLayer, ...rest } = options
    const promptTokens = this.tokensOf(prompt)
    return this.inTurn(promptTokens, options.signal, cache => generate(this.attention, () => this.text.tokenizer.stream({ skipSpecial: specialTokens === 'skip' }), promptTokens, {
      ...this.speculation.defaults, ...defined(rest), observation: { traceId, onLayer }, maxTokens, sampling: { ...this.config.sampling, seed: Math.floor(Math.random() * SEEDS), ...defined(sampling ?? {}) }
    }, this.speculation, cache, this.verification))
  }

  /** Generations that run, and those that wait for one to end. */
  get load (): { running: number, waiting: number } { return this.sequences.load }

  /** Layers whose experts this process computes, all of them. */
  get localLayers (): ReadonlySet<number> { return this.experts.local }

  /** Of other layers, the experts that this process computes. */
  get partlyLocal (): ReadonlyArray<{ layer: number, experts: number[] }> { return this.experts.partlyLocal }

  private readonly verification: Verification = { liars: () => this.liars(), settled: async () => { await this.experts.swarm?.dispatcher.auditsSettled() } }

  private async * inTurn (prompt: number[], signal: AbortSignal | undefined, begin: (cache: KvCache) => AsyncGenerator<GenerateEvent, void, void>): AsyncGenerator<GenerateEvent, void, void> {
    const leave = await this.sequences.enter(signal)
    this.kept?.dropOf(this.liars())
    const cache = this.kept?.take(prompt) ?? this.attention.newCache()
    // Running and kept ones together are as many as may run.
    this.kept?.shrink(this.sequences.limit - this.sequences.load.running)
    const tokens = [...prompt]
    try {
      for await (const event of begin(cache)) {
        if (event.type === 'token') tokens.push(event.id)
        if (event.type === 'restored') tokens.splice(prompt.length, Infinity, ...event.tokens)
        yield event
      }
    } catch (error) {
      throw signal?.aborted === true && isSwarmError(error, 'aborted') ? signal.reason : error
    } finally {
      this.kept?.put(tokens, cache)
      leave()
    }
  }

  private tokensOf (prompt: string | ChatMessage[] | number[]): number[] {
    if (typeof prompt === 'string') return this.encode(prompt)
    return isConversation(prompt) ? this.encodeChat(prompt) : prompt
  }

  /** One pass without sampling, for measurements: logits [ids, vocabulary] of every position. */
  async logits (ids: number[], chunk: number, onRow: (position: number, logits: Float32Array) => void, profile: LapProfile): Promise<void> {
    const cache = this.attention.newCache()
    const V = this.config.vocabSize
    for (let at = 0; at < ids.length; at += chunk) {
      const part = ids.slice(at, at + chunk)
      const { logits: rows } = await this.attention.lap(part, cache, { wanted: 'all', profile })
      for (let t = 0; t < part.length; t++) onRow(at + t, rows.subarray(t * V, (t + 1) * V))
    }
  }

  /** What each peer did for this client; empty when all layers are local. */
  peers (): PeerStats[] { return this.experts.swarm?.dispatcher.peerStats() ?? [] }

  /** What was compared and found out; undefined when nothing is: all layers are local, or `audit` is 0. */
  audits (): Readonly<AuditCounters> | undefined { return this.experts.swarm?.dispatcher.audits }

  /** Peers that this client caught lying. */
  liars (): ReadonlySet<string> { return this.experts.swarm?.dispatcher.liars ?? new Set() }

  /** Live replicas of the experts of each layer that is not local. */
  coverage (): LayerCoverage[] { return this.experts.swarm?.coverage() ?? [] }

  /**
   * Experts that no live peer holds and that this client has not loaded, by layer. `copied` are those that it would load from its own bundle when they are
   * asked for; a generation that needs one of the others fails.
   */
  async lacking (): Promise<Array<{ layer: number, experts: number[], copied: boolean }>> {
    const { copy, local, partlyLocal } = this.experts
    const lacks = this.coverage().filter(({ layer }) => !local.has(layer)).map(({ layer, replicas }) => {
      const here = new Set(partlyLocal.find(partly => partly.layer === layer)?.experts)
      return { layer, experts: replicas.flatMap((count, expert) => count > 0 || here.has(expert) ? [] : [expert]) }
    }).filter(({ experts }) => experts.length > 0)
    return await Promise.all(lacks.map(async lack => ({ ...lack, copied: await copy?.has(lack.layer, lack.experts) === true })))
  }

  /** The peers that are within reach now, with what they say of themselves; empty when all layers are local. */
  livePeers (): LivePeer[] { return this.experts.swarm?.directory.live ?? [] }

  /** Who computes which layer for this client, and why the other peers do not; empty when all layers are local. */
  plan (): LayerChoice[] { return this.experts.swarm?.dispatcher.plan() ?? [] }

  async close (): Promise<void> { await this.closers.close() }
}

function isConversation (prompt: ChatMessage[] | number[]): prompt is ChatMessage[] {
  return typeof prompt[0] === 'object'
}

/** Without the options that were given as undefined, which would hide defaults. */
function defined<T extends object> (options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
}

function sequencesThatFit (config: ModelConfig): number {
  const each = kvCacheBytes(config, SEQUENCE_POSITIONS)
  return Math.max(1, Math.min(MAX_SEQUENCES, Math.floor(CACHE_SHARE * availableMemory() / each)))
}
