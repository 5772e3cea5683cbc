import { randomUUID } from 'node:crypto'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { namesIn } from './data-dir.ts'
import { foundCluster } from './founding-files.ts'
import type { Founded } from './founding-files.ts'
import { readSnapshotFile } from './snapshot-file.ts'
import type { SnapshotFacts } from './snapshot-file.ts'

/**
 * Makes the data directory of one voter of a new cluster out of a saved snapshot. Only in an empty directory: what is in
 * another may be the last copy of something. Errors: `bad-request`, `not-found`, `storage-failed`; nothing is left then.
 */
export async function restoreSnapshot(options: {
  readonly file: string
  readonly dataDir: string
  readonly nodeId: NodeId
  readonly voters: readonly NodeId[]
  /** Null: a new one. */
  readonly clusterId: ClusterId | null
}): Promise<{ readonly founded: Founded; readonly facts: SnapshotFacts }> {
  const { file, dataDir, nodeId, voters, clusterId } = options
  if (!voters.includes(nodeId))
    throw new OperatingError('bad-request', `node ${nodeId} is not one of the voters ${voters.join(', ')}`)
  const found = await namesIn(dataDir)
  if (found.length > 0)
    throw new OperatingError(
      'bad-request',
      `the data directory ${dataDir} is not empty (${found.slice(0, 5).join(', ')}): empty it, or name another`,
    )
  const { facts, snapshot, image } = await readSnapshotFile(file)
  if (clusterId === facts.cluster)
    throw new OperatingError(
      'bad-request',
      `${clusterId} is the cluster that the snapshot is of: a restored one is another, with an id of its own; leave --cluster-id out`,
    )
  const founding = { dataDir, nodeId, voters, image, term: snapshot.term, aside: null }
  const founded = await foundCluster({ ...founding, clusterId: clusterId ?? (randomUUID() as ClusterId) })
  return { founded, facts }
}
