/**
 * The load of kill-leader, and its history as the clients saw it: which writes were acknowledged, which are unknown,
 * which calls failed. Writers use all nodes in turn; callers only living nodes and servers on living nodes, so that a
 * failed call is the cluster's doing.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import type { LocalNode } from './local-cluster.ts'
import { callTool, createAgent, openSession } from './raw-mcp.ts'
import { waitFor } from '../../test/wait.ts'

export type Recovery = {
  /** From the kill to the first acknowledgement of a write that began after it. */
  firstWriteMs: number
  /** From the kill to the first good answer to a call that began after it. */
  firstCallMs: number
  /** Calls since the kill. */
  calls: number
  callsFailed: number
  acknowledged: number
  unknown: number
}

const writers = 4
const pauseMs = 10
/** A fresh write this often, whatever hangs: so that the first one that can succeed does. */
const probeMs = 25
const probesMax = 200
const readsAtOnce = 32
const requestMs = 10_000
const catalogMs = 20_000
const notSent = new Set(['ECONNREFUSED', 'UND_ERR_CONNECT_TIMEOUT'])

export class KillLoad {
  readonly #nodes: readonly LocalNode[]
  readonly #agent = new Agent({ headersTimeout: requestMs, bodyTimeout: requestMs })
  readonly #callAgent = createAgent(16)
  /** Key to value of every acknowledged write of all rounds. */
  readonly #acknowledged = new Map<string, string>()
  /** Keys found missing or with another value; each counts once. */
  readonly #lost = new Set<string>()
  #unknown = 0
  #round = 0
  #running = false
  #loops: Promise<void>[] = []
  #writes = 0
  #probes = 0
  #ackedBefore = 0
  #calls = 0
  #callsFailed = 0
  #failures: string[] = []
  /** On performance's clock; null while nobody was killed. */
  #killedAt: number | null = null
  #firstWriteMs: number | null = null
  #firstCallMs: number | null = null

  constructor(nodes: readonly LocalNode[]) {
    this.#nodes = nodes
  }

