import type { Stats } from 'node:fs'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import { decodeSnapshot as decodeState } from '../state/snapshot.ts'
import type { StateImage } from '../state/snapshot.ts'
import { isDamage } from '../storage/log-record.ts'
import type { Damage } from '../storage/log-record.ts'
import { decodeHead, decodeSnapshot } from '../storage/snapshot-record.ts'
import { syncFolder } from '../storage/sync-folder.ts'
import { snapshotBytesMax } from '../wire/limits.ts'

/**
 * A snapshot as a file that people keep: written whole or not at all, and never believed before every byte of it was read
 * again. Error of everything that is wrong with a file: `storage-failed`, or `not-found`.
 */
export type SnapshotFile = {
  readonly facts: SnapshotFacts
  readonly snapshot: SnapshotMeta
  readonly image: StateImage
}

/** What a file holds, for people to read. */
export type SnapshotFacts = {
  readonly cluster: ClusterId
  readonly voters: readonly NodeId[]
  readonly learners: readonly NodeId[]
  /** Everything up to this entry of the log is in it. */
  readonly index: number
  readonly term: number
  /** Log time of that entry: when it was proposed, wall time, ms. */
  readonly time: number
  /** Of the newest change among the keys that are there. */
  readonly revision: number
  readonly keys: number
  readonly idempotencyKeys: number
  readonly bytes: number
  /** CRC-32 over the file behind it, as it stands in the file. */
  readonly checksum: string
}

/** Reads and verifies all of it, without a node. */
export async function readSnapshotFile(file: string): Promise<SnapshotFile> {
  const bytes = await readBytes(file)
  const head = decodeHead(bytes, bytes.length)
  if (isDamage(head)) throw refused(file, head)
  const read = decodeSnapshot(bytes)
  if (isDamage(read)) throw refused(file, read)
  const { snapshot, data } = read
  const image = decodeState(data)
  if ('malformed' in image || image.appliedIndex !== snapshot.index) {
    const why = 'malformed' in image ? image.malformed : `its state is of ${image.appliedIndex}`
    throw new OperatingError(
      'storage-failed',
      `read the snapshot ${file}: its bytes are those that were saved, but its state is not one that this version reads: ${why}`,
    )
  }
  const { clusterId, voters, learners } = snapshot.configuration
  const { index, term, time } = snapshot
  const facts = {
    cluster: clusterId,
    voters,
    learners,
    index,
    term,
    time,
    revision: image.kv.reduce((newest, { revision }) => Math.max(newest, revision), 0),
    keys: image.kv.length,
    idempotencyKeys: image.answers.length,
    bytes: bytes.length,
    checksum: head.checksum.toString(16).padStart(8, '0'),
  }
  return { facts, snapshot, image }
}

/**
 * Makes the file of the parts: a temporary one beside it, synced, read back and verified, and only then given its name. On
 * any error nothing is left, and a file that was there is as it was. Error `bad-request`: it is there, and not to be replaced.
 */
export async function writeSnapshotFile(options: {
  readonly file: string
  readonly parts: AsyncIterable<Uint8Array>
  readonly replace: boolean
}): Promise<SnapshotFacts> {
  const { file, parts, replace } = options
  const temporary = `${file}.${process.pid}.tmp`
  await refuseTarget(file, replace)
  try {
    const handle = await openNew(temporary)
    try {
      for await (const part of parts) await writeAll(handle, part)
      await handle.sync()
    } finally {
      await handle.close()
    }
    const { facts } = await readSnapshotFile(temporary)
    await refuseTarget(file, replace)
    await rename(temporary, file)
    await syncFolder(path.dirname(path.resolve(file)))
    return facts
  } catch (error) {
    await rm(temporary, { force: true })
    if (error instanceof OperatingError) throw error
    throw new OperatingError(
      'storage-failed',
      `write ${file}: check its folder: that it is there, its permissions, its space`,
      {
        cause: error,
      },
    )
  }
}

function refused(file: string, { damage, isForeign }: Damage): OperatingError {
  const wayOut = isForeign ? 'use the version of quorate that saved it' : 'use another copy'
  return new OperatingError('storage-failed', `read the snapshot ${file}: ${damage}: ${wayOut}`)
}

async function readBytes(file: string): Promise<Uint8Array> {
  try {
    const found = await stat(file)
    if (!found.isFile()) throw new OperatingError('storage-failed', `read the snapshot ${file}: it ${isNoFile}`)
    const { size } = found
    if (size > snapshotBytesMax)
      throw new OperatingError(
        'storage-failed',
        `read the snapshot ${file}: it has ${size} bytes, more than any snapshot may have (${snapshotBytesMax})`,
      )
    return await readFile(file)
  } catch (cause) {
    if (cause instanceof OperatingError) throw cause
    const isMissing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
    if (isMissing) throw new OperatingError('not-found', `there is no file ${file}`)
    throw new OperatingError('storage-failed', `read the snapshot ${file}: it can not be read`, { cause })
  }
}

/** A device may have no end, and a pipe nobody who writes to it; neither is what a file may take the place of. */
const isNoFile = 'is no file but a folder or a device: name a file'

async function refuseTarget(file: string, replace: boolean): Promise<void> {
  const found: Stats | null = await stat(file).catch(() => null)
  if (found === null) return
  if (!found.isFile()) throw new OperatingError('bad-request', `${file} ${isNoFile}`)
  if (replace) return
  throw new OperatingError('bad-request', `${file} is there already: choose another name, or replace it with --force`)
}

/** For its owner alone: it holds all that the cluster keeps. A link of that name is not followed. */
async function openNew(file: string): Promise<FileHandle> {
  await rm(file, { force: true })
  return open(file, 'wx', 0o600)
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at)
    at += bytesWritten
  }
}
