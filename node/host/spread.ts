import type { ComputeThread } from './compute-thread.js'

/** What computes requests one at a time. */
export type Thread = Pick<ComputeThread, 'request'>

/** One at a time on each thread, all threads at once: task t on thread t.worker modulo threads. Settles when every thread has ended its own. */
export async function spreadOver<T extends { worker: number }> (threads: Thread[], tasks: T[], perform: (thread: Thread, task: T) => Promise<void>): Promise<void> {
  let failed = false
  const ended = await Promise.allSettled(threads.map(async (thread, index) => {
    for (const task of tasks) {
      if (task.worker % threads.length !== index || failed) continue
      await perform(thread, task).catch(error => {
        failed = true
        throw error
      })
    }
  }))
  for (const end of ended) if (end.status === 'rejected') throw end.reason
}
