import { randomUUID } from 'node:crypto'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import type { Addresses } from '../vocabulary/addresses.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { lookAtStores } from '../consensus/opening.ts'
import { decodeConfiguration } from '../raft/configuration.ts'
import type { Configuration } from '../raft/configuration.ts'
import type { Entry } from '../raft/entry.ts'
import { decodeCommand } from '../state/command-codec.ts'
import { decodeSnapshot } from '../state/snapshot.ts'
import { ClusterState } from '../state/state.ts'
import { LevelLogStore } from '../storage/level-log-store.ts'
import type { StoredNode } from '../storage/log-store.ts'
import { SnapshotFileStore } from '../storage/snapshot-file-store.ts'
import type { SnapshotStore } from '../storage/snapshot-store.ts'
import type { Recovered } from '../consensus/recovery.ts'
import { asidePrefix, foundCluster } from './founding-files.ts'
import type { Founded } from './founding-files.ts'

/**
 * A stopped node that is what is left of a cluster without quorum: what it has, and how it founds a new cluster out of all of
 * that. Holds the lock of the data directory until `close`, so that the node can not be started meanwhile.
 */
export class Survivor {
  readonly facts: SurvivorFacts
  readonly #dataDir: string
  readonly #state: ClusterState
  readonly #term: number
  readonly #store: LevelLogStore
  #isOpen = true

  private constructor(parts: Parts) {
    this.facts = parts.facts
    this.#dataDir = parts.dataDir
    this.#state = parts.state
    this.#term = parts.term
    this.#store = parts.store
  }

  /** Errors: `not-found` (no node lives there), `locked` (it runs), `storage-failed` (nothing in it can be trusted). */
  static async open(dataDir: string): Promise<Survivor> {
    if ((await stat(path.join(dataDir, 'raft')).catch(() => null)) === null)
      throw new OperatingError('not-found', `no node lives in ${dataDir}: there is no ${path.join(dataDir, 'raft')}`)
    const store = new LevelLogStore(dataDir)
    const stored = await store.open({ nodeId: null })
    const snapshots = new SnapshotFileStore(dataDir)
    try {
      const { recovery, damaged } = await lookAtStores(stored, snapshots)
      const from = recovery.kind === 'start' ? recovery.recovered : recovery.begin
      const state = await replay(from, snapshots)
      const facts = factsOf(stored, {
        from,
        state,
        damaged,
        why: recovery.kind === 'start' ? null : recovery.begin.why,
      })
      return new Survivor({ facts, dataDir, state, term: from.hardState.term, store })
    } catch (error) {
      await store.close()
      throw error
    } finally {
      await snapshots.close()
    }
  }

  /** Of this node alone, with all that it has; what the directory held is kept in a folder within it. Closes it. */
  async found(): Promise<Founded> {
    const { nodeId, cluster } = this.facts
    await this.close()
    return foundCluster({
      dataDir: this.#dataDir,
      nodeId,
      clusterId: randomUUID() as ClusterId,
      voters: [nodeId],
      image: this.#state.capture(),
      term: this.#term,
      aside: `${asidePrefix}recover-of-${cluster}`,
    })
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    await this.#store.close()
  }
}

/** What one survivor has, to be compared with the others'. */
export type SurvivorFacts = {
  readonly nodeId: NodeId
  readonly cluster: ClusterId
  readonly voters: readonly NodeId[]
  readonly learners: readonly NodeId[]
  /** The highest that it knows of. */
  readonly term: number
  /** Index and term of the last entry: of two survivors that with the higher term, then the higher index, has more. */
  readonly lastIndex: number
  readonly lastTerm: number
  /** At least up to here the entries are known to be committed; those behind may be or not. */
  readonly committed: number
  readonly snapshotIndex: number
  readonly keys: number
  /** Of the other members, as far as they were known. */
  readonly others: readonly { readonly id: NodeId; readonly addresses: Addresses }[]
  /** Sentences: why it may lack what was acknowledged, beside what only others had. */
  readonly doubts: readonly string[]
}

type Parts = {
  readonly facts: SurvivorFacts
  readonly dataDir: string
  readonly state: ClusterState
  readonly term: number
  readonly store: LevelLogStore
}

/** The state with every entry in it, whether or not it is known to be committed: what was acknowledged is among them. */
async function replay({ snapshot, entries }: Recovered, snapshots: SnapshotStore): Promise<ClusterState> {
  const state = new ClusterState()
  if (snapshot !== null) {
    const image = decodeSnapshot(await snapshots.read(snapshot))
    if ('malformed' in image)
      throw new OperatingError('storage-failed', `read the snapshot at ${snapshot.index}: ${image.malformed}`)
    state.restore(image)
  }
  for (const { index, time, kind, data } of entries) {
    if (index <= state.appliedIndex) continue
    state.apply({ index, time, command: kind === 'command' ? decodeCommand(data) : null })
  }
  return state
}

type Found = {
  readonly from: Recovered
  readonly state: ClusterState
  readonly damaged: readonly string[]
  readonly why: string | null
}

function factsOf(stored: StoredNode, { from, state, damaged, why }: Found): SurvivorFacts {
  const { nodeId, hardState, quarantine } = stored
  const { snapshot, entries } = from
  const configuration = newestConfiguration(entries) ?? snapshot?.configuration
  if (configuration === undefined)
    throw new OperatingError(
      'storage-failed',
      `node ${nodeId} has no log that could be trusted${why === null ? '' : ` (${why})`}: there is nothing to recover from it`,
    )
  const last = entries.at(-1) ?? snapshot
  return {
    nodeId,
    cluster: configuration.clusterId,
    voters: configuration.voters,
    learners: configuration.learners,
    term: from.hardState.term,
    lastIndex: last?.index ?? 0,
    lastTerm: last?.term ?? 0,
    committed: from.hardState.commit,
    snapshotIndex: snapshot?.index ?? 0,
    keys: state.capture().kv.length,
    others: state
      .members()
      .filter(({ node }) => node !== nodeId)
      .map(({ node, addresses }) => ({ id: node, addresses })),
    doubts: [
      ...(why === null ? [] : [`its files are damaged: ${why}`]),
      ...damaged.filter((sentence) => sentence !== why),
      ...(hardState.isRecovering
        ? [`it was recovering when it was stopped${quarantine === null ? '' : `: ${quarantine.why}`}`]
        : []),
      ...(configuration.voters.includes(nodeId) ? [] : ['it is no voter: it may lag behind what was acknowledged']),
    ],
  }
}

function newestConfiguration(entries: readonly Entry[]): Configuration | undefined {
  const entry = entries.findLast(({ kind }) => kind === 'configuration')
  return entry === undefined ? undefined : decodeConfiguration(entry.data)
}
