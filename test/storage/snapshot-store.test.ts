import { mkdtemp, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { decodeSnapshot } from '../../src/storage/snapshot-record.ts'
import { MemorySnapshotStore, MemorySnapshots } from '../../src/storage/memory-snapshot-store.ts'
import { SnapshotFileStore } from '../../src/storage/snapshot-file-store.ts'
import { snapshotStoreConformance } from '../conformance/snapshot-store.ts'
import { snapshotOf } from '../fixtures/log-batches.ts'

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const changed = new Uint8Array(bytes)
  changed[at] = (changed[at] ?? 0) ^ 8
  return changed
}

it('a snapshot of format 1 that somebody kept is read, whatever became of the log since', () => {
  const head = Buffer.from('51534e5001fe00001e21e4560000009d0000000000000004', 'hex')
  const meta =
    '{"index":10,"term":2,"time":1010,"configuration":"{\\"clusterId\\":\\"c1\\",\\"voters\\":[\\"n1\\",\\"n2\\"],' +
    '\\"votersOutgoing\\":[],\\"learners\\":[],\\"promotable\\":[]}"}'
  const kept = Buffer.concat([head, Buffer.from(`${meta}kept`)])
  expect(decodeSnapshot(kept)).toEqual({ snapshot: snapshotOf(10, 2), data: new TextEncoder().encode('kept') })
})

snapshotStoreConformance('in files', async () => {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'quorate-snapshots-'))
  return {
    newStore: () => new SnapshotFileStore(dataDir),
    async damage({ index, term }) {
      const file = path.join(dataDir, 'snapshots', `${index}-${term}.snapshot`)
      const bytes = await readFile(file)
      await writeFile(file, flipped(bytes, bytes.length - 9))
    },
    remove: () => rm(dataDir, { recursive: true }),
  }
})

snapshotStoreConformance('in memory', async () => {
  const files = new MemorySnapshots()
  return {
    newStore: () => new MemorySnapshotStore(files),
    async damage({ index, term }) {
      const bytes = files.whole.get(`${index}-${term}`) ?? new Uint8Array()
      files.whole.set(`${index}-${term}`, flipped(bytes, bytes.length - 9))
    },
    remove: async () => undefined,
  }
})

describe('SnapshotFileStore', () => {
  let dataDir: string
  beforeEach(async () => {
    dataDir = await mkdtemp(path.join(tmpdir(), 'quorate-snapshots-'))
  })
  afterEach(() => rm(dataDir, { recursive: true }))

  const [older, newer] = [snapshotOf(10, 2), snapshotOf(25, 3)]
  const data = new TextEncoder().encode('the state of the state machine')
  const newestFile = (): string => path.join(dataDir, 'snapshots', '25-3.snapshot')

  async function written(): Promise<void> {
    const store = new SnapshotFileStore(dataDir)
    await store.open()
    await store.write(older, data)
    await store.write(newer, data)
    await store.close()
  }

  it('finds every flipped bit and every cut of a file, and goes back to the one before', async () => {
    await written()
    const whole = await readFile(newestFile())
    const changes = [
      ...Array.from(whole, (_, at) => () => writeFile(newestFile(), flipped(whole, at))),
      ...Array.from(whole, (_, length) => async () => {
        await writeFile(newestFile(), whole)
        await truncate(newestFile(), length)
      }),
      () => writeFile(newestFile(), Buffer.concat([whole, Buffer.of(0)])),
    ]
    for (const change of changes) {
      await change()
      const store = new SnapshotFileStore(dataDir)
      expect(await store.open()).toEqual({ newest: older, damaged: [expect.stringMatching(/25-3.*is damaged/)] })
      expect(await readdir(path.dirname(newestFile()))).toContain('25-3.snapshot.damaged')
    }
    await new SnapshotFileStore(dataDir).open()
    expect(await readdir(path.dirname(newestFile()))).toEqual(['10-2.snapshot'])
  })

  it('leaves a file of another version alone and says so', async () => {
    await written()
    const bytes = new Uint8Array(await readFile(newestFile()))
    bytes.set([4, 4 ^ 0xff], 4)
    await writeFile(newestFile(), bytes)
    await expect(new SnapshotFileStore(dataDir).open()).rejects.toMatchObject({
      code: 'storage-failed',
      cause: { message: expect.stringContaining('another version wrote 25-3.snapshot: it has format 4') as string },
    })
    expect(await readdir(path.join(dataDir, 'snapshots'))).toContain('25-3.snapshot')
  })

  it('reads a file again with a pause between two pieces, which may end it', async () => {
    const store = new SnapshotFileStore(dataDir)
    await store.open()
    await store.write(newer, new Uint8Array(2.5 * 1024 * 1024))
    let pauses = 0
    expect(await store.verify(newer, async () => void (pauses += 1))).toBeNull()
    expect(pauses).toBe(2)
    const ended = store.verify(newer, () => Promise.reject(new Error('enough')))
    await expect(ended).rejects.toMatchObject({ code: 'storage-failed', cause: { message: 'enough' } })
  })

  it('removes what a crash left of a write or a transfer, and nothing else', async () => {
    await written()
    const folder = path.join(dataDir, 'snapshots')
    for (const file of ['30-3.tmp', '31-3.part', 'notes.txt']) await writeFile(path.join(folder, file), data)
    await writeFile(path.join(folder, '99-9.snapshot'), await readFile(newestFile()))
    const store = new SnapshotFileStore(dataDir)
    const damaged = ['the snapshot 99-9.snapshot is damaged: it has the name of another one']
    expect(await store.open()).toEqual({ newest: newer, damaged })
    const left = ['10-2.snapshot', '25-3.snapshot', '99-9.snapshot.damaged', 'notes.txt']
    expect((await readdir(folder)).sort()).toEqual(left)
  })

  it('answers a folder that can not be used with what to check', async () => {
    await writeFile(path.join(dataDir, 'snapshots'), '')
    await expect(new SnapshotFileStore(dataDir).open()).rejects.toMatchObject({
      code: 'storage-failed',
      message: expect.stringContaining(path.join(dataDir, 'snapshots')) as string,
    })
  })
})
