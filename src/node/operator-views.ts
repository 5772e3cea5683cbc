import { isSessionId } from '../vocabulary/ids.ts'
import type { NodeId, ServerName } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { MetricsSample } from '../admin/metrics-sample.ts'
import type {
  AdminNeeds,
  CatalogItem,
  ClusterEventsView,
  MemberView,
  QuarantineView,
  RaftView,
  ReadLimits,
  Readiness,
  ServerView,
  SessionView,
  SnapshotView,
  ToolAnswer,
  ToolCall,
} from '../admin/needs.ts'
import type { KeptCalls } from '../calls/kept-calls.ts'
import type { Mailboxes } from '../calls/mailboxes.ts'
import type { RaftStatus } from '../raft/effects.ts'
import { isMember } from '../raft/quorum.ts'
import type { ConsensusStatus, QuarantineStatus } from '../consensus/consensus.ts'
import type { Catalog } from '../routing/catalog.ts'
import type { GossipDriver } from '../peers/gossip-driver.ts'
import type { Listing } from '../routing/listing.ts'
import type { Command, Replica } from '../state/command.ts'
import type { UpstreamStatus } from '../upstream/upstream.ts'
import type { UpstreamFigures } from '../upstream/upstreams.ts'
import type { AutopilotDriver } from './autopilot.ts'
import { autopilotView, voterWarnings } from './autopilot-views.ts'
import type { ClientSessions } from './client-sessions.ts'
import type { Cluster } from './cluster.ts'
import type { ClusterEvents } from './cluster-events.ts'
import type { Draining } from './draining.ts'
import type { Leadership } from './leadership.ts'
import { memberViews } from './member-views.ts'
import { metricsSample } from './metrics-sample.ts'
import type { NodeCommands } from './node-commands.ts'
import type { OperatorTokens } from './operator-tokens.ts'
import { sessionViews } from './session-views.ts'
import type { Snapshots } from './snapshots.ts'
import type { StateChecks } from './state-checks.ts'
import type { ToolCalls } from './tool-calls.ts'
import type { Traffic } from './traffic.ts'

/**
 * What operators see of a node, put together from the parts: the admin API's needs. Decides nothing; tells what this node
 * knows now, except the key-value functions, which go through the cluster.
 */
export class OperatorViews implements AdminNeeds {
  readonly #parts: OperatorParts

  constructor(parts: OperatorParts) {
    this.#parts = parts
  }

