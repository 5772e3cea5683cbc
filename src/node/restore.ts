import { randomUUID } from 'node:crypto'
import { crc32 } from '../std/hash.ts'
import { compareIds } from '../vocabulary/ids.ts'
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
  const mark = markOf(facts, voters)
  if (clusterId !== null && !clusterId.endsWith(mark))
    throw new OperatingError(
      'bad-request',
      `cluster ${clusterId} was made of another snapshot, or of other voters: every voter is restored from the same file with the same --voters`,
    )
  const founding = { dataDir, nodeId, voters, image, term: snapshot.term, aside: null }
  const founded = await foundCluster({ ...founding, clusterId: clusterId ?? newClusterId(mark) })
  return { founded, facts }
}

/** Ends with what all voters must have alike: two of one cluster that begin with different logs would be two clusters. */
function newClusterId(mark: string): ClusterId {
  return `${randomUUID().slice(0, -mark.length)}${mark}` as ClusterId
}

function markOf({ checksum }: SnapshotFacts, voters: readonly NodeId[]): string {
  const alike = `${checksum} ${[...voters].sort(compareIds).join()}`
  return crc32(Buffer.from(alike)).toString(16).padStart(8, '0')
}
