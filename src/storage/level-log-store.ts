import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { Level } from 'level'
import { InvariantError, assert } from '../std/assert.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { Entry, HardState, Index, Term } from '../raft/entry.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import * as record from './log-record.ts'
import type { Head, Meta } from './log-record.ts'
import type { FormingPromise, LogBatch, LogStore, StoredNode } from './log-store.ts'
import { advanceTail, assertFree, assertSamePromise, keptIndex } from './log-tail.ts'
import type { LogTail } from './log-tail.ts'
import { settleNodeId } from './node-id.ts'
import { syncFolder } from './sync-folder.ts'

/**
 * The log store on LevelDB, under `<dataDir>/raft/`. LevelDB makes a synced batch atomic and durable, but it finds neither
 * a lost batch nor a changed byte: so each entry carries a checksum and a hash chain, each batch rewrites the head, and
 * `open` proves all of it. Damage is refused with its place; nothing is ever cut away to make the rest look whole, because
 * what is missing may be committed. What a snapshot stands for is gone as soon as the head says so; its keys are deleted
 * later, beside the writes.
 */
export class LevelLogStore implements LogStore {
  readonly #folder: string
  readonly #db: Database
  #meta: Meta | undefined
  #head: Head = emptyHead
  #snapshot: SnapshotMeta | null = null
  #lastTerm: Term = 0
  #writing = false
  /** No key of an entry is left below this one. */
  #prunedTo: Index = 0
  #pruning: Promise<void> | undefined
  /** Bytes of entries written since LevelDB was last told to give back what was deleted. */
  #writtenBytes = 0
  #closing = false
  /** What the first failed write ended with; every later write ends with it too. */
  #dead: Error | undefined

