import type { PartReply } from './client.js'

/** A request that is with a peer. */
export interface Asked {
  reply: Promise<PartReply>
  cancel: () => void
}

export interface Answer<T extends Asked> {
  from: T
  reply: PartReply
}

export interface FirstAnswerInit<T extends Asked> {
  first: T
  /** After this a twin is asked; Infinity for never. */
  tailMs: number
  /** Sends the same request to somebody else; undefined when there is nobody, or when it would cost too much. */
  twin: () => T | undefined
  /** Called for each request that failed before an answer was there. What it throws is the outcome. */
  onFailed: (from: T, error: unknown) => void
  /** Called for the one that was not needed any more. */
  onLoser: (from: T) => void
  /** Where both replies to the same request meet. Given: the loser is not cancelled but waited for. */
  onBoth?: (winner: Answer<T>, loser: Answer<T>) => void
}

/** The first answer of a peer or, when it is late, of its twin. Undefined when all that were asked have failed. */
export function firstAnswer<T extends Asked> ({ first, tailMs, twin, onFailed, onLoser, onBoth }: FirstAnswerInit<T>): Promise<Answer<T> | undefined> {
  return new Promise((resolve, reject) => {
    const open = new Set<T>()
    let winner: Answer<T> | undefined
    let over = false
    let timer: NodeJS.Timeout | undefined
    const end = (settle: () => void): void => {
      over = true
      clearTimeout(timer)
      settle()
    }
    const ask = (from: T): void => {
      open.add(from)
      from.reply.then(reply => {
        open.delete(from)
        if (winner != null) onBoth?.(winner, { from, reply })
        if (over) return
        winner = { from, reply }
        for (const loser of open) {
          onLoser(loser)
          if (onBoth == null) loser.cancel()
        }
        end(() => { resolve(winner) })
      }, (error: unknown) => {
        open.delete(from)
        if (over) return
        try {
          onFailed(from, error)
          if (open.size === 0) end(() => { resolve(undefined) })
        } catch (thrown) {
          for (const other of open) other.cancel()
          end(() => { reject(thrown instanceof Error ? thrown : new Error(String(thrown))) })
        }
      })
    }
    ask(first)
    if (tailMs < Infinity) {
      timer = setTimeout(() => {
        const second = twin()
        if (second != null) ask(second)
      }, tailMs)
    }
  })
}
