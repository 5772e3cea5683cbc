/**
 * The clients of the workload. Each does one thing after the other on its own node, notes every request, pauses after
 * what failed, and sends again only what can not be done twice by it: a write with its Idempotency-Key, a refused call.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../../src/std/random.ts'
import type { RawSession } from '../lib/raw-mcp.ts'
import { isMismatch } from './deeds.ts'
import { countingTool } from './executions.ts'
import type { Answer, Requests } from './requests.ts'
import { keyPrefix, type NodeTarget, type Operation, type Weakening } from './types.ts'

export type ClientParts = {
  readonly name: string
  /** The id of the node that is asked first. */
  readonly home: string
  readonly random: Random
  readonly requests: Requests
  readonly now: () => number
  readonly targets: () => readonly NodeTarget[]
  readonly weaken: Weakening | null
  readonly note: (operation: Operation) => void
  /** The newest revision of each key that any client has seen; for all clients together. */
  readonly seen: Map<string, number>
  /** Aborted when the workload stops: nothing new is begun. */
  readonly stopped: AbortSignal
}

type Asked = Omit<Operation, 'client' | 'node' | 'calledUs' | 'answeredUs' | keyof Answer>

const sharedKeys = 5
/** Between two operations of a client, for each node there is: so the whole load stays the same. */
const paceMs = 40
const failurePauseMs = 100
const putAttemptsMax = 5
const callAttemptsMax = 3
const percent = { idempotent: 60, conditional: 25, repeated: 10, mistaken: 10 }

/** What a client does once, in all its attempts. */
abstract class Client {
  protected readonly parts: ClientParts
  #count = 0

  constructor(parts: ClientParts) {
    this.parts = parts
  }

  /** Settles when the workload has stopped, or the node of the client has left. */
  async run(): Promise<void> {
    const { home, random, stopped, targets } = this.parts
    while (!stopped.aborted && targets().some(({ id }) => id === home)) {
      this.#count += 1
      await this.perform(`${this.parts.name}-${this.#count}`)
      const meanMs = paceMs * targets().length
      await this.pause(meanMs / 2 + random.below(meanMs))
    }
  }

  protected abstract perform(id: string): Promise<void>

  protected pause(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.parts.stopped }).catch(() => undefined)
  }

  /** Asks the node and notes what came of it; what was to be written is noted as the value. */
  protected async ask(
    asked: Asked & { readonly value?: string },
    target: NodeTarget,
    request: () => Promise<Answer>,
  ): Promise<Answer> {
    const { name, now, note, seen } = this.parts
    const calledUs = now()
    const answer = this.#weakened(asked.kind, await request())
    const answeredUs = answer.outcome === 'unknown' ? null : now()
    const { revision } = answer
    if (revision !== null && revision > (seen.get(asked.key) ?? 0)) seen.set(asked.key, revision)
    note({ client: name, node: target.id, calledUs, answeredUs, ...answer, ...asked })
    return answer
  }

  protected chance(share: number): boolean {
    return this.parts.random.below(100) < share
  }

  protected sharedKey(): string {
    return `${keyPrefix}k${this.parts.random.below(sharedKeys)}`
  }

  protected home(): NodeTarget | undefined {
    return this.parts.targets().find(({ id }) => id === this.parts.home)
  }

  protected anyTarget(): NodeTarget | undefined {
    const all = this.parts.targets()
    return all.length === 0 ? undefined : all[this.parts.random.below(all.length)]
  }

  /** Not that one, where there is a choice. */
  protected otherTarget({ id }: NodeTarget): NodeTarget | undefined {
    const others = this.parts.targets().filter((target) => target.id !== id)
    return others.length === 0 ? this.anyTarget() : others[this.parts.random.below(others.length)]
  }

  #weakened(kind: Operation['kind'], answer: Answer): Answer {
    const { weaken } = this.parts
    if (weaken === 'all-unknown') return { outcome: 'unknown', why: weaken, value: null, revision: null }
    if (weaken !== 'ok-is-refused' || answer.outcome !== 'ok' || (kind !== 'kv-put' && kind !== 'call')) return answer
    return this.chance(percent.mistaken) ? { outcome: 'refused', why: weaken, value: null, revision: null } : answer
  }
}

