import { deferred } from '../std/deferred.ts'
import type { Deferred } from '../std/deferred.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ClusterEventView, ClusterEventsView } from '../admin/needs.ts'
import type { Configuration } from '../raft/configuration.ts'
import type { RaftStatus } from '../raft/effects.ts'
import { isMember } from '../raft/quorum.ts'
import type { MemberEvent } from '../gossip/effects.ts'
import type { SaidDraining } from './draining-members.ts'

/**
 * What happens in the cluster as this node sees it: gossip's events and Raft's, told to whoever listens. A listener that
 * does not take them is ended with `overloaded`, never told with a gap.
 */
export class ClusterEvents {
  readonly #now: () => number
  readonly #feeds = new Set<Feed>()
  #leader: string | null = null
  #configuration: Configuration | null = null
  /** The newest that is not joint. */
  #settled: Configuration | null = null
  /** Why this node's autopilot changes how the node counts; told once. */
  #explained: { readonly node: NodeId; readonly why: string } | null = null
  #isStopped = false

  /** `now`: wall time, ms. */
  constructor(now: () => number) {
    this.#now = now
  }

  memberChanged({ kind, node, generation, incarnation, by }: MemberEvent): void {
    const told = kind === 'refuted' ? 'alive' : kind
    this.#tell({ kind: told, time: this.#now(), node, generation, incarnation, by })
  }

  drainingChanged(node: NodeId, kind: SaidDraining): void {
    this.#tell({ kind, time: this.#now(), node })
  }

  raftChanged(raft: RaftStatus | null): void {
    if (raft === null) return
    const { leader, term, configuration, isConfigurationCommitted } = raft
    if (leader !== this.#leader) {
      this.#leader = leader
      this.#tell({ kind: 'leader-changed', time: this.#now(), leader, term })
    }
    if (!isConfigurationCommitted || sameMembers(configuration, this.#configuration)) return
    const isFirst = this.#configuration === null
    this.#configuration = configuration
    const { voters, votersOutgoing, learners } = configuration
    if (!isFirst) this.#tell({ kind: 'configuration-changed', time: this.#now(), voters, votersOutgoing, learners })
    if (votersOutgoing.length > 0) return
    if (this.#settled !== null) this.#tellChanges(this.#settled, configuration)
    this.#settled = configuration
  }

  /** What is about to happen to the node, and why; null: it did not happen. */
  explain(node: NodeId, why: string | null): void {
    this.#explained = why === null ? null : { node, why }
  }

  #tellChanges(from: Configuration, to: Configuration): void {
    for (const node of to.voters) if (!from.voters.includes(node)) this.#tellChange('promoted', node)
    for (const node of [...from.voters, ...from.learners]) if (!isMember(to, node)) this.#tellChange('removed', node)
  }

  #tellChange(kind: 'promoted' | 'removed', node: NodeId): void {
    const reason = this.#explained?.node === node ? this.#explained.why : null
    if (reason !== null) this.#explained = null
    this.#tell({ kind, time: this.#now(), node, reason })
  }

  /** From now on. Error: `overloaded`. */
  open(): ClusterEventsView {
    if (this.#isStopped) throw new OperatingError('stopped', 'events: this node is stopping')
    if (this.#feeds.size >= feedsMax)
      throw new OperatingError('overloaded', `events: this node tells them to ${feedsMax} already`, {
        retry: 'elsewhere',
      })
    const feed: Feed = { waiting: [], isClosed: false, ended: null, taker: null }
    this.#feeds.add(feed)
    return {
      take: () => take(feed),
      close: () => this.#end(feed, null),
    }
  }

  stop(): void {
    this.#isStopped = true
    for (const feed of this.#feeds) this.#end(feed, new OperatingError('stopped', 'events: this node is stopping'))
  }

  #tell(event: ClusterEventView): void {
    for (const feed of this.#feeds) {
      feed.waiting.push(event)
      feed.taker?.resolve()
      if (feed.waiting.length <= waitingMax) continue
      this.#end(feed, new OperatingError('overloaded', `events: more than ${waitingMax} wait to be read; begin anew`))
    }
  }

  #end(feed: Feed, why: OperatingError | null): void {
    this.#feeds.delete(feed)
    feed.isClosed = true
    feed.ended ??= why
    feed.taker?.resolve()
  }
}

type Feed = {
  waiting: ClusterEventView[]
  isClosed: boolean
  ended: OperatingError | null
  taker: Deferred<void> | null
}

/** Listeners at once, and events that wait for one of them. */
const feedsMax = 64
const waitingMax = 256

async function take(feed: Feed): Promise<readonly ClusterEventView[]> {
  if (feed.waiting.length === 0 && !feed.isClosed) {
    feed.taker = deferred()
    await feed.taker.promise
    feed.taker = null
  }
  if (feed.ended !== null) throw feed.ended
  return feed.waiting.splice(0)
}

function sameMembers(a: Configuration, b: Configuration | null): boolean {
  const text = ({ voters, votersOutgoing, learners }: Configuration): string =>
    [voters, votersOutgoing, learners].map((ids) => ids.join(' ')).join(',')
  return b !== null && text(a) === text(b)
}
