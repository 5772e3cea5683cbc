/**
 * The port of the disk under the log: sorted records with atomic batches, as LevelDB offers them (level-records.ts). What a
 * record means is the log store's alone. Errors come as they are, but for two: `locked`, and `RecordsDamaged`. Bytes that
 * were changed on the disk may come back as they are: whoever reads verifies.
 */
export type Records = RecordReader & {
  /**
   * Null: open. Otherwise what is there is damaged and nothing was changed; only `replace`, `open` and `close` may follow.
   * Finishes or undoes a `replace` that a crash has met. Error `locked`: another process holds it.
   */
  open(): Promise<DamagedRecords | null>
  /** One batch is written at a time, but for those that are not synced and whose order does not matter. */
  batch(): RecordBatch
  /** Gives back the room of what was deleted or replaced between the keys. */
  compact(from: Uint8Array, to: Uint8Array): Promise<void>
  /** Verifies the next piece of the files below the records, beside the writes, and begins anew behind the last. */
  verify(): Promise<FilesReport>
  /**
   * Open or not: closes, keeps the files that are there aside under this name (and no older ones), and opens with these
   * records only. After a crash it has happened or it has not.
   */
  replace(aside: string, records: Iterable<Row>): Promise<void>
  /** Deletes what was kept aside. */
  removeAside(): Promise<void>
  close(): Promise<void>
}

export type RecordReader = {
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  /** In the order of the keys: `from` on, up to but without `to`. */
  iterate(from: Uint8Array, to: Uint8Array): RowIterator
}

/** Key and value. */
export type Row = readonly [Uint8Array, Uint8Array]

export type RowIterator = {
  /** Some of the next rows; none at the end. */
  next(): Promise<readonly Row[]>
  close(): Promise<void>
}

export type RecordBatch = {
  /** Copies what it is given. */
  put(key: Uint8Array, value: Uint8Array): void
  delete(key: Uint8Array): void
  /** All of it, or after a crash nothing; `sync`: durable, with every batch before it, when resolved. */
  write(options: { sync: boolean }): Promise<void>
}

/** `remains`: what can still be read; any record may lack, or be an older one. */
export type DamagedRecords = { readonly why: string; readonly remains: RecordReader }

export type FilesReport = {
  readonly bytes: number
  readonly isRoundDone: boolean
  /** The keys that may be concerned are what a mending has to write once more, and then to `compact`; null: as `mend` says. */
  readonly damage:
    | { readonly why: string; readonly mend: 'done' | 'restart' }
    | { readonly why: string; readonly mend: 'rewrite'; readonly from: Uint8Array; readonly to: Uint8Array }
    | null
}

/** Bytes that are needed now are not what was written. */
export class RecordsDamaged extends Error {
  override readonly name = 'RecordsDamaged'
}

/** The port of one small file that is written in place (vote-file.ts). Errors come as they are. */
export type SlotFile = {
  /** All of it; null when there is none. */
  read(): Promise<Uint8Array | null>
  /** Makes the file when there is none. */
  write(bytes: Uint8Array, at: number): Promise<void>
  /** All writes before it are durable, and so is that the file is there. */
  sync(): Promise<void>
  /** The next write opens it again. */
  close(): Promise<void>
}
