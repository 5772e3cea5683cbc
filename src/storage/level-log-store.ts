import path from 'node:path'
import { realClock } from '../std/clock.ts'
import type { Clock } from '../std/clock.ts'
import { LevelRecords } from './level-records.ts'
import { RecordLogStore } from './record-log-store.ts'
import { DiskSlotFile } from './slot-file.ts'

/** The log store of a data directory: LevelDB under `raft/`, the vote file beside it. */
export class LevelLogStore extends RecordLogStore {
  /** `firstGeneration`: of a data directory that is new; see RecordLogStoreOptions. */
  constructor(dataDir: string, { clock = realClock, firstGeneration = 1 }: LevelLogStoreOptions = {}) {
    super({
      where: path.join(dataDir, 'raft'),
      records: new LevelRecords(dataDir),
      voteFile: new DiskSlotFile(path.join(dataDir, 'vote')),
      clock,
      firstGeneration,
    })
  }
}

type LevelLogStoreOptions = { readonly clock?: Clock; readonly firstGeneration?: number }
