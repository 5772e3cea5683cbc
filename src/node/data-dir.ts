import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { OperatingError } from '../vocabulary/operating-error.ts'

/** What stands in a data directory, seen from outside: no node runs from one that is only half made. */

/** Where "snapshot restore" and "raft recover" work on it: as long as it holds anything, no node starts. */
export const stagingName = 'founding'

/** Before a node starts. Error: `storage-failed`. */
export async function refuseUnfinished(dataDir: string): Promise<void> {
  if ((await namesIn(path.join(dataDir, stagingName))).length === 0) return
  throw new OperatingError(
    'storage-failed',
    `start from ${dataDir}: a "snapshot restore" or "raft recover" of it is under way, or was interrupted: let it end, or run "raft recover" again, or empty the directory and run "snapshot restore" again`,
  )
}

/** All names but those of the file system's own; none when it is not there yet. */
export async function namesIn(dataDir: string): Promise<readonly string[]> {
  try {
    return (await readdir(dataDir)).filter((name) => name !== 'lost+found')
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return []
    throw new OperatingError('storage-failed', `read ${dataDir}: it must be a folder that this user can read`, {
      cause,
    })
  }
}
