import { frameHeaderBytes } from './frame.ts'

/** The lanes of both listeners and what each may carry. Sizes are of whole frames, in bytes. */
export type LaneLimits = {
  /** A larger frame closes the connection at the receiver; `send` refuses it. */
  readonly frameBytesMax: number
  /** While more than this waits in the socket's send buffer, `send` says false. */
  readonly sendBufferBytesMax: number
}

const MiB = 1024 * 1024

/** Bytes of a snapshot in one frame, and of a whole one. */
export const snapshotChunkBytesMax = 1 * MiB
export const snapshotBytesMax = 1024 * MiB

/**
 * `ctl` carries what must not wait: votes, heartbeats, acknowledgements, reads, forming. `log` carries append requests and
 * proposals: a frame holds up to 1 MiB of entries and one more entry of up to 2 MiB. `bulk` carries snapshots, a chunk a
 * frame; little of it may lie in a send buffer, since all lanes share one way to the peer.
 */
export const raftLanes = {
  ctl: { frameBytesMax: 4 * MiB, sendBufferBytesMax: 4 * MiB },
  log: { frameBytesMax: 4 * MiB, sendBufferBytesMax: 4 * MiB },
  bulk: { frameBytesMax: snapshotChunkBytesMax + 64 * 1024, sendBufferBytesMax: 1 * MiB },
} as const satisfies Record<string, LaneLimits>

/**
 * `calls` carries forwarded calls and what comes back. `gossip` carries gossip, and little of it may wait: what is late is
 * worth less than what comes next.
 */
export const peerLanes = {
  calls: { frameBytesMax: 16 * MiB, sendBufferBytesMax: 32 * MiB },
  gossip: { frameBytesMax: 64 * 1024, sendBufferBytesMax: 256 * 1024 },
} as const satisfies Record<string, LaneLimits>

/** What is left for the payload of a frame. */
export function payloadBytesMax(limits: LaneLimits): number {
  return limits.frameBytesMax - frameHeaderBytes
}
