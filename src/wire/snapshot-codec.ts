import { decodeConfiguration, encodeConfiguration } from '../raft/configuration.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { Term } from '../raft/entry.ts'
import { unreachable } from '../std/assert.ts'
import type { Malformed } from './frame.ts'
import { frameTypes } from './frame-types.ts'
import { snapshotBytesMax, snapshotChunkBytesMax } from './limits.ts'
import { copyBytes, cutText, isIndex, isText, pack, unpack } from './pack.ts'

/**
 * What is said on the `bulk` lane. The receiver pulls: each `snapshot-resume` asks for one chunk, so no more than one is
 * ever on its way, and a transfer whose connection broke goes on where the receiver's disk ends. `transfer` is minted by
 * the sender for each offer and comes back, so that an answer to an earlier offer is known as one.
 */
export type SnapshotMessage =
  | {
      readonly kind: 'snapshot-offer'
      readonly transfer: number
      /** The leader's. */
      readonly term: Term
      readonly snapshot: SnapshotMeta
      /** Bytes of the whole as stored. */
      readonly size: number
    }
  /** The chunk from this offset on is wanted. */
  | { readonly kind: 'snapshot-resume'; readonly transfer: number; readonly offset: number }
  | {
      readonly kind: 'snapshot-chunk'
      readonly transfer: number
      readonly offset: number
      /** A view of the received bytes once decoded: copy what is kept. */
      readonly bytes: Uint8Array
    }
  /** Whole, verified and durable at the receiver, or not needed there any more. */
  | { readonly kind: 'snapshot-end'; readonly transfer: number }
  | { readonly kind: 'snapshot-refuse'; readonly transfer: number; readonly why: string }

export function encodeSnapshotMessage(message: SnapshotMessage): { type: number; payload: Uint8Array } {
  const type = frameTypes[message.kind]
  const { transfer } = message
  switch (message.kind) {
    case 'snapshot-offer': {
      const { index, term, time, configuration } = message.snapshot
      const snapshot = [index, term, time, encodeConfiguration(configuration)]
      return { type, payload: pack([transfer, message.term, snapshot, message.size]) }
    }
    case 'snapshot-resume':
      return { type, payload: pack([transfer, message.offset]) }
    case 'snapshot-chunk':
      return { type, payload: pack([transfer, message.offset, message.bytes]) }
    case 'snapshot-end':
      return { type, payload: pack([transfer]) }
    case 'snapshot-refuse':
      return { type, payload: pack([transfer, cutText(message.why, whyCharsMax)]) }
    default:
      return unreachable(message)
  }
}

export function decodeSnapshotMessage(type: number, payload: Uint8Array): SnapshotMessage | Malformed {
  const fields = unpack(payload)
  if ('malformed' in fields) return fields
  return messageOf(type, fields) ?? { malformed: `frame type ${type} does not hold what it should` }
}

const whyCharsMax = 1000

function messageOf(type: number, fields: readonly unknown[]): SnapshotMessage | null {
  const [transfer, a, b, c] = fields
  if (!isIndex(transfer)) return null
  switch (type) {
    case frameTypes['snapshot-offer']: {
      const snapshot = snapshotOf(b)
      if (!isIndex(a) || snapshot === null || !isSize(c) || c === 0 || snapshot.term > a) return null
      return { kind: 'snapshot-offer', transfer, term: a, snapshot, size: c }
    }
    case frameTypes['snapshot-resume']:
      return isSize(a) ? { kind: 'snapshot-resume', transfer, offset: a } : null
    case frameTypes['snapshot-chunk']:
      if (!isSize(a) || !(b instanceof Uint8Array) || b.length === 0 || b.length > snapshotChunkBytesMax) return null
      return { kind: 'snapshot-chunk', transfer, offset: a, bytes: new Uint8Array(b.buffer, b.byteOffset, b.length) }
    case frameTypes['snapshot-end']:
      return { kind: 'snapshot-end', transfer }
    case frameTypes['snapshot-refuse']:
      return isText(a, whyCharsMax) ? { kind: 'snapshot-refuse', transfer, why: a } : null
    default:
      return null
  }
}

function snapshotOf(value: unknown): SnapshotMeta | null {
  if (!Array.isArray(value)) return null
  const [index, term, time, bytes] = value as readonly unknown[]
  if (!isIndex(index) || !isIndex(term) || !isIndex(time) || index < 1 || term < 1) return null
  if (!(bytes instanceof Uint8Array)) return null
  const configuration = decodeConfiguration(copyBytes(bytes))
  return configuration === undefined ? null : { index, term, time, configuration }
}

function isSize(value: unknown): value is number {
  return isIndex(value) && value <= snapshotBytesMax
}
