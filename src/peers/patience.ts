import type { NodeId } from '../vocabulary/ids.ts'

/**
 * How long a peer that says nothing is waited for on the links of the main thread. That alone does not tell a dead node from
 * one whose main thread blocks for seconds, as at a huge JSON text; but the consensus threads have lanes of their own, which
 * such a thread does not silence. So a peer is lost, and waited for shortly, once consensus has lost its lanes to it too. Of a
 * node to which consensus has no lanes, or had none yet, nothing more is known: it is given the long time.
 *
 * What a call has to wait for its outcome, from the last sign of a node that died without a word: until its link is ended, a
 * heartbeat after its liveness at the latest and not before consensus has lost it, then until the wait for a new link is over.
 * - Lost, with the default election timeout of 1 s: 1.5 to 2 s, then 0.5 s. The promise is 3 s.
 * - With another election timeout, consensus takes that and two of its heartbeats to lose a peer, and tells 50 ms later: where
 *   that comes after those 2 s, the next heartbeat here ends the link. So the 3 s hold up to 1.5 s of it.
 * - Never later than 3.5 to 4 s, then 2 s, which is also how long it takes where consensus has no lanes.
 */
export class Patience {
  readonly #self: NodeId
  /** Members to which consensus has, or had, its lanes. */
  #reached: ReadonlySet<NodeId> = new Set()
  #lost: ReadonlySet<NodeId> = new Set()

  constructor(self: NodeId) {
    this.#self = self
  }

  /** Told whenever consensus says to whom it has its lanes. */
  follow(members: Members | null, connected: readonly NodeId[]): void {
    const { voters, votersOutgoing, learners } = members ?? { voters: [], votersOutgoing: [], learners: [] }
    const voting = [...voters, ...votersOutgoing]
    // Two nodes that do not vote need no lanes to each other.
    const linked = voting.includes(this.#self) ? [...voting, ...learners] : voting
    this.#reached = new Set(linked.filter((member) => this.#reached.has(member) || connected.includes(member)))
    this.#lost = new Set([...this.#reached].filter((member) => !connected.includes(member)))
  }

  /** Silence after which a link to the peer is ended. */
  livenessMs(peer: NodeId): number {
    return this.#lost.has(peer) ? lostLivenessMs : livenessMs
  }

  /** How long a new link to the node is waited for where a call of ours is there; asked again while somebody waits. */
  linkWaitMs(node: NodeId): number {
    return this.#lost.has(node) ? lostLinkWaitMs : linkWaitMs
  }
}

/** As Raft counts them. */
export type Members = {
  readonly voters: readonly NodeId[]
  readonly votersOutgoing: readonly NodeId[]
  readonly learners: readonly NodeId[]
}

/** Each link is pinged this often. */
export const peerHeartbeatMs = 500
/** A main thread may block for this long. */
export const livenessMs = 3000
/** Three heartbeats have to pass without an answer: a link whose other end lives has one in each. */
const lostLivenessMs = 1000
/** What broke a link between living nodes is often over by then. */
const linkWaitMs = 2000
/** Where only the links broke, both threads dial again at once, and one that gets through is enough. */
const lostLinkWaitMs = 500
