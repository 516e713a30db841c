import assert from 'node:assert/strict'
import OpenAI from 'openai'
import type { ApiServer } from '../../../node/index.js'
import { reference } from '../../fixtures/reference.js'
import { ServedSwarm } from '../../fixtures/served-swarm.js'

const MESSAGES: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'Tell me a story about a dog.' }]

describe('serve, asked by the openai client', function () {
  this.timeout(180_000)
  let swarm: ServedSwarm
  let server: ApiServer
  let openai: OpenAI
  let model: string

  before(async () => {
    swarm = await ServedSwarm.start()
    server = await swarm.serve()
    model = server.model
    openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  })
  after(async () => { await swarm.stop() })

  it('lists the model, and answers to each of its names', async () => {
    const listed = (await openai.models.list()).data
    assert.match(listed[0].id, /^demo-f32:[0-9a-f]{12}$/)
    for (const { id } of listed) {
      assert.equal((await openai.models.retrieve(id)).id, id)
      const { model: answered } = await openai.completions.create({ model: id, prompt: 'One day', max_tokens: 1 })
      assert.equal(answered, id)
    }
    await assert.rejects(openai.models.retrieve('gpt-4o'), (error: unknown) => error instanceof OpenAI.NotFoundError && error.code === 'model_not_found')
  })

  it('completes a prompt as the reference does, with usage', async () => {
    const { text: prompt, greedy_text: expected, ids } = reference.prompts.find(({ chat }) => !chat)!
    const { choices, usage } = await openai.completions.create({ model, prompt, max_tokens: 20, temperature: 0 })
    assert.ok(choices[0].text.length > 20 && expected.startsWith(choices[0].text), choices[0].text)
    assert.equal(choices[0].finish_reason, 'length')
    const { prompt_tokens_details: details, ...counted } = usage!
    assert.deepEqual(counted, { prompt_tokens: ids.length, completion_tokens: 20, total_tokens: ids.length + 20 })
    assert.ok(details!.cached_tokens! < ids.length)
  })

  it('streams what it answers at once, ending with the usage', async () => {
    const request = { model, messages: MESSAGES, max_completion_tokens: 24, temperature: 0 }
    const whole = await openai.chat.completions.create(request)
    const stream = await openai.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } })
    let text = ''
    let finish: string | null = null
    const chunks: OpenAI.ChatCompletionChunk[] = []
    for await (const chunk of stream) {
      chunks.push(chunk)
      text += chunk.choices[0]?.delta.content ?? ''
      finish ??= chunk.choices[0]?.finish_reason ?? null
    }
    assert.ok(chunks.length > 10)
    assert.equal(chunks[0].choices[0].delta.role, 'assistant')
    assert.equal(text, whole.choices[0].message.content)
    assert.equal(finish, whole.choices[0].finish_reason)
    const cached = { cached_tokens: whole.usage!.prompt_tokens - 1 }
    assert.deepEqual(chunks.at(-1)!.usage, { ...whole.usage, prompt_tokens_details: cached }, 'the second time, the prompt is in a cache')
    assert.ok(chunks.slice(0, -1).every(chunk => chunk.usage === null))
    assert.equal(new Set(chunks.map(({ id }) => id)).size, 1)
  })

  it('streams completions, and through the client\'s own reader of streams', async () => {
    const request = { model, prompt: 'Once upon a time', max_tokens: 16, temperature: 0 }
    const whole = await openai.completions.create(request)
    let text = ''
    for await (const chunk of await openai.completions.create({ ...request, stream: true })) text += chunk.choices[0].text
    assert.equal(text, whole.choices[0].text)
    const runner = openai.chat.completions.stream({ model, messages: MESSAGES, max_tokens: 8, temperature: 0, logprobs: true, top_logprobs: 2 })
    const final = await runner.finalChatCompletion()
    assert.equal(final.choices[0].logprobs?.content?.length, 8)
  })

  it('gives equal texts for equal seeds, others for others, and choices of their own', async () => {
    const tell = async (seed: number): Promise<string[]> => {
      const { choices } = await openai.chat.completions.create({ model, messages: MESSAGES, max_tokens: 24, temperature: 1, seed, n: 2 })
      assert.deepEqual(choices.map(({ index }) => index), [0, 1])
      return choices.map(({ message }) => message.content!)
    }
    const first = await tell(7)
    assert.deepEqual(await tell(7), first)
    assert.notEqual(first[0], first[1])
    assert.notDeepEqual(await tell(8000), first)
  })

  it('streams several choices at a time', async () => {
    const texts = ['', '', '']
    for await (const { choices } of await openai.chat.completions.create({ model, messages: MESSAGES, max_tokens: 12, seed: 3, n: 3, stream: true })) {
      for (const { index, delta } of choices) texts[index] += delta.content ?? ''
    }
    const whole = await openai.chat.completions.create({ model, messages: MESSAGES, max_tokens: 12, seed: 3, n: 3 })
    assert.deepEqual(texts, whole.choices.map(({ message }) => message.content))
  })

  it('stops before a string that spans tokens', async () => {
    const request = { model, messages: MESSAGES, max_tokens: 40, temperature: 0 }
    const free = (await openai.chat.completions.create(request)).choices[0].message.content!
    const stop = free.slice(13, 24)
    for (const stream of [false, true] as const) {
      const runner = openai.chat.completions.stream({ ...request, stop: ['never there', stop] })
      const { message, finish_reason: finish } = stream ? (await runner.finalChatCompletion()).choices[0] : (await openai.chat.completions.create({ ...request, stop })).choices[0]
      assert.equal(message.content, free.slice(0, free.indexOf(stop)))
      assert.equal(finish, 'stop')
      await runner.done().catch(() => {})
    }
  })

  it('tells log-probabilities that are ones', async () => {
    const { choices } = await openai.chat.completions.create({ model, messages: MESSAGES, max_tokens: 10, temperature: 0, logprobs: true, top_logprobs: 20 })
    const steps = choices[0].logprobs!.content!
    assert.equal(steps.map(({ token }) => token).join(''), choices[0].message.content)
    for (const { token, logprob, bytes, top_logprobs: top } of steps) {
      assert.equal(Buffer.from(bytes!).toString(), token)
      assert.equal(top.length, 20)
      assert.deepEqual([top[0].token, top[0].logprob], [token, logprob])
      assert.ok(top.every((each, i) => i === 0 || each.logprob <= top[i - 1].logprob))
      const mass = top.reduce((all, each) => all + Math.exp(each.logprob), 0)
      assert.ok(mass > 0.3 && mass <= 1 + 1e-9, `the 20 most likely tokens have ${mass}`)
    }
  })

  it('echoes a prompt with its log-probabilities', async () => {
    const prompt = 'Once upon a time, there was'
    const { choices: [{ text, logprobs }] } = await openai.completions.create({ model, prompt, max_tokens: 4, temperature: 0, echo: true, logprobs: 1 })
    assert.ok(text.startsWith(prompt))
    const { tokens, token_logprobs: values, text_offset: offsets } = logprobs!
    assert.equal(tokens!.length, values!.length)
    assert.equal(values![0], null)
    assert.ok((values as Array<number | null>).slice(1).every(value => value !== null && value <= 0))
    assert.equal(tokens!.at(-1), text.slice(offsets!.at(-1)! - tokens![0].length))
    // A prompt that goes on as the model would is likely.
    assert.ok(values!.slice(1, 6).reduce((a, b) => a + b, 0) > -30)
  })

  it('takes several prompts, and prompts of token ids', async () => {
    const { choices } = await openai.completions.create({ model, prompt: ['One day', 'Tom had'], max_tokens: 4, temperature: 0, n: 2 })
    assert.deepEqual(choices.map(({ index }) => index), [0, 1, 2, 3])
    assert.equal(choices[0].text, choices[1].text)
    const ids = swarm.client.encode('Tom had')
    const byIds = await openai.completions.create({ model, prompt: ids, max_tokens: 4, temperature: 0 })
    assert.equal(byIds.choices[0].text, choices[2].text)
  })

  it('names the field of a bad request, and a prompt that is too long', async () => {
    await assert.rejects(openai.chat.completions.create({ model, messages: MESSAGES, temperature: 3 }), (error: unknown) =>
      error instanceof OpenAI.BadRequestError && error.param === 'temperature' && error.type === 'invalid_request_error')
    await assert.rejects(openai.completions.create({ model, prompt: 'word '.repeat(2000) }), (error: unknown) =>
      error instanceof OpenAI.BadRequestError && error.code === 'context_length_exceeded')
    await assert.rejects(openai.chat.completions.create({ model, messages: MESSAGES, tools: [{ type: 'function', function: { name: 'f' } }] }), (error: unknown) =>
      error instanceof OpenAI.BadRequestError && error.param === 'tools')
  })
})