  async start(round: { round: number; living: readonly LocalNode[] }): Promise<void> {
    this.#round = round.round
    this.#ackedBefore = this.#acknowledged.size
    this.#unknown = this.#calls = this.#callsFailed = this.#probes = 0
    this.#failures = []
    this.#killedAt = this.#firstWriteMs = this.#firstCallMs = null
    const callers = await Promise.all(
      round.living.flatMap((via) => round.living.map((on) => this.#openCaller(via, `echo${on.id.slice(1)}__echo`))),
    )
    this.#running = true
    this.#loops = [
      ...callers.map((call) => this.#callLoop(call)),
      ...Array.from({ length: writers }, (_, writer) => this.#writeLoop(writer)),
    ]
  }

  run(ms: number): Promise<void> {
    return sleep(ms)
  }

  /** Throws when the load did not run before the kill: what comes after would prove nothing. */
  expectHealthy(): void {
    const acknowledged = this.#acknowledged.size - this.#ackedBefore
    if (acknowledged === 0 || this.#calls === this.#callsFailed) throw new Error(`no steady load: ${this.describe()}`)
  }

  markKill(): void {
    this.#calls = this.#callsFailed = 0
    this.#killedAt = performance.now()
    this.#loops.push(this.#probeLoop())
  }

  isRecovered(): boolean {
    return this.#firstWriteMs !== null && this.#firstCallMs !== null
  }

  recovery(): Recovery {
    return {
      firstWriteMs: this.#firstWriteMs ?? Number.NaN,
      firstCallMs: this.#firstCallMs ?? Number.NaN,
      calls: this.#calls,
      callsFailed: this.#callsFailed,
      acknowledged: this.#acknowledged.size - this.#ackedBefore,
      unknown: this.#unknown,
    }
  }

  describe(): string {
    return `${JSON.stringify(this.recovery())}\n${this.#failures.join('\n')}`
  }

  async stop(): Promise<void> {
    this.#running = false
    await Promise.all(this.#loops)
    this.#loops = []
  }

  /** Reads the acknowledged keys of the round through each node: by the cluster's word, and from the node's own state. */
  async countLost(): Promise<number> {
    const keys = [...this.#acknowledged.keys()].slice(this.#ackedBefore)
    return (await this.#countMissing(keys, 'linearizable')) + (await this.#countMissing(keys, 'stale'))
  }

  /** Reads what all rounds have acknowledged from each node's own state. */
  countLostOfAll(): Promise<number> {
    return this.#countMissing([...this.#acknowledged.keys()], 'stale')
  }

  async #countMissing(keys: readonly string[], consistency: 'linearizable' | 'stale'): Promise<number> {
    const before = this.#lost.size
    for (const node of this.#nodes) {
      const unread = [...keys]
      const readLoop = async (): Promise<void> => {
        for (let key = unread.pop(); key !== undefined; key = unread.pop())
          if (!this.#lost.has(key) && !(await this.#holds(node, key, consistency))) this.#lost.add(key)
      }
      await Promise.all(Array.from({ length: readsAtOnce }, readLoop))
    }
    for (const key of [...this.#lost].slice(before, before + 10)) console.error(`lost (${consistency}): ${key}`)
    return this.#lost.size - before
  }

  async close(): Promise<void> {
    await this.stop()
    await Promise.all([this.#agent.destroy(), this.#callAgent.destroy()])
  }

  /** Opens a session and waits until the tool answers through that node. */
  async #openCaller(via: LocalNode, name: string): Promise<() => Promise<string | null>> {
    let last = ''
    return waitFor(
      () => `${name} through ${via.id}: ${last}`,
      async () => {
        const session = await openSession(via.mcpUrl, this.#callAgent)
        let id = 0
        const call = (): Promise<string | null> =>
          callTool(session, { id: (id += 1), name, arguments: { text: 'hello' } })
        const wrong = await call()
        last = wrong ?? ''
        return wrong === null ? call : null
      },
      catalogMs,
    )
  }

  async #callLoop(call: () => Promise<string | null>): Promise<void> {
    while (this.#running) {
      const begun = performance.now()
      const wrong = await call()
      this.#calls += 1
      if (wrong !== null) {
        this.#callsFailed += 1
        this.#note(`call: ${wrong}`)
      } else if (this.#killedAt !== null && begun >= this.#killedAt)
        this.#firstCallMs ??= performance.now() - this.#killedAt
      await sleep(pauseMs)
    }
  }

  async #writeLoop(writer: number): Promise<void> {
    for (let turn = writer; this.#running; turn += 1) {
      await this.#write(turn)
      await sleep(pauseMs)
    }
  }

  async #probeLoop(): Promise<void> {
    const probes: Promise<void>[] = []
    while (this.#running && this.#firstWriteMs === null && this.#probes < probesMax) {
      this.#probes += 1
      probes.push(this.#write(this.#probes))
      await sleep(probeMs)
    }
    await Promise.all(probes)
  }

  /** Writes a key of its own, until it is acknowledged or unknown. A node that provably did not take it is left for the next. */
  async #write(firstNode: number): Promise<void> {
    this.#writes += 1
    const key = `kill-leader/${this.#round}/${this.#writes}`
    for (let turn = firstNode; this.#running; turn += 1) {
      const node = this.#nodes[turn % this.#nodes.length]
      if (node === undefined) return
      // Each attempt writes a value of its own: one that was refused and appears after all counts as a loss too.
      const value = `attempt ${turn} of ${key}`
      const begun = performance.now()
      const outcome = await this.#put(node, key, value)
      if (outcome === 'acknowledged') {
        this.#acknowledged.set(key, value)
        if (this.#killedAt !== null && begun >= this.#killedAt)
          this.#firstWriteMs ??= performance.now() - this.#killedAt
        return
      }
      if (outcome === 'unknown') {
        this.#unknown += 1
        return
      }
      await sleep(pauseMs)
    }
  }

  async #put(node: LocalNode, key: string, value: string): Promise<'acknowledged' | 'refused' | 'unknown'> {
    try {
      const response = await request(`${node.url}/v1/kv/${key}`, {
        method: 'PUT',
        dispatcher: this.#agent,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(value),
      })
      const text = await response.body.text()
      if (response.statusCode === 200) return 'acknowledged'
      if (response.statusCode === 503) return 'refused'
      this.#note(`write: ${response.statusCode} ${text.slice(0, 200)}`)
      return 'unknown'
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
      return notSent.has(code) ? 'refused' : 'unknown'
    }
  }

  async #holds(node: LocalNode, key: string, consistency: string): Promise<boolean> {
    let last = ''
    const answer = await waitFor(
      () => `${key} to be read through ${node.id}: ${last}`,
      async () => {
        const response = await request(`${node.url}/v1/kv/${key}?consistency=${consistency}`, {
          dispatcher: this.#agent,
        })
        const text = await response.body.text()
        if (response.statusCode === 404) return { value: null }
        last = `${response.statusCode} ${text.slice(0, 200)}`
        return response.statusCode === 200 ? (JSON.parse(text) as { value: unknown }) : null
      },
      catalogMs,
    )
    return answer.value === this.#acknowledged.get(key)
  }

  #note(failure: string): void {
    if (this.#failures.length < 20) this.#failures.push(failure)
  }
}
