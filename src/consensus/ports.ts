import type { Clock } from '../std/clock.ts'
import type { LogStore } from '../storage/log-store.ts'
import type { SnapshotStore } from '../storage/snapshot-store.ts'
import type { AdmitPeer, PeerHello, Transport } from '../transport/transport.ts'
import type { ClusterId } from '../vocabulary/ids.ts'

/** All that the loop does not decide by itself comes in here: disk, network, time, chance. */
export type ConsensusPorts = {
  readonly store: LogStore
  readonly snapshots: SnapshotStore
  readonly makeTransport: (link: { hello: () => PeerHello; admit: AdmitPeer; frameRejected: () => void }) => Transport
  readonly clock: Clock
  /** Runs after the input that is there has been read: `setImmediate`. */
  readonly afterIo: (run: () => void) => void
  /** Of Raft's random numbers. */
  readonly seed: number
  /** Random id of this process. */
  readonly boot: string
  /** The new cluster's id, if this node comes to propose one. */
  readonly newClusterId: ClusterId
  /** What is free on the disk of the data directory. */
  readonly freeBytes: () => Promise<number>
  /** The largest delay of the event loop since the last call, ms. */
  readonly takeLoopDelayMs: () => number
}