/** Writes values that nobody else writes: half of what it does can be sent again, some only over what was seen. */
export class Writer extends Client {
  protected async perform(value: string): Promise<void> {
    const { parts } = this
    const key = this.sharedKey()
    const idempotencyKey = this.chance(percent.idempotent) ? value : null
    const expects = this.chance(percent.conditional) ? (parts.seen.get(key) ?? 0) : null
    const write = { key, value, idempotencyKey, expects }
    let target = this.home()
    for (let attempt = 1; target !== undefined; attempt += 1) {
      const answer = await this.#put(target, attempt, write)
      if (answer.outcome === 'ok') return this.#repeat(attempt + 1, write)
      if (isMismatch(answer)) return
      await this.pause(failurePauseMs)
      if (idempotencyKey === null || attempt === putAttemptsMax || parts.stopped.aborted) return
      target = this.anyTarget()
    }
  }

  /** What was acknowledged, once more, as a client does that has not heard so. */
  async #repeat(attempt: number, write: Write): Promise<void> {
    const target = this.anyTarget()
    if (write.idempotencyKey === null || target === undefined || !this.chance(percent.repeated)) return
    const isNew = this.parts.weaken === 'new-identity'
    await this.#put(target, attempt, isNew ? { ...write, idempotencyKey: null, expects: null } : write)
  }

  #put(target: NodeTarget, attempt: number, write: Write): Promise<Answer> {
    const { key, value, expects } = write
    const sent = this.parts.weaken === 'ignore-if-match' ? { ...write, expects: null } : write
    const asked = { kind: 'kv-put', key, value, expects, attempt } as const
    return this.ask(asked, target, () => this.parts.requests.put(target, sent))
  }
}

type Write = {
  readonly key: string
  readonly value: string
  readonly idempotencyKey: string | null
  readonly expects: number | null
}

export class Reader extends Client {
  protected async perform(): Promise<void> {
    const target = this.home()
    if (target === undefined) return
    const { requests, weaken } = this.parts
    const key = this.sharedKey()
    const asked = { kind: 'kv-get', key, expects: null, attempt: 1 } as const
    const consistency = weaken === 'stale-reads' ? 'stale' : 'linearizable'
    const answer = await this.ask(asked, target, () => requests.get(target, key, consistency))
    if (answer.outcome !== 'ok') await this.pause(failurePauseMs)
  }
}

/** Reads what its node has, which may be old, and must not become older. */
export class StaleReader extends Client {
  protected async perform(): Promise<void> {
    const home = this.home()
    const target = this.parts.weaken === 'mixed-nodes' ? this.anyTarget() : home
    if (target === undefined || home === undefined) return
    const key = this.sharedKey()
    const asked = { kind: 'kv-stale-get', key, expects: null, attempt: 1 } as const
    const answer = await this.ask(asked, home, () => this.parts.requests.get(target, key, 'stale'))
    if (answer.outcome !== 'ok') await this.pause(failurePauseMs)
  }
}

/** Calls the counting tool in sessions that it keeps, one on each node that it has come to. */
export class Caller extends Client {
  readonly #sessions = new Map<string, RawSession>()

  protected async perform(id: string): Promise<void> {
    let target = this.home()
    for (let attempt = 1; target !== undefined; attempt += 1) {
      const at = target
      const asked = { kind: 'call', key: id, expects: null, attempt } as const
      const { outcome } = await this.ask(asked, at, () => this.#call(at, id, attempt))
      if (outcome === 'ok') return
      await this.pause(failurePauseMs)
      if (outcome === 'unknown' || attempt === callAttemptsMax || this.parts.stopped.aborted) return
      target = this.otherTarget(at)
    }
  }

  async #call(target: NodeTarget, id: string, attempt: number): Promise<Answer> {
    const { requests } = this.parts
    const key = `${target.id} ${target.mcpUrl}`
    let session = this.#sessions.get(key)
    if (session === undefined) {
      try {
        session = await requests.openSession(target)
      } catch (cause) {
        const why = `no session: ${cause instanceof Error ? cause.message : String(cause)}`
        return { outcome: 'refused', why: why.slice(0, 80), value: null, revision: null }
      }
      this.#sessions.set(key, session)
    }
    const { isGone, ...answer } = await requests.call(session, { name: countingTool, arguments: { id, attempt } })
    if (isGone) this.#sessions.delete(key)
    if (answer.outcome === 'ok' && answer.value !== id)
      return { ...answer, outcome: 'unknown', why: `answered as ${answer.value}` }
    return answer
  }
}
