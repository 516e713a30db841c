import assert from 'node:assert/strict'
import { type GenerateEvent, type Generation, type RunInit, runGeneration, type SwarmClient, TrafficMonitor } from '../../../node/index.js'

/** Tokens 1 2 3, of which a liar had a part in the last two, and 1 4 5 in their place. */
const EVENTS: GenerateEvent[] = [
  { type: 'token', id: 1, text: 'a' }, { type: 'token', id: 2, text: 'x' }, { type: 'token', id: 3, text: 'y' },
  { type: 'lied', peerId: 'p', replies: 2, again: true }, { type: 'restored', tokens: [1], text: 'a', because: 'liar' },
  { type: 'token', id: 4, text: 'b' }, { type: 'token', id: 5, text: 'c' },
  // The rest of the text was held back, for it might have become a stop string.
  { type: 'done', generation: { text: 'abc!', finishReason: 'length', tokens: [1, 4, 5] } as unknown as Generation }
]

describe('an answer that is computed again', () => {
  const run = async (more: Partial<RunInit>, paranoid = true): Promise<{ content: string, log: string[] }> => {
    const log: string[] = []
    const client = {
      config: { eosTokenIds: [9] },
      generate: async function * () {
        for (const event of EVENTS) {
          if (event.type === 'lied') log.push('lied')
          yield event
        }
      }
    } as unknown as SwarmClient
    const { content } = await runGeneration({
      client, monitor: new TrafficMonitor(), prompt: [7], chat: false, options: { paranoid }, onPiece: async piece => { log.push(piece.content) }, ...more.onVoid === undefined ? {} : { onVoid: () => { log.push('void') } },
      ...more.onLate === undefined ? {} : { onLate: async tokens => { log.push(`late ${tokens}`) } }
    })
    return { content, log }
  }

  it('comes when it is whole where nothing can be taken back', async () => {
    assert.deepEqual(await run({ onLate: async () => {} }), { content: 'abc!', log: ['late 1', 'late 2', 'late 3', 'lied', 'late 2', 'late 3', 'a', 'b', 'c', '!'] })
  })

  it('begins anew where it can', async () => {
    assert.deepEqual(await run({ onVoid: () => {} }), { content: 'abc!', log: ['a', 'x', 'y', 'lied', 'void', 'a', 'b', 'c', '!'] })
  })
})
