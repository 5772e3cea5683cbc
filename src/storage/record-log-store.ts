import { InvariantError, assert } from '../std/assert.ts'
import type { Clock } from '../std/clock.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { Entry } from '../raft/entry.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { encodeEntries, hashOfEntry } from './entry-record.ts'
import { LeftBehind } from './left-behind.ts'
import { foreignError, loadLog } from './log-loading.ts'
import type { LoadedLog } from './log-loading.ts'
import * as record from './log-record.ts'
import type { Damage, Head, Meta, StoredQuarantine } from './log-record.ts'
import { LogPlaces } from './log-places.ts'
import { LogScrub } from './log-scrub.ts'
import type {
  FormingPromise,
  LogBatch,
  LogStore,
  Quarantine,
  QuarantinedLog,
  ScrubReport,
  StoredNode,
} from './log-store.ts'
import { advanceTail, assertFree, assertSamePromise, keptIndex } from './log-tail.ts'
import type { LogTail } from './log-tail.ts'
import { settleNodeId } from './node-id.ts'
import { quarantineAfter, quarantinedRecords } from './quarantined-log.ts'
import type { RecordBatch, Records, SlotFile } from './records.ts'
import { disagreement, knownEnd, knownHardState, knownIdentity } from './two-homes.ts'
import { VoteFile } from './vote-file.ts'
import type { VoteRecord } from './vote-record.ts'

/**
 * The log store over records and a vote file. The records make a synced batch atomic and durable, but find neither a lost
 * batch nor a changed byte: so each entry carries a checksum and a hash chain, each batch rewrites the head, and `open`
 * proves all of it, and that the vote file is not ahead of it. What a snapshot stands for is gone as soon as the head says
 * so; its keys are deleted later, beside the writes.
 */
export class RecordLogStore implements LogStore {
  readonly #where: string
  readonly #firstGeneration: number
  readonly #records: Records
  readonly #vote: VoteFile
  readonly #leftBehind: LeftBehind
  readonly #scrub: LogScrub
  #meta: Meta | null = null
  #head: Head = emptyHead
  #places = new LogPlaces(1, record.chainStart)
  #snapshot: SnapshotMeta | null = null
  #condemned: string | null = null
  #damaged: Damaged | null = null
  /** No write has changed the log since it was opened. */
  #isUntouched = true
  #lastQuarantine: StoredQuarantine | null = null
  #writing = false
  /** What the first failed write ended with; every later write ends with it too. */
  #dead: Error | null = null

