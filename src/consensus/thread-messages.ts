import { assert } from '../std/assert.ts'
import { entryKinds } from '../raft/entry.ts'
import type { Entry, Index } from '../raft/entry.ts'
import type { ConfigurationChange } from '../raft/configuration.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { RefusalReason } from '../raft/messages.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import { OperatingError, describeError } from '../vocabulary/operating-error.ts'
import type { ErrorCode } from '../vocabulary/operating-error.ts'
import type { ConsensusEvents, ConsensusStarted, ConsensusStatus } from './consensus.ts'

/**
 * What passes between the main thread and the consensus thread, in order. Commands and entries travel in blocks, a column a
 * field, because a clone of many small objects costs more than all the rest of a message; errors as their code and text,
 * since a clone would lose what they are.
 */
export type ToThread =
  | { readonly kind: 'propose'; readonly block: ProposalBlock }
  | { readonly kind: 'propose-change'; readonly id: ProposalId; readonly change: ConfigurationChange }
  | { readonly kind: 'read'; readonly ids: readonly number[] }
  | { readonly kind: 'transfer'; readonly to: NodeId | null }
  | { readonly kind: 'applied'; readonly index: Index }
  | { readonly kind: 'save-snapshot'; readonly index: Index; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'learn-peer'; readonly node: NodeId; readonly raftAddress: string }
  | { readonly kind: 'condemn'; readonly why: string }
  | { readonly kind: 'stop' }

export type Command = { readonly id: ProposalId; readonly data: Uint8Array }

export type ProposalBlock = {
  readonly ids: readonly ProposalId[]
  readonly lengths: Uint32Array
  /** The data of all of them, one after the other. */
  readonly bytes: Uint8Array<ArrayBuffer>
}

export type FromThread =
  | { readonly kind: 'started'; readonly started: Omit<ConsensusStarted, 'consensus'> }
  | { readonly kind: 'start-failed'; readonly error: PlainError }
  /** So many proposals have reached the loop: there is room for others. */
  | { readonly kind: 'taken'; readonly count: number; readonly bytes: number }
  | { readonly kind: 'restore'; readonly snapshot: SnapshotMeta; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'committed'; readonly block: EntryBlock }
  | { readonly kind: 'refused'; readonly id: ProposalId; readonly why: RefusalReason }
  | { readonly kind: 'readable'; readonly id: number; readonly index: Index }
  | { readonly kind: 'read-refused'; readonly id: number }
  | { readonly kind: 'snapshot-wanted' }
  | { readonly kind: 'status'; readonly status: ConsensusStatus }
  | {
      readonly kind: 'log'
      readonly level: Parameters<ConsensusEvents['log']>[0]
      readonly event: string
      readonly fields: Record<string, unknown>
    }
  | { readonly kind: 'failed'; readonly error: PlainError }

/** Entries that follow each other. */
export type EntryBlock = {
  readonly firstIndex: Index
  readonly ids: readonly ProposalId[]
  /** Of each entry its term, the number of its kind, its time and the length of its data. */
  readonly numbers: Float64Array
  /** The data of all of them, one after the other. */
  readonly bytes: Uint8Array<ArrayBuffer>
}

export type PlainError = { readonly code: ErrorCode; readonly message: string; readonly cause: string | null }

export function packCommands(commands: readonly Command[]): ProposalBlock {
  return {
    ids: commands.map(({ id }) => id),
    lengths: Uint32Array.from(commands, ({ data }) => data.length),
    bytes: joinData(commands),
  }
}

export function unpackCommands({ ids, lengths, bytes }: ProposalBlock): Command[] {
  let at = 0
  return ids.map((id, position) => {
    const from = at
    at += lengths[position] ?? 0
    return { id, data: bytes.subarray(from, at) }
  })
}

/** The same bytes alone in a buffer that can change hands: copied only where they share theirs. */
export function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes
  const isAlone = buffer instanceof ArrayBuffer && bytes.byteLength === buffer.byteLength
  return isAlone ? new Uint8Array(buffer) : new Uint8Array(bytes)
}

/** In blocks of at most 1 MiB, but at least one entry each. */
export function packEntries(entries: readonly Entry[]): EntryBlock[] {
  const blocks: EntryBlock[] = []
  let from = 0
  while (from < entries.length) {
    let bytes = 0
    let to = from
    while (to < entries.length && (to === from || bytes + (entries[to]?.data.length ?? 0) <= blockBytesMax)) {
      bytes += entries[to]?.data.length ?? 0
      to += 1
    }
    blocks.push(packBlock(entries.slice(from, to)))
    from = to
  }
  return blocks
}

export function unpackEntries({ firstIndex, ids, numbers, bytes }: EntryBlock): Entry[] {
  let at = 0
  return ids.map((id, position) => {
    const column = position * numbersEach
    const kind = entryKinds[numbers[column + 1] ?? -1]
    assert(kind !== undefined, 'a block holds kinds of entries')
    const from = at
    at += numbers[column + 3] ?? 0
    return {
      index: firstIndex + position,
      term: numbers[column] ?? 0,
      kind,
      id,
      time: numbers[column + 2] ?? 0,
      data: bytes.subarray(from, at),
    }
  })
}

export function toPlainError(error: unknown): PlainError {
  if (!(error instanceof OperatingError))
    return { code: 'internal', message: 'run the consensus thread', cause: describeError(error) }
  const cause = error.cause === undefined ? null : describeError(error.cause)
  return { code: error.code, message: error.message, cause }
}

export function fromPlainError({ code, message, cause }: PlainError): OperatingError {
  return new OperatingError(code, message, cause === null ? {} : { cause: new Error(cause) })
}

const blockBytesMax = 1024 * 1024

const numbersEach = 4

function packBlock(entries: readonly Entry[]): EntryBlock {
  const numbers = new Float64Array(entries.length * numbersEach)
  for (const [position, { term, kind, time, data }] of entries.entries())
    numbers.set([term, entryKinds.indexOf(kind), time, data.length], position * numbersEach)
  return { firstIndex: entries[0]?.index ?? 0, ids: entries.map(({ id }) => id), numbers, bytes: joinData(entries) }
}

function joinData(parts: readonly { readonly data: Uint8Array }[]): Uint8Array<ArrayBuffer> {
  let length = 0
  for (const { data } of parts) length += data.length
  const bytes = new Uint8Array(length)
  let at = 0
  for (const { data } of parts) {
    bytes.set(data, at)
    at += data.length
  }
  return bytes
}
