import type { Entry, Index } from '../raft/entry.ts'
import type { ConfigurationChange } from '../raft/configuration.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { ProposalContent, RefusalReason } from '../raft/messages.ts'
import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import { OperatingError, describeError } from '../vocabulary/operating-error.ts'
import type { ErrorCode } from '../vocabulary/operating-error.ts'
import type { ConsensusEvents, ConsensusStarted, ConsensusStatus } from './consensus.ts'

/**
 * What passes between the main thread and the consensus thread, in order. Entries travel as one block of bytes that changes
 * hands without being copied; errors as their code and text, since a clone would lose what they are.
 */
export type ToThread =
  | { readonly kind: 'propose'; readonly proposals: readonly ThreadProposal[] }
  | { readonly kind: 'read'; readonly ids: readonly number[] }
  | { readonly kind: 'transfer'; readonly to: NodeId | null }
  | { readonly kind: 'applied'; readonly index: Index }
  | { readonly kind: 'save-snapshot'; readonly index: Index; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'learn-peer'; readonly node: NodeId; readonly raftAddress: string }
  | { readonly kind: 'condemn'; readonly why: string }
  | { readonly kind: 'stop' }

/** A command's `data` has a buffer of its own. */
export type ThreadProposal =
  | { readonly id: ProposalId; readonly data: Uint8Array<ArrayBuffer> }
  | { readonly id: ProposalId; readonly change: ConfigurationChange }

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

export type EntryBlock = {
  readonly heads: readonly (Omit<Entry, 'data'> & { readonly length: number })[]
  /** The data of all of them, one after the other. */
  readonly bytes: Uint8Array<ArrayBuffer>
}

export type PlainError = { readonly code: ErrorCode; readonly message: string; readonly cause: string | null }

export function toThreadProposal(id: ProposalId, content: ProposalContent): ThreadProposal {
  // A copy, because the buffer changes hands and may hold more than this.
  return content.kind === 'command' ? { id, data: new Uint8Array(content.data) } : { id, change: content.change }
}

export function contentOf(proposal: ThreadProposal): ProposalContent {
  return 'data' in proposal ? { kind: 'command', data: proposal.data } : { kind: 'change', change: proposal.change }
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
    blocks.push(packBlock(entries.slice(from, to), bytes))
    from = to
  }
  return blocks
}

export function unpackEntries({ heads, bytes }: EntryBlock): Entry[] {
  let at = 0
  return heads.map(({ length, ...head }) => {
    at += length
    return { ...head, data: bytes.subarray(at - length, at) }
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

function packBlock(entries: readonly Entry[], length: number): EntryBlock {
  const bytes = new Uint8Array(length)
  let at = 0
  const heads = entries.map(({ data, ...head }) => {
    bytes.set(data, at)
    at += data.length
    return { ...head, length: data.length }
  })
  return { heads, bytes }
}