  constructor({ where, records, voteFile, clock, firstGeneration = 1 }: RecordLogStoreOptions) {
    this.#where = where
    // 0 means that no start has come to its end: a clock that began at 0 must not say that for ever.
    this.#firstGeneration = Math.max(1, firstGeneration)
    this.#records = records
    const failed = (error: unknown): void => void this.#die(error)
    this.#vote = new VoteFile({ file: voteFile, clock, failed })
    this.#leftBehind = new LeftBehind(records, failed)
    this.#scrub = new LogScrub(records, this.#vote, {
      expected: () => this.#expected(),
      atRest: () => !this.#writing,
    })
  }

  get lastQuarantine(): Quarantine | null {
    return this.#lastQuarantine === null ? null : quarantineOf(this.#lastQuarantine)
  }

  async open(options: { nodeId: NodeId | null }): Promise<StoredNode> {
    assert(this.#meta === null && this.#damaged === null, 'the log store is opened twice')
    try {
      const broken = await this.#records.open()
      const log = await loadLog(broken?.remains ?? this.#records, this.#where)
      const found = await this.#openVote(broken === null && log.isEmpty)
      const isVoteDamaged = found !== null && record.isDamage(found)
      if (isVoteDamaged && found.isForeign) throw foreignError(this.#where, 'the vote file', found)
      const vote = isVoteDamaged ? null : found
      const condemned = vote?.condemned ?? null
      const why = condemned ?? broken?.why ?? log.why ?? disagreement(log, found)
      const known = knownIdentity(log, vote)
      if (why !== null && known === null) throw this.#noIdentity(`${why}, and neither log nor vote file says who it is`)
      if (known !== null && known.nodeId === null) throw this.#noIdentity('log and vote file name two nodes')
      const nodeId = settleNodeId({ given: options.nodeId, stored: known?.nodeId ?? null, where: this.#where })
      const { generation, promise, joined } = known ?? { generation: 0, promise: null, joined: null }
      if (why === null) return await this.#begin(log, { nodeId, generation, promise, joined })
      this.#damaged = { why, log, vote, identity: { nodeId, generation, promise, joined } }
      const { snapshot, entries } = log
      const damage = { why, condemned: condemned !== null }
      const hardState = knownHardState(log, vote)
      const quarantine = log.meta?.quarantine ?? null
      const told = quarantine === null ? null : quarantineOf(quarantine)
      return { ...this.#damaged.identity, hardState, snapshot, entries, damage, quarantine: told }
    } catch (error) {
      await Promise.allSettled([this.#vote.close(), this.#records.close()])
      if (isOwn(error)) throw error
      throw this.#failure(
        'open',
        'it must be a folder that this user can write, on a disk with space that is well',
        error,
      )
    }
  }

  async quarantine(begin: QuarantinedLog): Promise<StoredNode> {
    const { log, vote, identity } = this.#damaged ?? this.#whole()
    const generation = this.#generationAfter(identity)
    const seq = Math.max(log.head?.seq ?? 0, vote?.seq ?? 0) + 1
    const end = knownEnd(log, vote)
    const next = quarantinedRecords({ begin, log, end, seq, identity: { ...identity, generation } })
    try {
      await this.#records.replace(String(generation), next.rows)
      this.#meta = next.meta
      this.#head = next.head
      this.#places = next.places
      this.#snapshot = begin.snapshot
      this.#lastQuarantine = next.meta.quarantine
      await this.#vote.saveTwice(this.#voteRecord(next.meta))
    } catch (error) {
      throw this.#die(error)
    }
    this.#damaged = null
    const { hardState, snapshot, entries } = begin
    const { quarantine: _, ...node } = next.meta
    return { ...node, hardState, snapshot, entries, damage: null, quarantine: this.lastQuarantine }
  }

  write(batch: LogBatch): Promise<void> {
    return this.#exclusively(async (meta) => {
      const before = this.#head
      const places = this.#places
      const tail = this.#tail()
      const keptTo = keptIndex(tail, batch)
      const isBegun = batch.install !== null
      const keptTerm = keptTo >= places.firstIndex && !isBegun ? places.term(keptTo) : (this.#snapshot?.term ?? 0)
      const next = advanceTail(tail, batch, keptTerm)
      const writing = this.#records.batch()
      for (let index = keptTo + 1; index <= before.lastIndex; index += 1) writing.delete(record.entryKey(index))
      const { hardState, snapshot, firstIndex, lastIndex } = next
      if (isBegun) this.#places = new LogPlaces(keptTo + 1, record.chainStart)
      else places.truncate(keptTo)
      this.#append(writing, batch.entries)
      if (!isBegun) places.begin(firstIndex)
      if (snapshot !== null && snapshot !== tail.snapshot)
        writing.put(record.snapshotKey, record.encodeSnapshotMeta(snapshot))
      const nextMeta = this.#judged(meta, isBegun)
      if (nextMeta !== meta) writing.put(record.metaKey, record.encodeMeta(nextMeta))
      const { anchor } = this.#places
      const lastHash = this.#places.hash(lastIndex)
      const snapshotIndex = snapshot?.index ?? 0
      const seq = before.seq + 1
      const head: Head = { seq, hardState, firstIndex, lastIndex, snapshotIndex, lastHash, anchor }
      writing.put(record.headKey, record.encodeHead(head))
      // What moves the log's beginning is synced in any case: no key may be deleted before that is on the disk.
      const sync = batch.sync || firstIndex !== before.firstIndex || nextMeta !== meta
      await writing.write({ sync })
      this.#head = head
      this.#snapshot = snapshot
      this.#meta = nextMeta
      const { term, vote, isRecovering } = before.hardState
      const isPromise = hardState.term !== term || hardState.vote !== vote || hardState.isRecovering !== isRecovering
      if (isPromise && sync) await this.#vote.saveDurably(this.#voteRecord(nextMeta))
      else if (sync) this.#vote.save(this.#voteRecord(nextMeta))
      // Not before: until the first write what is there may still be set aside.
      if (this.#isUntouched) this.#leftBehind.leaveUnknown(firstIndex)
      else this.#leftBehind.leave(before.firstIndex, Math.min(firstIndex - 1, before.lastIndex))
      this.#isUntouched = false
    })
  }

  writePromise(promise: FormingPromise): Promise<void> {
    return this.#exclusively(async (meta) => {
      assert(meta.joined === null, `joined ${meta.joined}, now to form ${promise.clusterId}`)
      assertSamePromise(meta.promise, promise)
      await this.#writeMeta({ ...meta, promise })
    })
  }

  writeJoined(clusterId: ClusterId): Promise<void> {
    return this.#exclusively(async (meta) => {
      assertFree(meta, clusterId)
      await this.#writeMeta({ ...meta, joined: clusterId })
    })
  }

  async condemn(why: string): Promise<void> {
    const meta = this.#opened()
    this.#condemned = why
    try {
      await this.#vote.saveTwice(this.#voteRecord(meta))
    } catch (error) {
      throw this.#die(error)
    }
  }

  async scrub(): Promise<ScrubReport> {
    this.#opened()
    try {
      // What was rewritten for the last report may stand beside its damaged bytes until then.
      await this.#leftBehind.atRest()
      return await this.#scrub.next()
    } catch (error) {
      throw isOwn(error) ? error : this.#failure('verify', 'check the health of its disk', error)
    }
  }

  rewrite(entries: readonly Entry[]): Promise<void> {
    return this.#exclusively(async (meta) => {
      const writing = this.#records.batch()
      const first = entries[0]?.index ?? 0
      const written = entries.length === 0 ? [] : encodeEntries(entries, this.#places.hash(first - 1))
      for (const [at, bytes] of written.entries()) {
        const index = first + at
        assert(this.#places.isHash(index, hashOfEntry(bytes)), `entry ${index} is not what was written before`)
        writing.put(record.entryKey(index), bytes)
      }
      writing.put(record.metaKey, record.encodeMeta(meta))
      if (this.#snapshot !== null) writing.put(record.snapshotKey, record.encodeSnapshotMeta(this.#snapshot))
      writing.put(record.headKey, record.encodeHead(this.#head))
      await writing.write({ sync: true })
      const concerned = this.#scrub.takeConcerned()
      if (concerned !== null) this.#leftBehind.compact(concerned.from, concerned.to)
    })
  }

  async close(): Promise<void> {
    assert(!this.#writing, 'the log store is closed during a write')
    await this.#leftBehind.end()
    try {
      await this.#vote.close()
    } finally {
      await this.#records.close()
    }
  }

  /** Before the first record is there, a file that can not be read is what a crash left of the first write of all. */
  async #openVote(isNew: boolean): Promise<VoteRecord | Damage | null> {
    const found = await this.#vote.open()
    const isBroken = found !== null && record.isDamage(found) && !found.isForeign
    return isNew && isBroken && this.#vote.hasOneSlot ? null : found
  }

  /** 0: none has come to its end. */
  #generationAfter({ generation }: Identity): number {
    return generation === 0 ? this.#firstGeneration : generation + 1
  }

  /** Makes durable that a start has begun, in both homes. */
  async #begin(log: LoadedLog, identity: Identity): Promise<StoredNode> {
    const { nodeId, promise, joined } = identity
    const hardState = log.head?.hardState ?? emptyHead.hardState
    const kept = log.meta?.quarantine ?? null
    const quarantine = hardState.isRecovering ? kept : null
    const meta: Meta = { nodeId, generation: this.#generationAfter(identity), promise, joined, quarantine }
    this.#head = log.head ?? emptyHead
    this.#places = log.places
    this.#snapshot = log.snapshot
    this.#lastQuarantine = kept
    // The file is there before the first record is: a record without a file is damage from the first one on.
    if (log.isEmpty) await this.#vote.saveDurably(this.#voteRecord({ ...meta, generation: 0 }))
    const writing = this.#records.batch()
    writing.put(record.metaKey, record.encodeMeta(meta))
    writing.put(record.headKey, record.encodeHead(this.#head))
    await writing.write({ sync: true })
    await this.#vote.saveDurably(this.#voteRecord(meta))
    if (kept === null && !hardState.isRecovering) await this.#records.removeAside()
    this.#meta = meta
    const { snapshot, entries } = log
    const { quarantine: _, ...node } = meta
    return { ...node, hardState, snapshot, entries, damage: null, quarantine: this.lastQuarantine }
  }

  /** A log that is sound, and has to be set aside all the same: the snapshot on which it stands is lost. */
  #whole(): Damaged {
    const meta = this.#opened()
    assert(this.#isUntouched, 'a log is set aside before anything is written')
    const { quarantine: _, ...identity } = meta
    const snapshot = this.#snapshot
    const log = { meta, head: this.#head, snapshot, entries: [], places: this.#places, isEmpty: false, why: null }
    return { why: 'the snapshot is lost', log, vote: null, identity }
  }

  #append(writing: RecordBatch, entries: readonly Entry[]): void {
    if (entries.length === 0) return
    const places = this.#places
    const written = encodeEntries(entries, places.hash(places.lastIndex))
    for (const [at, bytes] of written.entries()) {
      const { index, term } = entries[at] ?? { index: 0, term: 0 }
      writing.put(record.entryKey(index), bytes)
      places.append(term, hashOfEntry(bytes))
      this.#leftBehind.written(bytes.length)
    }
  }

  /** Meta with what is known by now of the quarantine; the same one when that is nothing new. */
  #judged(meta: Meta, isBegun: boolean): Meta {
    if (meta.quarantine === null) return meta
    const quarantine = quarantineAfter(meta.quarantine, this.#places, isBegun)
    if (quarantine === meta.quarantine) return meta
    this.#lastQuarantine = quarantine
    return { ...meta, quarantine }
  }

  async #writeMeta(meta: Meta): Promise<void> {
    const writing = this.#records.batch()
    writing.put(record.metaKey, record.encodeMeta(meta))
    await writing.write({ sync: true })
    this.#meta = meta
    await this.#vote.saveDurably(this.#voteRecord(meta))
  }

  #voteRecord({ nodeId, generation, promise, joined }: Meta): VoteRecord {
    const { seq, hardState, lastIndex, lastHash } = this.#head
    const { term, vote, isRecovering } = hardState
    const condemned = this.#condemned
    return { nodeId, generation, promise, joined, seq, term, vote, isRecovering, condemned, lastIndex, lastHash }
  }

  #tail(): LogTail {
    const { hardState, firstIndex, lastIndex } = this.#head
    const snapshot = this.#snapshot
    const lastTerm = lastIndex >= firstIndex ? this.#places.term(lastIndex) : (snapshot?.term ?? 0)
    return { hardState, snapshot, firstIndex, lastIndex, lastTerm }
  }

  #expected(): { readonly places: LogPlaces; readonly others: readonly (readonly [Uint8Array, Uint8Array])[] } {
    const others: [Uint8Array, Uint8Array][] = [
      [record.metaKey, record.encodeMeta(this.#opened())],
      [record.headKey, record.encodeHead(this.#head)],
    ]
    if (this.#snapshot !== null) others.push([record.snapshotKey, record.encodeSnapshotMeta(this.#snapshot)])
    return { places: this.#places, others }
  }

  /** One write at a time (R4); whatever goes wrong in it ends the store (R11), since a retry may hide what was lost. */
  async #exclusively(write: (meta: Meta) => Promise<void>): Promise<void> {
    const meta = this.#opened()
    if (this.#dead !== null) throw this.#dead
    assert(!this.#writing, 'a second write is started before the first has ended')
    this.#writing = true
    try {
      await write(meta)
    } catch (error) {
      throw this.#die(error)
    } finally {
      this.#writing = false
      this.#scrub.written()
    }
  }

  #die(error: unknown): Error {
    this.#dead ??= isOwn(error) ? error : this.#failure('write to', wayOut, error)
    return this.#dead
  }

  #opened(): Meta {
    assert(this.#meta !== null, 'the log store is not open')
    return this.#meta
  }

  #noIdentity(what: string): OperatingError {
    return new OperatingError(
      'storage-failed',
      `open ${this.#where}: ${what}: nothing was changed; remove this node from the cluster and let it join under a new id with an empty data directory`,
    )
  }

  #failure(verb: string, what: string, cause: unknown): OperatingError {
    return new OperatingError('storage-failed', `${verb} ${this.#where} failed: ${what}`, { cause })
  }
}

export type RecordLogStoreOptions = {
  /** For people: the folder. */
  readonly where: string
  readonly records: Records
  readonly voteFile: SlotFile
  readonly clock: Clock
  /** Less than 1 is 1. A node that has lost its disk must not seem to be an earlier start of itself: others remember its starts. */
  readonly firstGeneration?: number
}

type Identity = Omit<Meta, 'quarantine'>

type Damaged = {
  readonly why: string
  readonly log: LoadedLog
  readonly vote: VoteRecord | null
  /** Of the last start. */
  readonly identity: Identity
}

function isOwn(error: unknown): error is Error {
  return error instanceof InvariantError || error instanceof OperatingError
}

function quarantineOf({ why, lostUpTo, verified }: StoredQuarantine): Quarantine {
  return { why, lostUpTo, verified }
}

const emptyHead: Head = {
  seq: 0,
  hardState: { term: 0, vote: null, commit: 0, isRecovering: false },
  firstIndex: 1,
  lastIndex: 0,
  snapshotIndex: 0,
  anchor: record.chainStart,
  lastHash: record.chainStart,
}

const wayOut = 'make room or replace the disk, then start the node again'
