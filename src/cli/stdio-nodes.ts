import type { IncomingHttpHeaders } from 'node:http'
import { Pool } from 'undici'
import { assert } from '../std/assert.ts'
import { realClock } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import { HttpExchange, type ExchangeEnd } from '../upstream/http-exchange.ts'

/**
 * The nodes that `quorate stdio` may speak to, by their addresses: one of them is the present one until it does not answer.
 * Performs single HTTP exchanges, and ends all of them at once.
 */
export type NodeRequest = {
  readonly method: 'POST' | 'GET' | 'DELETE'
  readonly body: string | null
  readonly headers: Readonly<Record<string, string>>
  /** Longest time to its end; 0: as long as the node sends something. */
  readonly limitMs: number
  /** The head of a 2xx answer is here. */
  accepted?(headers: IncomingHttpHeaders): void
  message(text: string): void
}

export type NodeAnswer = {
  readonly end: ExchangeEnd
  /** Who was asked. */
  readonly node: number
  readonly lastEventId: string | null
  readonly retryMs: number | null
}

export type NodeExchange = {
  /** The head of its answer is here. */
  readonly hasHead: boolean
  /** Ends it if nothing of it can have left; answers whether that is so. */
  withdraw(): boolean
  /** Never rejects. */
  readonly ended: Promise<NodeAnswer>
}

/** One message. */
const messageBytesMax = 16 * 1024 * 1024
const refusalBytesMax = 64 * 1024
const connectTimeoutMs = 3000
/** How long a node may say nothing until it is taken for dead: it may be stopped, or cut off without a word. */
export type Silence = {
  /** From a request until the head of its answer, where that is bounded by no limit of its own. */
  readonly headMaxMs: number
  /** On a stream. */
  readonly streamMaxMs: number
}

/**
 * A node takes 2.5 s at most to find a session and turns a call into a stream after 5 s, on which it sends a comment every 5 s;
 * its main thread may block for a few seconds.
 */
export const silenceDefaults: Silence = { headMaxMs: 12_000, streamMaxMs: 10_000 }

export type BridgedNodesOptions = {
  readonly urls: readonly URL[]
  /** To one node at once. */
  readonly connections: number
  readonly silence: Silence
}

export class BridgedNodes {
  readonly #nodes: readonly { readonly url: URL; readonly pool: Pool }[]
  /** With how to give it up. */
  readonly #underWay = new Map<HttpExchange, () => void>()
  #at = 0

  constructor({ urls, connections, silence }: BridgedNodesOptions) {
    this.#nodes = urls.map((url) => ({
      url,
      pool: new Pool(url.origin, {
        connections,
        connect: { timeout: connectTimeoutMs },
        headersTimeout: silence.headMaxMs,
        bodyTimeout: silence.streamMaxMs,
      }),
    }))
  }

  /** Their addresses, without what they may hold of secrets. */
  get names(): readonly string[] {
    return this.#nodes.map(({ url }) => `${url.origin}${url.pathname}`)
  }

  /** The given one does not answer: the next one is the present one, unless another is already; answers its name. */
  turn(from: number): string | undefined {
    if (this.#at !== from || this.#nodes.length === 1) return undefined
    this.#at = (this.#at + 1) % this.#nodes.length
    return this.names[this.#at]
  }

  /** With the present node. */
  perform(request: NodeRequest): NodeExchange {
    const node = this.#at
    const target = this.#nodes[node]
    assert(target !== undefined, 'the present node is one of the nodes')
    const { url, pool } = target
    const ended = deferred<NodeAnswer>()
    const settle = (end: ExchangeEnd): void => {
      limit?.cancel()
      this.#underWay.delete(exchange)
      ended.resolve({ end, node, lastEventId: exchange.lastEventId, retryMs: exchange.retryMs })
    }
    const { method, body, headers, limitMs } = request
    const exchange = new HttpExchange(
      { pool, path: `${url.pathname}${url.search}`, method, body, headers, messageBytesMax, refusalBytesMax },
      {
        accepted: (responseHeaders) => request.accepted?.(responseHeaders),
        message: (text) => request.message(text),
        ended: settle,
      },
    )
    const giveUp = (reason: string): void => {
      exchange.abort()
      settle({ kind: exchange.isSent ? 'broken' : 'not-sent', reason })
    }
    const limit = limitMs === 0 ? null : realClock.after(limitMs, () => giveUp('no answer in time'))
    this.#underWay.set(exchange, () => giveUp('given up'))
    exchange.start()
    return {
      get hasHead() {
        return exchange.hasHead
      },
      withdraw() {
        const isWithdrawn = !exchange.isSent
        if (isWithdrawn) giveUp('withdrawn')
        return isWithdrawn
      },
      ended: ended.promise,
    }
  }

  /** Ends all that is under way. */
  abort(): void {
    for (const giveUp of this.#underWay.values()) giveUp()
  }

  async close(): Promise<void> {
    this.abort()
    await Promise.all(this.#nodes.map(({ pool }) => pool.destroy()))
  }
}
