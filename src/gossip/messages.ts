import { unreachable } from '../std/assert.ts'
import type { NodeId } from '../vocabulary/ids.ts'

/**
 * What gossiping nodes say to each other, as plain data; wire/ encodes it. Every message names the process that sends it and
 * carries claims about members on its back (SWIM paper 4.1, "infection-style dissemination").
 */
export type GossipMessage = GossipHeader & GossipBody

export type GossipHeader = {
  readonly from: Sender
  readonly to: NodeId
  /** About the receiver first, where it is accused (Lifeguard's buddy system), then what the queue holds: `claimsBytesMax` in all. */
  readonly claims: readonly Claim[]
}

/** The process that speaks: being heard is a claim that it is alive. */
export type Sender = {
  readonly node: NodeId
  readonly generation: number
  readonly incarnation: number
  /** `HOST:PORT` of its peer listener. Never changes within a generation. */
  readonly address: string
}

export type GossipBody =
  /** SWIM 3.1: direct probe; answered by `ack` at once. */
  | { readonly kind: 'ping'; readonly seq: number }
  /** Indirect probe: "ping the target for me". Answered by `ack`, or by `nack` when the target is silent (Lifeguard). */
  | { readonly kind: 'ping-request'; readonly seq: number; readonly target: NodeId }
  | { readonly kind: 'ack'; readonly seq: number }
  | { readonly kind: 'nack'; readonly seq: number }
  /** Claims only. */
  | { readonly kind: 'news' }
  /** Push-pull anti-entropy: what the sender knows of members, itself apart. */
  | { readonly kind: 'exchange-request'; readonly members: readonly Claim[] }
  | { readonly kind: 'exchange-response'; readonly members: readonly Claim[] }
  /** Scuttlebutt: how far the sender knows the key-values of each live member that it knows, itself included. */
  | { readonly kind: 'digest-request'; readonly digest: readonly DigestEntry[] }
  /** What the asker lacks, and (`digest`) the owners of which the asker has more, as far as the sender has them. */
  | { readonly kind: 'digest-response'; readonly digest: readonly DigestEntry[]; readonly deltas: readonly Delta[] }
  | { readonly kind: 'deltas'; readonly deltas: readonly Delta[] }

export type MemberStatus = 'alive' | 'suspect' | 'dead' | 'left'

/** What somebody says about one process of a node. `member.ts` says which of two claims holds. */
export type Claim = {
  readonly node: NodeId
  /** Boot generation: rises with every start of the node. */
  readonly generation: number
  /** Raised by the process itself, and by nobody else, to refute what is said about it. From 0. */
  readonly incarnation: number
  readonly status: MemberStatus
  readonly address: string
  /** Who says so: of an accusation the accuser; each counts once (Lifeguard 4.2). */
  readonly by: NodeId
  /** Of the dead and left: ticks since then, as far as known. Otherwise 0. */
  readonly age: number
}

/** Up to which versions the key-values of an owner's generation are known; 0: none. */
export type DigestEntry = {
  readonly owner: NodeId
  readonly generation: number
  readonly state: number
  readonly gauges: number
}

export type Delta = {
  readonly owner: NodeId
  readonly generation: number
  readonly state: StateDelta | null
  readonly gauges: GaugeDelta | null
}

/** All that changed after version `since` up to `upTo`. From 0: the whole, in the place of whatever was known before. */
export type StateDelta = {
  readonly since: number
  readonly upTo: number
  /** The owner has forgotten the tombstones up to here; who knows less needs the whole. At most `upTo`. */
  readonly forgottenUpTo: number
  readonly entries: readonly { readonly key: string; readonly value: string | null; readonly version: number }[]
}

/** All gauges of the owner: they travel together, and a newer set takes the place of the older one. */
export type GaugeDelta = {
  readonly version: number
  readonly entries: readonly { readonly key: string; readonly value: number }[]
}

/** About how long it is on the wire, never much less: what the budgets count. */
export function messageBytes(message: GossipMessage): number {
  const bytes = 40 + textBytes(message.from.node) + textBytes(message.to) + textBytes(message.from.address)
  return bytes + sumOf(message.claims, claimBytes) + bodyBytes(message)
}

function bodyBytes(body: GossipBody): number {
  switch (body.kind) {
    case 'ping-request':
      return 10 + textBytes(body.target)
    case 'exchange-request':
    case 'exchange-response':
      return sumOf(body.members, claimBytes)
    case 'digest-request':
      return digestBytes(body.digest)
    case 'digest-response':
      return digestBytes(body.digest) + sumOf(body.deltas, deltaBytes)
    case 'deltas':
      return sumOf(body.deltas, deltaBytes)
    case 'ping':
    case 'ack':
    case 'nack':
    case 'news':
      return 9
    default:
      return unreachable(body)
  }
}

export function claimBytes({ node, address, by }: Claim): number {
  return 20 + textBytes(node) + textBytes(address) + textBytes(by)
}

export function digestBytes(digest: readonly DigestEntry[]): number {
  return sumOf(digest, digestEntryBytes)
}

export function digestEntryBytes({ owner }: DigestEntry): number {
  return 16 + textBytes(owner)
}

function deltaBytes({ owner, state, gauges }: Delta): number {
  return (
    12 +
    textBytes(owner) +
    (state === null ? 1 : stateDeltaBytes(state)) +
    (gauges === null ? 1 : gaugeDeltaBytes(gauges))
  )
}

export function stateDeltaBytes({ entries }: StateDelta): number {
  return 20 + sumOf(entries, stateEntryBytes)
}

export function gaugeDeltaBytes({ entries }: GaugeDelta): number {
  return 12 + sumOf(entries, gaugeEntryBytes)
}

export function stateEntryBytes({ key, value }: { readonly key: string; readonly value: string | null }): number {
  return 12 + textBytes(key) + (value === null ? 1 : textBytes(value))
}

export function gaugeEntryBytes({ key }: { readonly key: string }): number {
  return 12 + textBytes(key)
}

/** Length in UTF-8. */
export function textBytes(text: string): number {
  let bytes = 0
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at)
    bytes += unit < 0x80 ? 1 : unit < 0x800 ? 2 : unit >= 0xd800 && unit <= 0xdfff ? 2 : 3
  }
  return bytes
}

function sumOf<T>(list: readonly T[], bytesOf: (item: T) => number): number {
  return list.reduce((sum, item) => sum + bytesOf(item), 0)
}
