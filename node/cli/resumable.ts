import type { Command, Option } from 'commander'
import { join } from 'node:path'
import { counted, newGenerationId, type SamplingOptions, type SavedGeneration, SavedGenerations, type SwarmClient } from '../index.js'
import { UsageError } from './command.js'
import { stateDirectory } from './state-directory.js'
import type { Terminal } from './terminal.js'

/** Options that a saved generation brings along. */
const SAVED = new Set(['prompt', 'promptIds', 'chat', 'maxTokens', 'temperature', 'topK', 'topP', 'seed'])

/** Those, and what makes no sense beside them. */
const OF_THE_TEXT = new Set([...SAVED, 'save', 'resume'])

/** @throws UsageError where the command line has what the saved generation decides: it would be ignored, and the tokens would not be the same */
export function refuseOptionsOfTheText (self: Command): void {
  const given = self.options.filter(option => SAVED.has(option.attributeName()) && self.getOptionValueSource(option.attributeName()) === 'cli')
  if (given.length > 0) throw new UsageError(`--resume brings its options along: leave out ${given.map(option => option.long).join(', ')}.`)
}

export interface ResumeOptions {
  save?: string
  resume?: string
}

/** What is kept of an answer under way, so that it can go on after whatever cuts it short. */
export class Resumable {
  private constructor (readonly state: SavedGeneration, private readonly store: SavedGenerations, private readonly file: string | undefined) {}

  static begin (client: SwarmClient, text: Pick<SavedGeneration, 'promptTokens' | 'promptText' | 'maxTokens'> & { sampling: SamplingOptions }, { save }: ResumeOptions): Resumable {
    return new Resumable({ format: 1, id: newGenerationId(), modelId: client.bundle.id, tokens: [], ...text }, store(), save)
  }

  /** @throws ModelError for a file that is none; UsageError for one of another model */
  static async resume (client: SwarmClient, { resume = '', save }: ResumeOptions): Promise<Resumable> {
    const state = await store().open(resume)
    if (state.modelId !== client.bundle.id) throw new UsageError(`${resume} is of model ${state.modelId.slice(0, 12)}, and --model is ${client.bundle.id.slice(0, 12)}: give the bundle that it was begun with.`)
    return new Resumable(state, store(), save ?? (/[/.]/.test(resume) ? resume : undefined))
  }

  /** Keeps what there is. Without --save a whole answer is not kept, and nothing is kept of one that has not begun. */
  async keep ({ whole, self, terminal }: { whole: boolean, self: Command, terminal: Terminal }): Promise<void> {
    if (this.file === undefined && (whole || this.state.tokens.length === 0)) return
    try {
      const file = await this.store.save(this.state, this.file)
      terminal.event('saved', { id: this.state.id, file, tokens: this.state.tokens.length })
      if (!whole) terminal.error(`${counted(this.state.tokens.length, 'token is', 'tokens are')} kept. To go on: ${commandLine(self, this.file === undefined ? this.state.id : file)}`)
    } catch (error) {
      terminal.error(`The answer so far could not be kept: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
}

function store (): SavedGenerations {
  return new SavedGenerations(join(stateDirectory(), 'generations'))
}

/** The command that goes on: with what was given on this command line, but for what the saved generation has. */
function commandLine (self: Command, resume: string): string {
  const given = self.options.filter(option => self.getOptionValueSource(option.attributeName()) === 'cli' && !OF_THE_TEXT.has(option.attributeName()))
  const words = given.flatMap(option => wordsOf(option, self.getOptionValue(option.attributeName())))
  return ['moeswarm', 'generate', ...words, '--resume', resume].map(quoted).join(' ')
}

function wordsOf (option: Option, value: unknown): string[] {
  const flag = option.long ?? option.flags
  if (typeof value === 'boolean') return [flag]
  return (Array.isArray(value) ? value : [value]).flatMap(one => [flag, String(one)])
}

/** For a POSIX shell. */
function quoted (word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll('\'', '\'\\\'\'')}'`
}
