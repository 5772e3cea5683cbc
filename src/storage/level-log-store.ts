import path from 'node:path'
import { realClock } from '../std/clock.ts'
import type { Clock } from '../std/clock.ts'
import { LevelRecords } from './level-records.ts'
import { RecordLogStore } from './record-log-store.ts'
import { DiskSlotFile } from './slot-file.ts'

/** The log store of a data directory: LevelDB under `raft/`, the vote file beside it. */
export class LevelLogStore extends RecordLogStore {
  constructor(dataDir: string, clock: Clock = realClock) {
    super({
      where: path.join(dataDir, 'raft'),
      records: new LevelRecords(dataDir),
      voteFile: new DiskSlotFile(path.join(dataDir, 'vote')),
      clock,
    })
  }
}