  status(): ReturnType<AdminNeeds['status']> {
    const { node, version, consensus, checks, autopilot } = this.#parts
    const { leader, term, commitIndex, appliedIndex, quarantine } = this.raft()
    const { isDiskFull: diskFull, raft } = consensus()
    const { index, agreed, diverged } = checks.outcome
    const stateCheck = { index, agreed, diverged }
    return {
      node,
      leader,
      term,
      commitIndex,
      appliedIndex,
      version,
      stateCheck,
      quarantine,
      diskFull,
      autopilot: autopilotView(autopilot.verdict),
      warnings: [...voterWarnings(raft), ...this.#parts.namingWarnings()],
    }
  }

  raft(): RaftView {
    const { consensus, cluster, node } = this.#parts
    const { raft, clusterId, quarantine } = consensus()
    return {
      id: node,
      clusterId,
      role: raft?.role ?? 'follower',
      term: raft?.term ?? 0,
      leader: raft?.leader ?? null,
      commitIndex: raft?.commitIndex ?? 0,
      appliedIndex: cluster.state.appliedIndex,
      lastIndex: raft?.lastIndex ?? 0,
      snapshotIndex: raft?.snapshotIndex ?? 0,
      firstIndex: raft?.firstIndex ?? 0,
      voters: raft?.configuration.voters ?? [],
      learners: raft?.configuration.learners ?? [],
      promotable: raft?.configuration.promotable ?? [],
      votersOutgoing: raft?.configuration.votersOutgoing ?? [],
      configurationCommitted: raft?.isConfigurationCommitted ?? false,
      recovering: raft?.isRecovering ?? false,
      quarantine: quarantine === null ? null : quarantineView(quarantine),
      progress: (raft?.progress ?? []).map(({ node: id, match, state, isActive, isRecovering, isDiskFull }) => ({
        id,
        matchIndex: match,
        state,
        active: isActive,
        recovering: isRecovering,
        diskFull: isDiskFull,
      })),
    }
  }

  members(): readonly MemberView[] {
    const { node, generation, cluster, gossip, consensus } = this.#parts
    return memberViews({
      self: node,
      generation,
      directory: cluster.state.members(),
      drains: cluster.state.drains(),
      raft: consensus().raft,
      gossip,
    })
  }

  servers(): readonly ServerView[] {
    const catalog = this.#parts.catalog()
    const groups = new Map<ServerName, ReplicaView[]>()
    for (const replica of this.#parts.cluster.state.replicas()) {
      groups.set(replica.server, [...(groups.get(replica.server) ?? []), this.#replica(replica)])
    }
    return [...groups].map(([name, replicas]) => {
      const lists = catalog.servers.get(name)
      const hidden = catalog.collisions.filter((collision) => collision.hidden === name).slice(0, hiddenShownMax)
      return {
        name,
        status: bestStatus(replicas),
        replicas,
        tools: lists?.tools.entries.length ?? 0,
        resources: lists?.resources.entries.length ?? 0,
        resourceTemplates: lists?.resourceTemplates.entries.length ?? 0,
        prompts: lists?.prompts.entries.length ?? 0,
        hidden: hidden.map(({ path, list, name: there, own, shown }) => ({ path, list, name: there, own, shown })),
      }
    })
  }

  tools(): readonly CatalogItem[] {
    return items(this.#parts.catalog().all.tools)
  }

  resources(): readonly CatalogItem[] {
    return items(this.#parts.catalog().all.resources)
  }

  resourceTemplates(): readonly CatalogItem[] {
    return items(this.#parts.catalog().all.resourceTemplates)
  }

  prompts(): readonly CatalogItem[] {
    return items(this.#parts.catalog().all.prompts)
  }

  async callTool(call: ToolCall): Promise<ToolAnswer> {
    this.#refuseDrained()
    return this.#parts.toolCalls.call(call)
  }

  readonly kv: AdminNeeds['kv'] = {
    get: async (key, { consistency, timeoutMs }) => {
      this.#refuseDrained()
      if (consistency === 'linearizable') await this.#parts.cluster.barrier(timeoutMs)
      return this.#parts.cluster.known.kvGet(key)
    },
    list: async (range, { consistency, timeoutMs }) => {
      this.#refuseDrained()
      if (consistency === 'linearizable') await this.#parts.cluster.barrier(timeoutMs)
      const { known } = this.#parts.cluster
      return { ...known.kvList(range), revision: known.appliedIndex }
    },
    put: (key, value, limits) => this.#write({ kind: 'kv-set', key, value, expect: limits.expect }, limits),
    delete: (key, limits) => this.#write({ kind: 'kv-delete', key, expect: limits.expect }, limits),
    watch: (options) => {
      this.#refuseDrained()
      return this.#parts.cluster.watchKv(options)
    },
  }

  readonly membership: AdminNeeds['membership'] = {
    transfer: async (to, { timeoutMs }) => ({
      leader: await this.#parts.leadership.transfer(to as NodeId | null, timeoutMs),
    }),
    addLearner: async ({ id, address, promote }, { timeoutMs }) => {
      const node = id as NodeId
      // Also when the outcome stays unknown: a second request would be refused, since it is so already.
      if (address !== null) this.#parts.introduce(node, address)
      await this.#parts.cluster.change({ kind: 'add-learner', node, promote }, timeoutMs)
    },
    promote: (id, { timeoutMs }) => this.#parts.cluster.change({ kind: 'promote', node: id as NodeId }, timeoutMs),
    remove: (id, { timeoutMs }) => this.#parts.nodeCommands.removeMember(id as NodeId, timeoutMs),
  }

  get nodes(): AdminNeeds['nodes'] {
    return this.#parts.nodeCommands
  }

  get tokens(): AdminNeeds['tokens'] {
    return this.#parts.tokens
  }

  async snapshot({ consistency, timeoutMs, signal }: ReadLimits): Promise<SnapshotView> {
    if (consistency === 'linearizable') await this.#parts.cluster.barrier(timeoutMs)
    return this.#parts.snapshots.export(signal)
  }

  events(): ClusterEventsView {
    return this.#parts.events.open()
  }

  sessions(): readonly SessionView[] {
    return sessionViews(this.#parts.sessions.all())
  }

  closeSession(id: string): Promise<boolean> {
    return isSessionId(id) ? this.#parts.sessions.close(id) : Promise.resolve(false)
  }

  /** Ready once formed, a member, led, and caught up with what the leader had committed when this process came; until it stops. */
  readiness(): Readiness {
    const { node, consensus, caughtUp, isStopping, draining } = this.#parts
    if (isStopping()) return notReady('this node is stopping')
    if (draining.reason !== null) return notReady(draining.reason)
    const { raft, waitingFor } = consensus()
    if (raft === null) return notReady(waitingFor ?? 'the cluster has not formed yet')
    if (!isMember(raft.configuration, node))
      return notReady(`node ${node} is not in the cluster's configuration: it was removed, or is not added yet`)
    if (raft.leader === null) return notReady(this.#whyNoLeader(raft))
    if (!caughtUp()) return notReady(`the log is not applied up to the leader's commit yet`)
    return { ready: true, reasons: [] }
  }

  sample(): MetricsSample {
    return metricsSample(this.#parts)
  }

  async #write(
    command: KvWrite,
    { idempotencyKey, timeoutMs }: { readonly idempotencyKey: string | null; readonly timeoutMs: number },
  ): Promise<{ revision: number }> {
    this.#refuseDrained()
    const result = await this.#parts.cluster.proposeOnce({ command, idempotencyKey }, timeoutMs)
    switch (result.kind) {
      case 'done':
        return { revision: result.revision }
      case 'revision-mismatch': {
        const { revision } = result
        const found = revision === 0 ? 'does not exist' : `has revision ${revision} now`
        throw new OperatingError('revision-mismatch', `the key ${JSON.stringify(command.key)} ${found}`, {
          details: { revision },
        })
      }
      case 'not-found':
        throw new OperatingError('not-found', `there is no key ${JSON.stringify(command.key)}`)
      case 'refused':
        throw new OperatingError('bad-request', `the key ${JSON.stringify(command.key)}: ${result.reason}`)
    }
  }

  /** Clients' requests, once nothing more is taken in; what operators see and want is answered as ever. */
  #refuseDrained(): void {
    const { takes } = this.#parts.draining
    if (takes === 'everything' || takes === 'known-sessions') return
    const message = `node ${this.#parts.node} is drained and takes no requests; another node of the cluster does`
    throw new OperatingError('draining', message, { retry: 'elsewhere', retryAfterMs: 1000 })
  }

  /** A node that was taken out while it was down may find nobody who could tell it: all that it knows may be gone too. */
  #whyNoLeader({ configuration: { voters, votersOutgoing } }: RaftStatus): string {
    const others = [...new Set([...voters, ...votersOutgoing])].filter((voter) => voter !== this.#parts.node)
    if (others.length === 0 || others.some((voter) => this.#parts.reachable(voter))) return 'no leader is known'
    return `no leader is known, and no other voter that this node knows can be reached (${others.join(', ')}): start them, and check the network; if the cluster goes on without them, this node was taken out: start it with an empty node.dataDir and a join token ("quorate token create" on a member)`
  }

  /** As its node published it, unless that node can not be reached: then no call of ours can get there. */
  #replica({ node, transport, status, reason, priority }: Replica): ReplicaView {
    if (this.#isAlive(node)) return { node, transport, status, reason, priority }
    const lost = `its node can not be reached from node ${this.#parts.node}`
    return { node, transport, status: 'failed', reason: lost, priority }
  }

  #isAlive(node: NodeId): boolean {
    return node === this.#parts.node || this.#parts.reachable(node)
  }
}

export type OperatorParts = {
  readonly node: NodeId
  /** Of this start of the node. */
  readonly generation: number
  readonly version: string
  readonly cluster: Cluster
  readonly leadership: Leadership
  readonly tokens: OperatorTokens
  readonly sessions: ClientSessions
  readonly snapshots: Snapshots
  readonly checks: StateChecks
  readonly autopilot: AutopilotDriver
  /** Where the raft listener is of a node that is, or comes to be, a learner; by an operator's word. */
  readonly introduce: (learner: NodeId, raftAddress: string) => void
  readonly draining: Pick<Draining, 'phase' | 'takes' | 'reason'>
  readonly traffic: Pick<Traffic, 'active'>
  readonly nodeCommands: NodeCommands
  readonly toolCalls: ToolCalls
  readonly catalog: () => Catalog
  /** Which nodes name its entries otherwise, as sentences. */
  readonly namingWarnings: () => readonly string[]
  readonly consensus: () => ConsensusStatus
  readonly upstreamStatuses: () => ReadonlyMap<ServerName, UpstreamStatus>
  readonly upstreamFigures: () => UpstreamFigures
  readonly reachable: (node: NodeId) => boolean
  readonly gossip: Pick<GossipDriver, 'members' | 'said' | 'status' | 'counters'>
  readonly events: ClusterEvents
  readonly peerFigures: () => MetricsSample['peers']
  readonly kept: Pick<KeptCalls, 'counters'>
  readonly boxes: Pick<Mailboxes, 'counters'>
  /** Whether this process has applied an entry that was proposed after it started. */
  readonly caughtUp: () => boolean
  readonly isStopping: () => boolean
  readonly now: () => number
}

/** Of one server; the log has more. */
const hiddenShownMax = 100

type ReplicaView = ServerView['replicas'][number]
type KvWrite = Command & { readonly kind: 'kv-set' | 'kv-delete' }

function quarantineView({ why, lostUpTo, verified, isOver }: QuarantineStatus): QuarantineView {
  return { why, lostUpTo, verified, over: isOver }
}

function notReady(reason: string): Readiness {
  return { ready: false, reasons: [reason] }
}

function items(listing: Listing): readonly CatalogItem[] {
  return listing.entries.map(({ server, name, text }) => ({ server, name, definition: text }))
}

function bestStatus(replicas: readonly ReplicaView[]): ReplicaView['status'] {
  for (const status of ['ready', 'starting'] as const) {
    if (replicas.some((replica) => replica.status === status)) return status
  }
  return 'failed'
}
