import type { NodeId } from '../../src/vocabulary/ids.ts'
import { encodeWrite } from './key-value.ts'
import type { Operation } from './linearizability.ts'
import type { Answer, SimNode } from './sim-node.ts'
import type { Stream } from './streams.ts'
import type { World } from './world.ts'

/**
 * A client: one operation after the other, on whichever node answers. A numbered write is repeated until it is
 * acknowledged, as one whose state machine knows it again; a plain one never is, and an answer that does not come leaves
 * it open for ever. What it did and saw is the history that the linearizability check judges.
 */
export class Client {
  readonly name: string
  readonly #history: Operation[] = []
  /** The write that waits for its answer. */
  #open: Operation | null = null
  /** Since the cluster was healed. */
  doneSinceHealing = { writes: 0, reads: 0 }
  isHealed = false
  readonly #parts: ClientParts
  #node: NodeId | null = null
  #number = 0
  #isStopped = false
  /** Rises with every attempt: an answer to an earlier one is nobody's. */
  #attempt = 0

  constructor(name: string, parts: ClientParts) {
    this.name = name
    this.#parts = parts
  }

  /** What it did so far. */
  history(): readonly Operation[] {
    return this.#open === null ? this.#history : [...this.#history, this.#open]
  }

  start(): void {
    this.#later(this.#parts.stream.around(this.#parts.thinkUs), () => this.#next())
  }

  stop(): void {
    this.#isStopped = true
  }

  #next(): void {
    if (this.#isStopped) return
    const { stream, keys, world } = this.#parts
    const key = `k${stream.below(keys)}`
    const operation = { client: this.name, key, calledUs: world.nowUs, counted: this.isHealed }
    if (stream.chance(500)) this.#read(operation)
    else this.#write({ ...operation, value: `${this.name}-${(this.#number += 1)}` }, stream.chance(600))
  }

  #write(operation: Started & { value: string }, isNumbered: boolean): void {
    const { stream } = this.#parts
    const { key, value, calledUs } = operation
    const number = isNumbered ? this.#number : 0
    const padding = stream.chance(900) ? stream.below(40) : stream.below(1500)
    const data = encodeWrite({ key, value, client: this.name, number }, padding)
    const operationMade = { client: this.name, key, kind: 'write' as const, value, calledUs }
    this.#open = { ...operationMade, answeredUs: Infinity }
    const finish = (answeredUs: number): void => {
      this.#open = null
      this.#history.push({ ...operationMade, answeredUs })
      if (answeredUs !== Infinity && operation.counted) this.doneSinceHealing.writes += 1
      this.#rest()
    }
    this.#ask(
      (node, answer) => node.life?.write(data, answer),
      (answer) => {
        if (answer?.kind === 'done') finish(this.#parts.world.nowUs)
        else if (isNumbered && !this.#isStopped) this.#again(() => this.#repeatWrite(operation, data, finish))
        else if (answer === null || isNumbered) finish(Infinity)
        else {
          this.#open = null
          this.#rest()
        }
      },
    )
  }

  #repeatWrite(operation: Started & { value: string }, data: Uint8Array, finish: (answeredUs: number) => void): void {
    this.#ask(
      (node, answer) => node.life?.write(data, answer),
      (answer) => {
        if (answer?.kind === 'done') finish(this.#parts.world.nowUs)
        else if (this.#isStopped) finish(Infinity)
        else this.#again(() => this.#repeatWrite(operation, data, finish))
      },
    )
  }

  #read(operation: Started): void {
    const { world, seenIndex } = this.#parts
    const { key } = operation
    const calledUs = world.nowUs
    const seen = seenIndex()
    this.#ask(
      (node, answer) => node.life?.read(key, answer),
      (answer) => {
        if (answer?.kind === 'done') {
          if (answer.index < seen)
            world.violate(
              'a read sees what was acknowledged before it',
              `${this.name} on ${this.#node}: ${answer.index} of ${seen}`,
            )
          this.#parts.saw(answer.index)
          this.#history.push({
            client: this.name,
            key,
            kind: 'read',
            value: answer.value,
            calledUs,
            answeredUs: world.nowUs,
          })
          if (operation.counted) this.doneSinceHealing.reads += 1
          this.#rest()
        } else if (this.#isStopped) this.#rest()
        else this.#again(() => this.#read({ ...operation, counted: this.isHealed }))
      },
    )
  }

  /** Null: no answer came in time. */
  #ask(ask: (node: SimNode, answer: (answer: Answer) => void) => void, done: (answer: Answer | null) => void): void {
    const { stream, world } = this.#parts
    const attempt = (this.#attempt += 1)
    const end = (answer: Answer | null): void => {
      if (attempt !== this.#attempt) return
      this.#attempt += 1
      if (answer === null || answer.kind === 'refused') this.#node = null
      done(answer)
    }
    const node = this.#choose()
    this.#later(this.#parts.timeoutUs, () => end(null))
    this.#later(stream.around(300), () => {
      if (attempt !== this.#attempt) return
      world.note(this.name, () => `asks ${node?.id ?? 'nobody'}`)
      if (node === undefined || node.life === null) {
        end({ kind: 'refused', why: 'nobody listens' })
        return
      }
      ask(node, (answer) => this.#later(stream.around(300), () => end(answer)))
    })
  }

  #choose(): SimNode | undefined {
    const { stream } = this.#parts
    const nodes = this.#parts.nodes()
    const known = nodes.find(({ id }) => id === this.#node)
    if (known !== undefined && !stream.chance(50)) return known
    const node = nodes.length === 0 ? undefined : stream.pick(nodes)
    this.#node = node?.id ?? null
    return node
  }

  #again(run: () => void): void {
    this.#later(5_000 + this.#parts.stream.around(30_000), run)
  }

  #rest(): void {
    this.#later(this.#parts.stream.around(this.#parts.thinkUs), () => this.#next())
  }

  #later(us: number, run: () => void): void {
    this.#parts.world.after(us, this.name, run)
  }
}

type Started = { readonly client: string; readonly key: string; readonly calledUs: number; readonly counted: boolean }

export type ClientParts = {
  readonly world: World
  readonly stream: Stream
  /** Whom it may ask. */
  readonly nodes: () => readonly SimNode[]
  readonly keys: number
  readonly thinkUs: number
  readonly timeoutUs: number
  readonly seenIndex: () => number
  readonly saw: (index: number) => void
}
