import { ask, events } from './feed.js'
import { element } from './figures.js'

/** Where a reader is still taken to be at the end of the log, in pixels. */
const NEAR_END = 40

/** The chat box: a conversation through this server's API. */
export class Chat {
  #messages = []
  #abort
  #log = document.getElementById('log')
  #message = document.getElementById('message')
  #send = document.getElementById('send')
  #spoken = document.getElementById('spoken')
  #onProblem

  /** `onProblem` may take care of an error: it returns whether the request shall be tried again. */
  constructor (onProblem) {
    this.#onProblem = onProblem
    document.getElementById('ask').addEventListener('submit', event => {
      event.preventDefault()
      if (this.#abort === undefined) this.#submit()
      else this.#abort.abort()
    })
    this.#message.addEventListener('keydown', event => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
      event.preventDefault()
      if (this.#abort === undefined) this.#submit()
    })
    document.getElementById('chat-new').addEventListener('click', () => {
      this.#abort?.abort()
      this.#messages = []
      this.#log.replaceChildren()
      this.#message.focus()
    })
  }

  async #submit () {
    const content = this.#message.value.trim()
    if (content === '') return
    this.#message.value = ''
    this.#log.querySelector('.empty')?.remove()
    this.#log.append(element('article', 'user', content))
    this.#messages.push({ role: 'user', content })
    const answer = element('article', 'writing')
    this.#log.append(answer)
    this.#log.scrollTop = this.#log.scrollHeight
    this.#abort = new AbortController()
    this.#message.required = false
    this.#send.textContent = 'Stop'
    try {
      await this.#answer(answer)
    } catch (error) {
      if (error.name !== 'AbortError') {
        const problem = element('article', 'problem', error.message)
        problem.setAttribute('role', 'alert')
        this.#log.append(problem)
      }
    } finally {
      answer.classList.remove('writing')
      // A question without an answer is not part of the conversation.
      if (answer.textContent === '') {
        answer.remove()
        this.#messages.pop()
      } else {
        this.#messages.push({ role: 'assistant', content: answer.textContent })
        this.#spoken.textContent = answer.textContent
      }
      this.#abort = undefined
      this.#message.required = true
      this.#send.textContent = 'Send'
      this.#log.scrollTop = this.#log.scrollHeight
    }
  }

  async #answer (answer) {
    const body = JSON.stringify({ messages: this.#messages, stream: true })
    const send = () => ask('v1/chat/completions', { method: 'POST', body, headers: { 'content-type': 'application/json' }, signal: this.#abort.signal })
    const response = await send().catch(async error => {
      if (!await this.#onProblem(error)) throw error
      return await send()
    })
    for await (const chunk of events(response)) {
      if (chunk.error !== undefined) throw new Error(chunk.error.message)
      const atEnd = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < NEAR_END
      answer.append(chunk.choices[0]?.delta.content ?? '')
      if (atEnd) this.#log.scrollTop = this.#log.scrollHeight
    }
  }
}
