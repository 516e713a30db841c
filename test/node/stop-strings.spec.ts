import assert from 'node:assert/strict'
import { StopStrings } from '../../node/client/stop-strings.js'

/** The text that comes out, and how many pieces went in until it stopped. */
function run (stops: string[], pieces: string[]): { text: string, pieces: number } {
  const reader = new StopStrings(stops)
  let text = ''
  for (const [i, piece] of pieces.entries()) {
    const out = reader.push(piece)
    text += out.text
    if (out.stopped) return { text: text + reader.end(), pieces: i + 1 }
  }
  return { text: text + reader.end(), pieces: pieces.length }
}

const TABLE: Array<{ name: string, stops: string[], pieces: string[], text: string, used: number }> = [
  { name: 'one piece holds it', stops: ['END'], pieces: ['a END b', 'c'], text: 'a ', used: 1 },
  { name: 'it spans pieces', stops: ['END'], pieces: ['a E', 'N', 'D b'], text: 'a ', used: 3 },
  { name: 'a beginning that comes to nothing is given', stops: ['END'], pieces: ['a E', 'N', 'ded', '.'], text: 'a ENded.', used: 4 },
  { name: 'a beginning inside a beginning', stops: ['aab'], pieces: ['a', 'a', 'a', 'b', 'x'], text: 'a', used: 4 },
  { name: 'the earliest of several', stops: ['cd', 'bcd'], pieces: ['ab', 'cd'], text: 'a', used: 2 },
  { name: 'the end holds a beginning', stops: ['END'], pieces: ['a EN'], text: 'a EN', used: 1 },
  { name: 'none', stops: [], pieces: ['a', 'b'], text: 'ab', used: 2 },
  { name: 'it is all there is', stops: ['\n\n'], pieces: ['\n', '\n'], text: '', used: 2 }
]

describe('stop strings', () => {
  for (const { name, stops, pieces, text, used } of TABLE) {
    it(name, () => { assert.deepEqual(run(stops, pieces), { text, pieces: used }) })
  }

  it('give the same text however it is cut', () => {
    const whole = 'one two tthree three four'
    for (const size of [1, 2, 3, 5, 8, 40]) {
      const pieces = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) => whole.slice(i * size, (i + 1) * size))
      assert.equal(run(['three'], pieces).text, 'one two t')
    }
  })

  it('refuse an empty string', () => { assert.throws(() => new StopStrings(['a', '']), { code: 'out-of-range' }) })
})
