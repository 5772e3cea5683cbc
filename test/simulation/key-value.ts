import type { Entry, Index } from '../../src/raft/entry.ts'
import { mix, mixText } from './streams.ts'

/**
 * The state machine of the simulation: registers by key, and for each client the newest of its numbered writes, so that
 * one that comes again does nothing. Its hash is of its content, not of its way there: a restored one has the same.
 */
export class KeyValue {
  index: Index = 0
  readonly #values = new Map<string, { value: string; index: Index }>()
  readonly #clients = new Map<string, { number: number; index: Index }>()
  #hash = 0

  get hash(): number {
    return this.#hash
  }

  get size(): number {
    return this.#values.size
  }

  value(key: string): string | null {
    return this.#values.get(key)?.value ?? null
  }

  /** Whether this entry changed something: false for a write that came again. */
  apply(entry: Entry): boolean {
    this.index = entry.index
    if (entry.kind !== 'command') return false
    const write = decodeWrite(entry.data)
    if (write === null) return false
    if (write.number !== 0) {
      const known = this.#clients.get(write.client)
      if (known !== undefined && known.number >= write.number) return false
      this.#forget('c', write.client, known)
      this.#clients.set(write.client, this.#remember('c', write.client, { number: write.number, index: entry.index }))
    }
    this.#forget('v', write.key, this.#values.get(write.key))
    this.#values.set(write.key, this.#remember('v', write.key, { value: write.value, index: entry.index }))
    return true
  }

  snapshot(): Uint8Array {
    return encoder.encode(JSON.stringify([this.index, [...this.#values], [...this.#clients]]))
  }

  static restore(bytes: Uint8Array): KeyValue {
    const [index, values, clients] = JSON.parse(decoder.decode(bytes)) as [
      Index,
      [string, { value: string; index: Index }][],
      [string, { number: number; index: Index }][],
    ]
    const machine = new KeyValue()
    machine.index = index
    for (const [key, value] of values) machine.#values.set(key, machine.#remember('v', key, value))
    for (const [key, value] of clients) machine.#clients.set(key, machine.#remember('c', key, value))
    return machine
  }

  #remember<T extends object>(kind: string, key: string, value: T): T {
    this.#hash = (this.#hash + hashOf(kind, key, value)) >>> 0
    return value
  }

  #forget(kind: string, key: string, value: object | undefined): void {
    if (value !== undefined) this.#hash = (this.#hash - hashOf(kind, key, value)) >>> 0
  }
}

export type Write = {
  readonly key: string
  readonly value: string
  readonly client: string
  /** Counts a client's writes; 0: a write that may not be repeated. */
  readonly number: number
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export function encodeWrite(write: Write, paddingBytes: number): Uint8Array {
  const { key, value, client, number } = write
  return encoder.encode(`${key} ${value} ${client} ${number} ${'.'.repeat(paddingBytes)}`)
}

/** Null: a command that changes nothing, such as the barrier of a read. */
export function decodeWrite(data: Uint8Array): Write | null {
  const [key, value, client, number] = decoder.decode(data).split(' ')
  if (key === undefined || value === undefined || client === undefined || number === undefined) return null
  return { key, value, client, number: Number(number) }
}

function hashOf(kind: string, key: string, value: object): number {
  let hash = mixText(0, kind)
  hash = mixText(hash, key)
  for (const part of Object.values(value))
    hash = typeof part === 'number' ? mix(hash, part) : mixText(hash, String(part))
  return hash
}
