import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { isObject } from '../std/is-object.ts'
import { isNodeId } from '../vocabulary/ids.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { JoinGrant } from '../vocabulary/join.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { membershipFileName } from '../config/check.ts'
import { syncFolder } from '../storage/sync-folder.ts'
import { decodeJoinGrant } from '../wire/join-codec.ts'

/**
 * What a node that joins by a token keeps in its data directory: its id from before it asks anybody, so that every try is of
 * one node, and what the cluster gave it once it was let in. It holds the cluster's secret: its owner alone may read it.
 */
export type KeptMembership = {
  readonly node: NodeId
  /** Null: not let in yet. */
  readonly joined: JoinGrant | null
}

/** Null: there is none. Error: `storage-failed`. */
export async function readMembership(dataDir: string): Promise<KeptMembership | null> {
  const file = path.join(dataDir, membershipFileName)
  let bytes: Buffer
  try {
    bytes = await readFile(file)
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null
    throw new OperatingError('storage-failed', `read ${file}: it must be readable by this user`, { cause })
  }
  const kept = parsed(bytes.toString('utf8'))
  if (kept !== null) return kept
  throw new OperatingError(
    'storage-failed',
    `read ${file}: it is not as it was written: bring it back from a copy; or take this node out (quorate node remove), empty its data directory, and let it join with a new token`,
  )
}

/**
 * Durable when it resolves; interrupted, the one before is there. Who has found none is `first`: with `locked` when another
 * process was so before, because only one of two ids could be kept. Error: `storage-failed`.
 */
export async function writeMembership(
  dataDir: string,
  { node, joined }: KeptMembership,
  { first = false }: { readonly first?: boolean } = {},
): Promise<void> {
  const file = path.join(dataDir, membershipFileName)
  const half = `${file}.${randomBytes(4).toString('hex')}`
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
    try {
      const handle = await open(half, 'wx', 0o600)
      try {
        await handle.writeFile(`${JSON.stringify({ node, ...joined })}\n`)
        await handle.sync()
      } finally {
        await handle.close()
      }
      await (first ? link(half, file) : rename(half, file))
    } finally {
      await rm(half, { force: true })
    }
    await syncFolder(dataDir)
  } catch (cause) {
    if (first && cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') {
      const message = `another process has begun to join from ${dataDir} just now: start one node of a data directory only`
      throw new OperatingError('locked', message)
    }
    throw new OperatingError(
      'storage-failed',
      `write ${file}: check the disk and its permissions, then start again; ${dataDir} must be a folder that this user can write`,
      { cause },
    )
  }
}

function parsed(text: string): KeptMembership | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  if (!isObject(value)) return null
  const { node } = value
  if (typeof node !== 'string' || !isNodeId(node)) return null
  if (!('secret' in value)) return { node, joined: null }
  const joined = decodeJoinGrant(Buffer.from(text))
  return 'malformed' in joined ? null : { node, joined }
}
