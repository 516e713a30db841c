/** How a family's tokens frame a conversation. */
export interface Dialect {
  /** Ids of the release below that of the first newline; the ones between them are unused. */
  controlTokens: Readonly<Record<number, string>>
  endOfTurn: string
  chatTemplate: string
}

const SHARED = { 0: '<pad>', 1: '<eos>', 2: '<bos>', 3: '<unk>', 4: '<mask>' }

export const GEMMA4_DIALECT: Dialect = {
  controlTokens: {
    ...SHARED, 46: '<|tool>', 47: '<tool|>', 48: '<|tool_call>', 49: '<tool_call|>', 50: '<|tool_response>', 51: '<tool_response|>', 52: '<|"|>', 98: '<|think|>', 100: '<|channel>',
    101: '<channel|>', 105: '<|turn>', 106: '<turn|>'
  },
  endOfTurn: '<turn|>',
  chatTemplate: templateOf('<|turn>', '<turn|>')
}

export const GEMMA3_DIALECT: Dialect = {
  controlTokens: { ...SHARED, 105: '<start_of_turn>', 106: '<end_of_turn>' },
  endOfTurn: '<end_of_turn>',
  chatTemplate: templateOf('<start_of_turn>', '<end_of_turn>')
}

function templateOf (start: string, end: string): string {
  return `{{ bos_token }}{% for m in messages %}{{ '${start}' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + (m['content'] | trim) + '${end}\\n' }}{% endfor %}` +
    `{% if add_generation_prompt %}{{ '${start}model\\n' }}{% endif %}`
}
