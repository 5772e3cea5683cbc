import { randomUUID } from 'node:crypto'
import { copyFile, link, mkdir, readdir, rm } from 'node:fs/promises'
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
import { namesIn, stagingName } from './data-dir.ts'
import { asidePrefix, foundCluster, removeStaging } from './founding-files.ts'
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
    const likeness = await linkNode(dataDir)
    const store = new LevelLogStore(likeness)
    const snapshots = new SnapshotFileStore(likeness)
    try {
      const stored = await store.open({ nodeId: null })
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
      await removeLikeness(dataDir)
      if (error instanceof OperatingError && error.code === 'locked')
        throw new OperatingError('locked', `recover: the node of ${dataDir} runs: stop it, then run the command again`)
      throw error
    } finally {
      await snapshots.close()
    }
  }

  /** Of this node alone, with all that it has; what the directory held is kept in a folder within it. Closes it. */
  async found(): Promise<Founded> {
    const { nodeId, cluster } = this.facts
    try {
      return await foundCluster({
        dataDir: this.#dataDir,
        nodeId,
        clusterId: randomUUID() as ClusterId,
        voters: [nodeId],
        image: this.#state.capture(),
        term: this.#term,
        aside: `${asidePrefix}recover-of-${cluster}`,
      })
    } finally {
      await this.close()
    }
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    await this.#store.close()
    await removeLikeness(this.#dataDir)
  }
}

/**
 * The files of the node under other names, so that whatever opening them does (LevelDB rewrites its log, and drops what is
 * damaged) is done to the names and never to what may be the last copy: LevelDB and the snapshot store write new files only.
 * The vote file is written in place, and copied. The lock is of the file LOCK, not of its name, so it is the node's own; and
 * where they stand no node starts.
 */
async function linkNode(dataDir: string): Promise<string> {
  const likeness = likenessOf(dataDir)
  const names = await namesIn(dataDir)
  const begun = await namesIn(path.join(dataDir, stagingName))
  if (begun.includes('built') || begun.includes('placing'))
    throw new OperatingError(
      'storage-failed',
      `look into ${dataDir}: making a new cluster of it was interrupted; --force-new-cluster completes it`,
    )
  if (!names.includes('raft') && !names.includes('vote'))
    throw new OperatingError('not-found', `no node lives in ${dataDir}: there is no ${path.join(dataDir, 'raft')}`)
  try {
    await rm(likeness, { recursive: true, force: true })
    await mkdir(likeness, { recursive: true })
    for (const name of ['raft', 'raft.new', 'snapshots'])
      if (names.includes(name)) await linkAll(dataDir, likeness, name)
    if (names.includes('vote')) await copyFile(path.join(dataDir, 'vote'), path.join(likeness, 'vote'))
  } catch (cause) {
    await removeLikeness(dataDir)
    throw new OperatingError(
      'storage-failed',
      `look into ${dataDir}: it must be stopped, and this user's to write, on a file system with hard links; or copy it to one`,
      { cause },
    )
  }
  return likeness
}

function likenessOf(dataDir: string): string {
  return path.join(dataDir, stagingName, 'likeness')
}

async function removeLikeness(dataDir: string): Promise<void> {
  await rm(likenessOf(dataDir), { recursive: true, force: true })
  await removeStaging(dataDir)
}

async function linkAll(from: string, to: string, folder: string): Promise<void> {
  await mkdir(path.join(to, folder))
  for (const entry of await readdir(path.join(from, folder), { withFileTypes: true })) {
    const name = path.join(folder, entry.name)
    if (entry.isDirectory()) await linkAll(from, to, name)
    else await link(path.join(from, name), path.join(to, name))
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