  constructor(dataDir: string) {
    this.#folder = path.join(dataDir, 'raft')
    this.#db = new Level<Uint8Array, Uint8Array>(this.#folder, {
      keyEncoding: 'view',
      valueEncoding: 'view',
      compression: false,
    })
  }

  async open(options: { nodeId: NodeId | null }): Promise<StoredNode> {
    assert(this.#meta === undefined, 'the log store is opened twice')
    await this.#openDatabase()
    try {
      const meta = await this.#loadMeta()
      const entries = await this.#loadLog(meta === undefined)
      const nodeId = settleNodeId({ given: options.nodeId, stored: meta?.nodeId ?? null, where: this.#folder })
      const { generation, promise, joined } = meta ?? { generation: 0, promise: null, joined: null }
      const next: Meta = { nodeId, generation: generation + 1, promise, joined }
      if (meta === undefined) await syncFolders(this.#folder)
      await this.#db.batch().put(record.metaKey, record.encodeMeta(next)).write({ sync: true })
      this.#meta = next
      this.#prune()
      return { ...next, hardState: this.#head.hardState, snapshot: this.#snapshot, entries }
    } catch (error) {
      await this.#db.close()
      throw error instanceof OperatingError
        ? error
        : this.#failure('open', 'check the disk: its space, its permissions, its health', error)
    }
  }

  write(batch: LogBatch): Promise<void> {
    return this.#exclusively(async () => {
      const head = this.#head
      const tail = this.#tail()
      const keptTo = keptIndex(tail, batch)
      const kept = batch.install === null ? await this.#place(keptTo) : { term: batch.install.term, hash: chainStart }
      const next = advanceTail(tail, batch, kept.term)
      const writing = this.#db.batch()
      for (let index = keptTo + 1; index <= head.lastIndex; index += 1) writing.del(record.entryKey(index))
      let lastHash = kept.hash
      for (const entry of batch.entries) {
        const { bytes, hash } = record.encodeEntry(entry, lastHash)
        writing.put(record.entryKey(entry.index), bytes)
        lastHash = hash
        this.#writtenBytes += bytes.length
      }
      const { hardState, snapshot, firstIndex, lastIndex } = next
      const anchor = batch.install === null ? await this.#anchorOf(firstIndex) : chainStart
      if (snapshot !== null && snapshot !== tail.snapshot)
        writing.put(record.snapshotKey, record.encodeSnapshotMeta(snapshot))
      const nextHead: Head = { seq: head.seq + 1, hardState, firstIndex, lastIndex, lastHash, anchor }
      // What moves the log's beginning is synced in any case: no key may be deleted before that is on the disk.
      const sync = batch.sync || firstIndex !== head.firstIndex
      await writing.put(record.headKey, record.encodeHead(nextHead)).write({ sync })
      this.#head = nextHead
      this.#snapshot = snapshot
      this.#lastTerm = next.lastTerm
      this.#prune()
    })
  }

  writePromise(promise: FormingPromise): Promise<void> {
    return this.#exclusively(async () => {
      const meta = this.#opened()
      assert(meta.joined === null, `joined ${meta.joined}, now to form ${promise.clusterId}`)
      assertSamePromise(meta.promise, promise)
      await this.#writeMeta({ ...meta, promise })
    })
  }

  writeJoined(clusterId: ClusterId): Promise<void> {
    return this.#exclusively(async () => {
      const meta = this.#opened()
      assertFree(meta, clusterId)
      await this.#writeMeta({ ...meta, joined: clusterId })
    })
  }

  async close(): Promise<void> {
    assert(!this.#writing, 'the log store is closed during a write')
    this.#closing = true
    await this.#pruning
    await this.#db.close()
  }

  async #writeMeta(meta: Meta): Promise<void> {
    await this.#db.batch().put(record.metaKey, record.encodeMeta(meta)).write({ sync: true })
    this.#meta = meta
  }

  #tail(): LogTail {
    const { hardState, firstIndex, lastIndex } = this.#head
    return { hardState, snapshot: this.#snapshot, firstIndex, lastIndex, lastTerm: this.#lastTerm }
  }

  /** Deletes the keys that the head has left behind, beside the writes, until there are none. */
  #prune(): void {
    if (this.#pruning !== undefined || this.#prunedTo >= this.#head.firstIndex) return
    this.#pruning = this.#deleteLeftBehind()
      .catch((error: unknown) => {
        this.#dead ??= this.#failure('write to', wayOut, error)
      })
      .finally(() => {
        this.#pruning = undefined
        if (!this.#closing && this.#dead === undefined) this.#prune()
      })
  }

  async #deleteLeftBehind(): Promise<void> {
    const { firstIndex } = this.#head
    while (!this.#closing) {
      const [gte, lt] = [record.entryKey(this.#prunedTo), record.entryKey(firstIndex)]
      const keys = await this.#db.keys({ gte, lt, limit: keysPerPrune }).all()
      const last = keys.at(-1)
      if (last === undefined) {
        this.#prunedTo = firstIndex
        return this.#giveBack(firstIndex)
      }
      const deleting = this.#db.batch()
      for (const key of keys) deleting.del(key)
      await deleting.write()
      this.#prunedTo = (record.indexOfKey(last) ?? firstIndex - 1) + 1
    }
  }

  /** LevelDB by itself keeps deleted entries until it happens to merge their files. */
  async #giveBack(firstIndex: Index): Promise<void> {
    if (this.#writtenBytes < giveBackBytes) return
    this.#writtenBytes = 0
    const db = this.#db as Database & { compactRange(from: Uint8Array, to: Uint8Array): Promise<void> }
    await db.compactRange(record.entryKey(0), record.entryKey(firstIndex))
  }

  /** One write at a time (R4); whatever goes wrong in it ends the store (R11), since a retry may hide what was lost. */
  async #exclusively(write: () => Promise<void>): Promise<void> {
    this.#opened()
    if (this.#dead !== undefined) throw this.#dead
    assert(!this.#writing, 'a second write is started before the first has ended')
    this.#writing = true
    try {
      await write()
    } catch (error) {
      this.#dead =
        error instanceof InvariantError || error instanceof OperatingError
          ? error
          : this.#failure('write to', wayOut, error)
      throw this.#dead
    } finally {
      this.#writing = false
    }
  }

  #opened(): Meta {
    assert(this.#meta !== undefined, 'the log store is not open')
    return this.#meta
  }

  /** Term and hash of what the next entry is chained to; read back only after a truncation, which is rare. */
  async #place(index: Index): Promise<{ term: Term; hash: Uint8Array }> {
    const { firstIndex, lastIndex, lastHash, anchor } = this.#head
    if (index === lastIndex) return { term: this.#lastTerm, hash: lastHash }
    // Nothing below the snapshot is ever truncated.
    if (index === firstIndex - 1) return { term: this.#snapshot?.term ?? 0, hash: anchor }
    const { entry, hash } = await this.#readEntry(index)
    return { term: entry.term, hash }
  }

  /** What the first entry is chained to once the log begins there. */
  async #anchorOf(firstIndex: Index): Promise<Uint8Array> {
    if (firstIndex === this.#head.firstIndex) return this.#head.anchor
    if (firstIndex === this.#head.lastIndex + 1) return this.#head.lastHash
    return (await this.#readEntry(firstIndex - 1)).hash
  }

  async #readEntry(index: Index): Promise<record.StoredEntry> {
    const bytes = await this.#db.get(record.entryKey(index))
    if (bytes === undefined) throw this.#damage(`entry ${index}`, 'it is missing')
    const stored = record.decodeEntry(bytes)
    if (record.isDamage(stored)) throw this.#damage(`entry ${index}`, stored.damage)
    return stored
  }

  async #openDatabase(): Promise<void> {
    try {
      await mkdir(this.#folder, { recursive: true })
      await this.#db.open()
    } catch (error) {
      if (isLocked(error)) {
        throw new OperatingError(
          'locked',
          `another process holds the data directory ${path.dirname(this.#folder)}: stop it, or give this node its own node.dataDir`,
          { cause: error },
        )
      }
      throw this.#failure('open', 'it must be a folder that this user can write, with space left on its disk', error)
    }
  }

  async #loadMeta(): Promise<Meta | undefined> {
    const bytes = await this.#db.get(record.metaKey)
    if (bytes === undefined) return undefined
    const meta = record.decodeMeta(bytes)
    if (record.isDamage(meta)) throw this.#refuse('the meta record', meta)
    return meta
  }

  /** Reads head and entries and proves that they belong together; sets where the log ends. */
  async #loadLog(isNew: boolean): Promise<Entry[]> {
    const headBytes = await this.#db.get(record.headKey)
    if (headBytes !== undefined) {
      if (isNew) throw this.#damage('the meta record', 'it is missing')
      const head = record.decodeHead(headBytes)
      if (record.isDamage(head)) throw this.#refuse('the head record', head)
      this.#head = head
    }
    this.#snapshot = await this.#loadSnapshot()
    const entries = await this.#loadEntries()
    const { hardState, firstIndex, lastIndex, lastHash, anchor } = this.#head
    const end = entries.at(-1)
    if ((end?.index ?? firstIndex - 1) < lastIndex) {
      const missing = (end?.index ?? firstIndex - 1) + 1
      throw this.#damage(`entry ${missing}`, `it is missing; the log must reach ${lastIndex}`)
    }
    this.#lastTerm = end?.entry.term ?? this.#snapshot?.term ?? 0
    this.#checkSnapshot(entries)
    if (!record.sameBytes(end?.hash ?? anchor, lastHash))
      throw this.#damage(`entry ${lastIndex}`, 'the hash chain does not end at the hash of the head record')
    if (hardState.commit > lastIndex)
      throw this.#damage(
        'the head record',
        `it says that ${hardState.commit} is committed, the log ends at ${lastIndex}`,
      )
    if (hardState.term < this.#lastTerm)
      throw this.#damage('the head record', `its term ${hardState.term} is below the last entry's ${this.#lastTerm}`)
    return entries.map((stored) => stored.entry)
  }

  async #loadSnapshot(): Promise<SnapshotMeta | null> {
    const bytes = await this.#db.get(record.snapshotKey)
    if (bytes === undefined) {
      if (this.#head.firstIndex > 1) throw this.#damage('the snapshot record', 'it is missing')
      return null
    }
    const snapshot = record.decodeSnapshotMeta(bytes)
    if (record.isDamage(snapshot)) throw this.#refuse('the snapshot record', snapshot)
    return snapshot
  }

  /** The snapshot stands for all that is gone, and for nothing that the log contradicts. */
  #checkSnapshot(entries: readonly LoadedEntry[]): void {
    if (this.#snapshot === null) return
    const { index, term } = this.#snapshot
    const { firstIndex, lastIndex, hardState } = this.#head
    const there = entries[index - firstIndex]?.entry.term ?? term
    if (index < firstIndex - 1 || index > lastIndex || index > hardState.commit || there !== term)
      throw this.#damage('the snapshot record', `it does not fit a log of ${firstIndex} to ${lastIndex}`)
  }

  async #loadEntries(): Promise<LoadedEntry[]> {
    const loaded: LoadedEntry[] = []
    const iterator = this.#db.iterator({
      gte: record.entryKey(this.#head.firstIndex),
      lte: record.entryKey(Number.MAX_SAFE_INTEGER),
      highWaterMarkBytes: readAheadBytes,
    })
    try {
      for (;;) {
        const rows = await iterator.nextv(rowsPerRead)
        if (rows.length === 0) return loaded
        for (const [key, value] of rows) loaded.push(this.#verify(key, value, loaded.at(-1)))
      }
    } finally {
      await iterator.close()
    }
  }

  #verify(key: Uint8Array, value: Uint8Array, before: LoadedEntry | undefined): LoadedEntry {
    const expected = before === undefined ? this.#head.firstIndex : before.index + 1
    const index = record.indexOfKey(key)
    if (index === undefined) throw this.#damage(`the entry after ${expected - 1}`, 'its key is no index')
    if (index > this.#head.lastIndex)
      throw this.#damage(
        `entry ${index}`,
        `it stands behind the end that the head record states (${this.#head.lastIndex})`,
      )
    if (index !== expected) throw this.#damage(`entry ${expected}`, `it is missing; the next one is ${index}`)
    const stored = record.decodeEntry(value)
    if (record.isDamage(stored)) throw this.#refuse(`entry ${index}`, stored)
    if (stored.entry.index !== index) throw this.#damage(`entry ${index}`, `entry ${stored.entry.index} stands there`)
    if (stored.entry.term < (before?.entry.term ?? 0))
      throw this.#damage(`entry ${index}`, `its term ${stored.entry.term} is below the term of the one before`)
    if (!record.sameBytes(stored.prevHash, before?.hash ?? this.#head.anchor))
      throw this.#damage(`entry ${index}`, 'the hash chain breaks there: it was not written after the entry before it')
    return { index, entry: stored.entry, hash: stored.hash }
  }

  #refuse(what: string, damage: record.Damage): OperatingError {
    if (!damage.newer) return this.#damage(what, damage.damage)
    return new OperatingError(
      'storage-failed',
      `open ${this.#folder}: a newer version wrote ${what}: ${damage.damage}: start the node with that version`,
    )
  }

  #damage(what: string, why: string): OperatingError {
    return new OperatingError(
      'storage-failed',
      `open ${this.#folder}: ${what} is damaged: ${why}: nothing was changed; restore the data directory from a copy made while the node was stopped, or remove this node from the cluster and let it join under a new id with an empty data directory`,
    )
  }

  #failure(verb: string, wayOut: string, cause: unknown): OperatingError {
    return new OperatingError('storage-failed', `${verb} ${this.#folder} failed: ${wayOut}`, { cause })
  }
}

type Database = Level<Uint8Array, Uint8Array>
type LoadedEntry = { readonly index: Index; readonly entry: Entry; readonly hash: Uint8Array }

const emptyHardState: HardState = { term: 0, vote: null, commit: 0, isRecovering: false }
const { chainStart } = record
const emptyHead: Head = {
  seq: 0,
  hardState: emptyHardState,
  firstIndex: 1,
  lastIndex: 0,
  anchor: chainStart,
  lastHash: chainStart,
}

/** Keys that are deleted in one batch in the background. */
const keysPerPrune = 1000

/** Bytes of entries after which it is worth the merging of files to have deleted ones off the disk. */
const giveBackBytes = 4 * 1024 * 1024

const wayOut = 'make room or replace the disk, then start the node again'

/** How much of the log is read at a time at start. */
const readAheadBytes = 1024 * 1024
const rowsPerRead = 1000

/** LevelDB syncs its files but not the folders that they were made in. */
async function syncFolders(folder: string): Promise<void> {
  for (const at of [folder, path.dirname(folder), path.dirname(path.dirname(folder))]) await syncFolder(at)
}

function isLocked(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof Error && 'code' in cause && cause.code === 'LEVEL_LOCKED'
}
