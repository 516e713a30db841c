import type { StepLogProbabilities, TokenLogProbability } from '../client/log-probabilities.js'

/** A token by itself, as SwarmClient.token tells it. */
type TokenOf = (id: number) => { text: string, bytes: number[] }

interface ChatToken { token: string, bytes: number[], logprob: number }

/** `logprobs.content` of a choice of a chat. */
export function chatLogProbabilities (steps: StepLogProbabilities[], tokenOf: TokenOf): Array<ChatToken & { top_logprobs: ChatToken[] }> {
  const form = ({ id, logProbability }: TokenLogProbability): ChatToken => {
    const { text, bytes } = tokenOf(id)
    return { token: text, bytes, logprob: logProbability }
  }
  return steps.map(step => ({ ...form(step), top_logprobs: step.top.map(form) }))
}

/** `logprobs` of a choice of the older completions. Null where a token has no predecessor. */
export interface CompletionLogProbabilities {
  tokens: string[]
  token_logprobs: Array<number | null>
  top_logprobs: Array<Record<string, number> | null>
  /** Of each token in the text of the choice, in UTF-16 units. */
  text_offset: number[]
}

/** `steps` may begin with ids of which nothing is known: the first of an echoed prompt. */
export function completionLogProbabilities (steps: Array<StepLogProbabilities | { id: number }>, tokenOf: TokenOf, startOffset: number): CompletionLogProbabilities {
  const out: CompletionLogProbabilities = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] }
  let offset = startOffset
  for (const step of steps) {
    const { text } = tokenOf(step.id)
    out.tokens.push(text)
    out.token_logprobs.push('logProbability' in step ? step.logProbability : null)
    out.top_logprobs.push('top' in step ? Object.fromEntries(step.top.map(each => [tokenOf(each.id).text, each.logProbability])) : null)
    out.text_offset.push(offset)
    offset += text.length
  }
  return out
}
