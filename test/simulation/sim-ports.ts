import type {
  DamagedRecords,
  FilesReport,
  RecordBatch,
  Records,
  Row,
  RowIterator,
  SlotFile,
} from '../../src/storage/records.ts'
import type { SimDisk } from './sim-disk.ts'
import type { SimProcess } from './sim-process.ts'
import type { RecordKey, RecordOperation } from './sim-records.ts'

/**
 * A disk as one process has it: the two ports below the real log store. What the process asks for after its death never
 * ends; after an error every later write ends with one.
 */
export class SimRecordsPort implements Records {
  readonly #io: Io
  readonly #disk: SimDisk
  readonly #landed: (operations: readonly RecordOperation[]) => () => void

  /** `landed`: what a batch means to the truth, taken when it is written, run when it is durable. */
  constructor(io: Io, disk: SimDisk, landed: (operations: readonly RecordOperation[]) => () => void) {
    this.#io = io
    this.#disk = disk
    this.#landed = landed
  }

  open(): Promise<DamagedRecords | null> {
    const why = this.#disk.records.unreadable
    return this.#io.told(why === null ? null : { why, remains: this })
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#io.told(this.#disk.records.get(textOf(key)))
  }

  iterate(from: Uint8Array, to: Uint8Array): RowIterator {
    let left = this.#disk.records.between(textOf(from), textOf(to))
    return {
      next: () => {
        const rows = left.slice(0, rowsPerRead).map(([key, value]): Row => [bytesOf(key), value])
        left = left.slice(rowsPerRead)
        return this.#io.told(rows)
      },
      close: () => this.#io.told(undefined),
    }
  }

  batch(): RecordBatch {
    const operations: RecordOperation[] = []
    return {
      put: (key, value) => void operations.push({ key: textOf(key), value: new Uint8Array(value) }),
      delete: (key) => void operations.push({ key: textOf(key), value: null }),
      write: ({ sync }) => this.#write(operations, sync),
    }
  }

  compact(): Promise<void> {
    return this.#io.told(undefined)
  }

  verify(): Promise<FilesReport> {
    const why = this.#disk.records.unreadable
    const damage = why === null ? null : { why, mend: 'restart' as const }
    return this.#io.told({ bytes: 0, isRoundDone: true, damage })
  }

  replace(_aside: string, records: Iterable<Row>): Promise<void> {
    const operations = Array.from(records, ([key, value]) => ({ key: textOf(key), value: new Uint8Array(value) }))
    const landed = this.#landed(operations)
    return this.#io.perform({
      sync: true,
      begin: () => undefined,
      finish: () => {
        this.#disk.records.replace(operations)
        landed()
        return true
      },
      drop: () => undefined,
    })
  }

  removeAside(): Promise<void> {
    return this.#io.told(undefined)
  }

  close(): Promise<void> {
    return this.#io.told(undefined)
  }

  #write(operations: readonly RecordOperation[], sync: boolean): Promise<void> {
    const { records } = this.#disk
    const bytes = operations.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0)
    const write = { operations, sync, durable: this.#landed(operations) }
    return this.#io.perform({
      sync,
      bytes,
      begin: () => records.begin(write),
      finish: () => records.finish(write),
      drop: () => records.drop(write),
    })
  }
}

export class SimSlotFilePort implements SlotFile {
  readonly #io: Io
  readonly #disk: SimDisk

  constructor(io: Io, disk: SimDisk) {
    this.#io = io
    this.#disk = disk
  }

  read(): Promise<Uint8Array | null> {
    return this.#io.told(this.#disk.votes.read())
  }

  write(bytes: Uint8Array, at: number): Promise<void> {
    const piece = { at, bytes: new Uint8Array(bytes) }
    return this.#io.perform({
      sync: false,
      begin: () => undefined,
      finish: () => {
        this.#disk.votes.write(piece)
        return true
      },
      drop: () => undefined,
    })
  }

  sync(): Promise<void> {
    return this.#io.perform({
      sync: true,
      begin: () => undefined,
      finish: () => {
        this.#disk.votes.sync()
        return true
      },
      drop: () => this.#disk.votes.drop(),
    })
  }

  close(): Promise<void> {
    return this.#io.told(undefined)
  }
}

/** Something on its way to the disk. `finish`: false when the power went in between. */
type Work = {
  readonly sync: boolean
  /** Of the disk's room. */
  readonly bytes?: number
  readonly begin: () => void
  readonly finish: () => boolean
  readonly drop: () => void
}

/** How reads and writes fare. */
export type Io = {
  told<T>(what: T): Promise<T>
  perform(work: Work): Promise<void>
}

/** Outside of all time, before a run begins. */
export const ioAtOnce: Io = {
  told: (what) => Promise.resolve(what),
  perform(work) {
    work.begin()
    work.finish()
    return Promise.resolve()
  },
}

/** How one process's writes fare: they take time, meet crashes at their boundaries, and errors. */
export class SimIo implements Io {
  readonly #process: SimProcess
  readonly #disk: SimDisk
  #isDead = false

  constructor(process: SimProcess, disk: SimDisk) {
    this.#process = process
    this.#disk = disk
  }

  told<T>(what: T): Promise<T> {
    this.#process.world.promised()
    return Promise.resolve(what)
  }

  perform(work: Work): Promise<void> {
    const { world } = this.#process
    const disk = this.#disk
    world.promised()
    return new Promise((resolve, reject) => {
      if (!this.#process.reach('write')) return
      work.begin()
      if (disk.freeBytes !== null) disk.freeBytes -= work.bytes ?? 0
      const isFull = disk.freeBytes !== null && disk.freeBytes < 0
      const failing = this.#isDead || isFull ? 'gone' : disk.failNext
      disk.failNext = null
      world.after(disk.delayUs(world.nowUs, work.sync), `${disk.node} disk`, () => {
        if (!this.#process.alive) return
        if (failing !== null) {
          this.#isDead = true
          disk.hasErred = true
          if (failing === 'gone') work.drop()
          this.#tell(() => reject(new Error(isFull ? 'ENOSPC: no space left' : 'EIO: the simulated disk failed')))
          return
        }
        if (!work.finish() || !this.#process.reach('written')) return
        this.#tell(resolve)
      })
    })
  }

  #tell(settle: () => void): void {
    this.#process.later(0, 'input', 'disk', () => {
      this.#process.world.promised()
      settle()
    })
  }
}

const rowsPerRead = 100

function textOf(key: Uint8Array): RecordKey {
  return String.fromCharCode(...key)
}

function bytesOf(key: RecordKey): Uint8Array {
  return Uint8Array.from(key, (each) => each.charCodeAt(0))
}
