import type { Clock } from '../std/clock.ts'
import type { NodeId } from '../vocabulary/ids.ts'

/**
 * How long a peer that says nothing is waited for on the links of the main thread. That alone does not tell a dead node from
 * one whose main thread blocks for seconds, as at a huge JSON text; but the consensus threads have lanes of their own, which
 * such a thread does not silence. So a peer is lost, and waited for shortly, once consensus has no lane to it left either. Of a
 * node to which consensus has no lanes, or had none yet, nothing more is known: it is given the long time. So is one that was
 * lost just now: where something between living nodes resets all their connections at once, they need a moment for new ones,
 * of which any will do.
 *
 * What a call has to wait for its outcome, from the last sign of a node that died without a word: until its link is ended, a
 * heartbeat after its liveness at the latest and not before consensus has lost it, then until the wait for a new link is over.
 * - Lost, with the default election timeout of 1 s: 1.5 to 2 s, then 0.5 s. The promise is 3 s.
 * - With another election timeout, consensus takes that and two of its heartbeats to lose a peer, and tells 50 ms later; 1.25 s
 *   after that at the latest, or 0.5 s after the link has ended, it is over. So the 3 s hold up to 1.5 s of it.
 * - Never later than 3.5 to 4 s, then 2 s, which is also how long it takes where consensus has no lanes.
 */
export class Patience {
  readonly #options: PatienceOptions
  /** Members to which consensus has, or had, a lane. */
  #known: ReadonlySet<NodeId> = new Set()
  /** Those of them to which it has none, since when. */
  #lost: ReadonlyMap<NodeId, number> = new Map()

  constructor(options: PatienceOptions) {
    this.#options = options
  }

  /** Told whenever consensus says to whom it has a lane. */
  follow(members: Members | null, reached: readonly NodeId[]): void {
    const { self, clock } = this.#options
    const { voters, votersOutgoing, learners } = members ?? { voters: [], votersOutgoing: [], learners: [] }
    const voting = [...voters, ...votersOutgoing]
    // Two nodes that do not vote need no lanes to each other.
    const linked = voting.includes(self) ? [...voting, ...learners] : voting
    this.#known = new Set(linked.filter((member) => this.#known.has(member) || reached.includes(member)))
    const lost = [...this.#known].filter((member) => !reached.includes(member))
    this.#lost = new Map(lost.map((member) => [member, this.#lost.get(member) ?? clock.monotonic()]))
  }

  /** Silence after which a link to the peer is ended. */
  livenessMs(peer: NodeId): number {
    return this.#lost.has(peer) ? lostLivenessMs : livenessMs
  }

  /** How long a new link to the node is waited for where a call of ours is there; asked again while somebody waits. */
  linkWaitMs(node: NodeId): number {
    const sinceMs = this.#lost.get(node)
    const isGivenUp = sinceMs !== undefined && this.#options.clock.monotonic() - sinceMs >= returnMs
    return isGivenUp ? lostLinkWaitMs : linkWaitMs
  }
}

export type PatienceOptions = {
  readonly self: NodeId
  readonly clock: Pick<Clock, 'monotonic'>
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
/**
 * Both threads dial again at once, then with waits of 50 to 400 ms: each has tried a few times by then, and the system has sent
 * again what was lost of the first try, as it does after a second.
 */
const returnMs = 1150
/** Of a node that fell silent: by the time its link ends, `returnMs` are nearly over. */
const lostLinkWaitMs = 500
