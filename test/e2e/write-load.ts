import type { LocalNode } from '../../scripts/lib/local-cluster.ts'
import { request } from './http-json.ts'

/**
 * Four writers over all nodes in turn, each write under its key as the idempotency key and tried at the next node until it
 * is acknowledged: so what is acknowledged is known, and so is how long none was.
 */
export class WriteLoad {
  /** Revision by key. */
  readonly acknowledged = new Map<string, number>()
  /** Answers that no write may get, whatever happens to a node. */
  readonly failures: string[] = []
  longestGapMs = 0
  readonly #nodes: readonly LocalNode[]
  readonly #name: string
  #away: LocalNode | null = null
  #lastAt = 0
  #isRunning = true
  #writers: Promise<void>[] = []

  constructor(nodes: readonly LocalNode[], name: string) {
    this.#nodes = nodes
    this.#name = name
  }

  start(): void {
    this.#lastAt = performance.now()
    this.#writers = Array.from({ length: 4 }, (_, writer) => this.#write(writer))
  }

  /** Nothing is written through the node during the work; what was under way may be tried elsewhere. */
  async without(node: LocalNode, work: () => Promise<void>): Promise<void> {
    this.#away = node
    await work()
    this.#away = null
  }

  async stop(): Promise<void> {
    this.#isRunning = false
    await Promise.all(this.#writers)
  }

  async #write(writer: number): Promise<void> {
    let n = 0
    while (this.#isRunning) {
      n += 1
      const key = `${this.#name}/${writer}-${n}`
      for (let at = writer + n; !this.acknowledged.has(key); at += 1) {
        const node = this.#nodes[at % this.#nodes.length]
        if (node !== undefined && node !== this.#away) await this.#try(node, key)
      }
    }
  }

  async #try(node: LocalNode, key: string): Promise<void> {
    const init = { method: 'PUT', body: JSON.stringify(key) }
    const headers = { 'idempotency-key': key, 'x-request-timeout-ms': '2000' }
    const answer = await request(`${node.url}/v1/kv/${key}`, { ...init, headers }).catch(() => null)
    // No answer at all, one that says that it did not happen, or that nobody knows: the same write again is the same write.
    if (answer === null || answer.status === 503 || answer.status === 504) {
      await new Promise((resolve) => setTimeout(resolve, 5))
      return
    }
    if (answer.status !== 200) {
      this.failures.push(`${key} at ${node.id}: ${answer.status} ${JSON.stringify(answer.body)}`)
      this.acknowledged.set(key, 0)
      return
    }
    const now = performance.now()
    this.longestGapMs = Math.max(this.longestGapMs, now - this.#lastAt)
    this.#lastAt = now
    this.acknowledged.set(key, Number(answer.body['revision']))
  }
}
