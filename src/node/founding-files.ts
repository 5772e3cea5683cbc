import { mkdir, open, readFile, rename, rm, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { assert } from '../std/assert.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { makeConfiguration } from '../raft/configuration.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { Term } from '../raft/entry.ts'
import { membershipFileName } from '../config/check.ts'
import { encodeSnapshot } from '../state/snapshot.ts'
import type { StateImage } from '../state/snapshot.ts'
import { LevelLogStore } from '../storage/level-log-store.ts'
import { SnapshotFileStore } from '../storage/snapshot-file-store.ts'
import { syncFolder } from '../storage/sync-folder.ts'
import { namesIn, stagingName } from './data-dir.ts'
import { readMembership, writeMembership } from './membership-file.ts'

/**
 * The data directory of a voter of a new cluster that begins with a state that there is already: from a saved snapshot, or
 * from what the survivor of a lost quorum has. The new log stands on a snapshot and has no entry yet; every voter that is
 * founded from the same state, with the same cluster id and voters, has the same.
 *
 * It is built in a folder of its own within the data directory, and moved into its place when it is whole; what stood there
 * before is moved aside. Interrupted anywhere, the directory is either as it was, or `finishFounding` completes it; until
 * then no node starts from it (see data-dir).
 */
export async function foundCluster(options: Founding): Promise<Founded> {
  const { dataDir, nodeId, clusterId, voters, image, term, aside } = options
  const index = image.appliedIndex + revisionGap
  const snapshot = { index, term, time: image.time, configuration: makeConfiguration(clusterId, voters) }
  const founded = { nodeId, clusterId, voters: snapshot.configuration.voters, index, aside }
  const built = path.join(dataDir, stagingName, 'new')
  await reporting(dataDir, async () => {
    await rm(built, { recursive: true, force: true })
    try {
      await mkdir(built, { recursive: true, mode: 0o700 })
      await writeNode(built, { nodeId, snapshot, image })
    } catch (error) {
      await rm(built, { recursive: true, force: true })
      await removeStaging(dataDir)
      throw error
    }
    await writeDurably(path.join(dataDir, stagingName, 'built'), JSON.stringify(founded))
    await syncFolder(dataDir)
    await finish(dataDir, founded)
  })
  return founded
}

export type Founding = {
  readonly dataDir: string
  readonly nodeId: NodeId
  readonly clusterId: ClusterId
  readonly voters: readonly NodeId[]
  /** What the cluster knew; of it the new one knows what is bound to no process of the old. */
  readonly image: StateImage
  readonly term: Term
  /** Name of the folder, within the data directory, that takes what is there now; null: nothing is. */
  readonly aside: string | null
}

export type Founded = Pick<Founding, 'nodeId' | 'clusterId' | 'voters' | 'aside'> & {
  /** The first entry of the new log comes behind it. */
  readonly index: number
}

/**
 * So far the revisions of the new cluster lie above those of the state that it begins with. Revisions are indexes of the log,
 * and the old cluster went on after that state was kept: without a gap a watch that continues from a revision of then would
 * be told, as if nothing had happened, of another history. Below the gap it is answered `compacted`, as after any
 * snapshot, and its client reads anew. More than a cluster writes in a day at 10,000 writes a second; indexes have room for
 * nine million such gaps.
 */
export const revisionGap = 1_000_000_000

/** Completes what was interrupted when it was whole already; null: there is nothing to complete. */
export async function finishFounding(dataDir: string): Promise<Founded | null> {
  const staging = path.join(dataDir, stagingName)
  const text = (await readIfThere(path.join(staging, 'built'))) ?? (await readIfThere(path.join(staging, 'placing')))
  if (text === null) return null
  const founded = JSON.parse(text) as Founded
  await reporting(dataDir, () => finish(dataDir, founded))
  return founded
}

/**
 * Not moved aside: what ends the processes that the node has left behind, what is at work here, and what a node without a
 * secret of its own starts from.
 */
const keptNames = ['children', stagingName, membershipFileName]
export const asidePrefix = 'before-'

/** Unless it holds something; an empty one keeps no node from its start. */
export async function removeStaging(dataDir: string): Promise<void> {
  await rmdir(path.join(dataDir, stagingName)).catch(() => undefined)
}

/** Through the ports that the node itself will read it with. */
async function writeNode(
  dataDir: string,
  { nodeId, snapshot, image }: { nodeId: NodeId; snapshot: SnapshotMeta; image: StateImage },
): Promise<void> {
  const { index, term, configuration } = snapshot
  // Members and replicas are processes of the old cluster; those of the new one say themselves what they are. Nobody has
  // asked one of these to drain or to leave, and no token of the old cluster lets a node into this one.
  const kept = { ...image, appliedIndex: index, members: [], replicas: [], drains: [], tokens: [], checks: [] }
  const snapshots = new SnapshotFileStore(dataDir)
  await snapshots.open()
  await snapshots.write(snapshot, Buffer.concat([...encodeSnapshot(kept)]))
  const damage = await snapshots.verify(snapshot)
  await snapshots.close()
  if (damage !== null) throw new OperatingError('storage-failed', `write the snapshot in ${dataDir}: ${damage}`)
  const store = new LevelLogStore(dataDir)
  await store.open({ nodeId })
  try {
    await store.writePromise({ clusterId: configuration.clusterId, voters: configuration.voters })
    await store.write({
      hardState: { term, vote: null, commit: index, isRecovering: false },
      install: snapshot,
      compact: null,
      truncateFrom: null,
      entries: [],
      sync: true,
    })
  } finally {
    await store.close()
  }
}

/** In two phases, each of which can be begun again: what is there moves out, then what is new moves in. */
async function finish(dataDir: string, { clusterId, aside }: Founded): Promise<void> {
  const staging = path.join(dataDir, stagingName)
  const built = path.join(staging, 'new')
  if ((await namesIn(staging)).includes('built')) {
    if (aside !== null) await moveAside(dataDir, path.join(dataDir, aside))
    await rename(path.join(staging, 'built'), path.join(staging, 'placing'))
    await syncFolder(staging)
  }
  for (const name of await namesIn(built)) await rename(path.join(built, name), path.join(dataDir, name))
  await syncFolder(dataDir)
  await rebind(dataDir, clusterId)
  for (const name of await namesIn(staging))
    if (name !== 'placing') await rm(path.join(staging, name), { recursive: true })
  await rm(path.join(staging, 'placing'))
  await syncFolder(staging)
  await removeStaging(dataDir)
}

/** A node that has joined by a token belongs to the new cluster now, whose nodes it is told of when they join it. */
async function rebind(dataDir: string, clusterId: ClusterId): Promise<void> {
  const kept = await readMembership(dataDir)
  if (!kept?.joined) return
  await writeMembership(dataDir, { ...kept, joined: { ...kept.joined, clusterId, peers: [] } })
}

async function moveAside(dataDir: string, aside: string): Promise<void> {
  assert(path.basename(aside).startsWith(asidePrefix), 'what is moved aside is found again by its name')
  await mkdir(aside, { recursive: true })
  for (const name of await namesIn(dataDir)) {
    if (keptNames.includes(name) || name.startsWith(asidePrefix)) continue
    await rename(path.join(dataDir, name), path.join(aside, name))
  }
  await syncFolder(aside)
  await syncFolder(dataDir)
}

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  }
}

async function writeDurably(file: string, text: string): Promise<void> {
  const handle = await open(file, 'w')
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await syncFolder(path.dirname(file))
}

async function reporting(dataDir: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (cause) {
    if (cause instanceof OperatingError) throw cause
    throw new OperatingError(
      'storage-failed',
      `make the data directory ${dataDir}: check the disk: its space, its permissions; then run the command again`,
      { cause },
    )
  }
}
