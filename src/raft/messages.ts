import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { ConfigurationChange } from './configuration.ts'
import type { Entry, Index, Term } from './entry.ts'

/**
 * What Raft nodes say to each other. `term` is the sender's current term, except in a pre-vote request, where it is the
 * term the sender would campaign in (thesis 9.6), and in the response that grants it, which repeats that term. A
 * `propose` is delivered at most once; every other message may be lost, repeated, or late. Who sends is a node of the same
 * cluster (the transport proves it), but not always a member of the configuration that the receiver knows: a node that lags
 * has to hear the leader, and answer the candidate, of a configuration that it has not got yet.
 */
export type Message = { readonly from: NodeId; readonly to: NodeId; readonly term: Term } & MessageBody

export type MessageBody =
  | { readonly kind: 'pre-vote-request'; readonly lastIndex: Index; readonly lastTerm: Term }
  | { readonly kind: 'pre-vote-response'; readonly granted: boolean }
  | {
      readonly kind: 'vote-request'
      readonly lastIndex: Index
      readonly lastTerm: Term
      /** The leader asked for this campaign: who has just heard the leader answers all the same (thesis 3.10). */
      readonly transfer: boolean
    }
  | { readonly kind: 'vote-response'; readonly granted: boolean }
  | {
      readonly kind: 'append-request'
      readonly prevIndex: Index
      readonly prevTerm: Term
      readonly entries: readonly Entry[]
      readonly commit: Index
    }
  | { readonly kind: 'append-accepted'; readonly match: Index }
  | {
      readonly kind: 'append-rejected'
      /** The prevIndex of the request that is answered. */
      readonly prevIndex: Index
      /** Where the logs may agree at best: the follower's last index whose term is at most the request's prevTerm. */
      readonly hintIndex: Index
      readonly hintTerm: Term
    }
  /** `read`: the newest read context of this leader that waits for a majority, 0 for none; minted by the leader, never reused (R9). */
  /** `match`: what this leader counts the receiver for; a log that ends before it has lost what it acknowledged (recovery.ts). */
  | { readonly kind: 'heartbeat-request'; readonly commit: Index; readonly read: number; readonly match: Index }
  /** `isDiskFull`: the sender takes few more commands (full-disk.ts). */
  | { readonly kind: 'heartbeat-response'; readonly read: number; readonly isDiskFull: boolean }
  | { readonly kind: 'propose'; readonly id: ProposalId; readonly content: ProposalContent }
  | { readonly kind: 'propose-accepted'; readonly id: ProposalId; readonly index: Index }
  | { readonly kind: 'propose-refused'; readonly id: ProposalId; readonly why: RefusalReason }
  /** A follower asks for a read index; `id` is the follower's own and comes back (thesis 6.4). */
  | { readonly kind: 'read-request'; readonly id: number }
  | { readonly kind: 'read-response'; readonly id: number; readonly index: Index }
  | { readonly kind: 'read-refused'; readonly id: number }
  /** The follower has the snapshot (or a log beyond it) durable. Its bytes go on a lane of their own, by the driver. */
  | { readonly kind: 'snapshot-installed'; readonly index: Index }
  /** Campaign now, without pre-vote (thesis 3.10). */
  | { readonly kind: 'timeout-now' }
  /**
   * In the place of every answer of a node that has lost what it promised: to be counted for nothing, and told from where on
   * it may count again (recovery.ts). `nonce` is of its process and attempt, and comes back.
   */
  | { readonly kind: 'recovery-request'; readonly nonce: number }
  /** The receiver may count once it has the entry at `index` and hears from this leader, in this term, that it is committed. */
  | { readonly kind: 'recovery-response'; readonly nonce: number; readonly index: Index }

export type ProposalContent =
  | { readonly kind: 'command'; readonly data: Uint8Array }
  | { readonly kind: 'change'; readonly change: ConfigurationChange }

export type MessageKind = MessageBody['kind']

/**
 * Why a proposal was not, or is no longer, on its way. All but the last say that it provably never entered a log;
 * `overwritten`, that it did and a newer leader's entry stands in its place, so that it will never be committed.
 */
export type RefusalReason =
  | 'no-leader'
  | 'not-leader'
  | 'transferring'
  | 'overloaded'
  | 'too-large'
  /** The leader's disk, or those of so many voters that no majority has room, are full up to what nodes keep for themselves. */
  | 'disk-full'
  /** Another change is not committed yet, or this leader has committed nothing of its own term yet. */
  | 'change-under-way'
  /** The change makes no sense now: it is so already, or would leave no voter. */
  | 'change-refused'
  | 'overwritten'
