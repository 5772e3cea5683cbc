import type { NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { Entry, Index, Term } from './entry.ts'

/**
 * What Raft nodes say to each other. `term` is the sender's current term, except in a pre-vote request, where it is the
 * term the sender would campaign in (thesis 9.6), and in the response that grants it, which repeats that term. A
 * `propose` is delivered at most once; every other message may be lost, repeated, or late. Later kinds are added at the
 * end of the union: install-snapshot, read-index, timeout-now.
 */
export type Message = { readonly from: NodeId; readonly to: NodeId; readonly term: Term } & MessageBody

export type MessageBody =
  | { readonly kind: 'pre-vote-request'; readonly lastIndex: Index; readonly lastTerm: Term }
  | { readonly kind: 'pre-vote-response'; readonly granted: boolean }
  | { readonly kind: 'vote-request'; readonly lastIndex: Index; readonly lastTerm: Term }
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
  | { readonly kind: 'heartbeat-request'; readonly commit: Index }
  | { readonly kind: 'heartbeat-response' }
  | { readonly kind: 'propose'; readonly id: ProposalId; readonly data: Uint8Array }
  | { readonly kind: 'propose-accepted'; readonly id: ProposalId; readonly index: Index }
  | { readonly kind: 'propose-refused'; readonly id: ProposalId; readonly why: RefusalReason }

export type MessageKind = MessageBody['kind']

/**
 * Why a proposal was not, or is no longer, on its way. The first four say that it provably never entered a log;
 * `overwritten`, that it did and a newer leader's entry stands in its place, so that it will never be committed.
 */
export type RefusalReason = 'no-leader' | 'not-leader' | 'overloaded' | 'too-large' | 'overwritten'
