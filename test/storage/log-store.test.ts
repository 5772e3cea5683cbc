import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { LevelLogStore } from '../../src/storage/level-log-store.ts'
import { MemoryDisk, MemoryLogStore } from '../../src/storage/memory-log-store.ts'
import { logStoreConformance } from '../conformance/log-store.ts'

logStoreConformance('on LevelDB', async () => {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'quorate-log-'))
  return { newStore: () => new LevelLogStore(dataDir), remove: () => rm(dataDir, { recursive: true }) }
})

logStoreConformance('in memory', async () => {
  const disk = new MemoryDisk()
  return { newStore: () => new MemoryLogStore(disk), remove: async () => undefined }
})
