/**
 * The database as the server sees it: requests run one after the other in a thread, each within a time limit and until
 * its signal aborts. A statement that does not end is stopped with its thread; the next request finds a new thread with
 * the last committed content. No change that was answered is lost by that, and none that was not answered stays.
 */
import { Worker } from 'node:worker_threads'
import type { Rows, SqlParams, SqlReply, SqlRequest } from './sql-worker.ts'

/** The client can put it right: bad SQL, too slow, too much. */
export class SqlError extends Error {}

export type SqlLimits = { signal: AbortSignal; timeMs: number }

const waitingMax = 64
const startMs = 10_000

export class SqlDatabase {
  #thread: Promise<Worker> | null = null
  /** What a new thread starts from; null is the example. */
  #image: Uint8Array | null = null
  /** Settles when the last of the queue is done; never rejects. */
  #tail: Promise<unknown> = Promise.resolve()
  #waiting = 0

  async query(
    request: { sql: string; params: SqlParams; rowsMax: number; bytesMax: number },
    limits: SqlLimits,
  ): Promise<Rows> {
    const reply = await this.#inTurn({ kind: 'query', ...request }, limits)
    if (reply.kind !== 'rows') throw new Error(`a query was answered with ${reply.kind}`)
    return reply.result
  }

  /** Runs one changing statement in a transaction; answers how many rows changed. */
  async execute(request: { sql: string; params: SqlParams }, limits: SqlLimits): Promise<number> {
    const reply = await this.#inTurn({ kind: 'execute', ...request }, limits)
    if (reply.kind !== 'executed') throw new Error(`an execute was answered with ${reply.kind}`)
    return reply.changes
  }

  async #inTurn(request: SqlRequest, limits: SqlLimits): Promise<SqlReply> {
    if (this.#waiting >= waitingMax) throw new SqlError(`${waitingMax} statements are waiting already; try again later`)
    this.#waiting += 1
    const turn = this.#tail.then(() => this.#run(request, limits))
    this.#tail = turn.then(
      () => undefined,
      () => undefined,
    )
    try {
      return await turn
    } finally {
      this.#waiting -= 1
    }
  }

  async #run(request: SqlRequest, limits: SqlLimits): Promise<SqlReply> {
    limits.signal.throwIfAborted()
    this.#thread ??= startThread(this.#image)
    const thread = await this.#thread.catch((cause: unknown) => {
      this.#thread = null
      throw cause
    })
    const timeout = AbortSignal.timeout(limits.timeMs)
    try {
      const answered = nextReply(thread, AbortSignal.any([limits.signal, timeout]))
      thread.postMessage(request, [])
      const reply = await answered
      if (reply.kind === 'executed') this.#image = reply.image
      if (reply.kind === 'refused') throw new SqlError(reply.reason)
      return reply
    } catch (cause) {
      if (cause instanceof SqlError) throw cause
      this.#thread = null
      // Not awaited: a thread that can not be ended must not keep the answer back.
      void thread.terminate()
      if (timeout.aborted) throw new SqlError(`the statement was stopped after ${limits.timeMs} ms`, { cause })
      throw cause
    }
  }
}

async function startThread(image: Uint8Array | null): Promise<Worker> {
  const thread = new Worker(new URL('./sql-worker.js', import.meta.url), { workerData: image })
  try {
    await nextReply(thread, AbortSignal.timeout(startMs))
    return thread
  } catch (cause) {
    void thread.terminate()
    throw cause
  }
}

/** The thread's next message; rejects when it ends, fails, or the signal aborts first. */
function nextReply(thread: Worker, signal: AbortSignal): Promise<SqlReply> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      thread.off('message', onMessage)
      thread.off('error', onError)
      thread.off('exit', onExit)
      signal.removeEventListener('abort', onAbort)
      act()
    }
    const onMessage = (reply: SqlReply): void => settle(() => resolve(reply))
    const onError = (error: unknown): void => settle(() => reject(error))
    const onExit = (): void => settle(() => reject(new Error('the database thread ended')))
    const onAbort = (): void => settle(() => reject(signal.reason))
    thread.on('message', onMessage)
    thread.on('error', onError)
    thread.on('exit', onExit)
    signal.addEventListener('abort', onAbort)
    if (signal.aborted) onAbort()
  })
}
