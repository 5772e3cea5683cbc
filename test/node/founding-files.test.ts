import { mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { formedIn } from '../../src/consensus/first-entry.ts'
import { decideRecovery } from '../../src/consensus/recovery.ts'
import { refuseUnfinished } from '../../src/node/data-dir.ts'
import { finishFounding, foundCluster, revisionGap } from '../../src/node/founding-files.ts'
import type { Founding } from '../../src/node/founding-files.ts'
import { readSnapshotFile } from '../../src/node/snapshot-file.ts'
import { decodeSnapshot } from '../../src/state/snapshot.ts'
import type { StateImage } from '../../src/state/snapshot.ts'
import { LevelLogStore } from '../../src/storage/level-log-store.ts'
import { SnapshotFileStore } from '../../src/storage/snapshot-file-store.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { savedSnapshot } from '../fixtures/saved-snapshot.ts'

let dir = ''
let image: StateImage
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-founding-'))
  const file = path.join(dir, 'saved')
  await writeFile(file, savedSnapshot(3))
  ;({ image } = await readSnapshotFile(file))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const clusterId = 'c2' as ClusterId
const voters = ['n1', 'n2', 'n3'] as NodeId[]
const dataDir = (): string => path.join(dir, 'data')
const founding = (): Founding => ({
  dataDir: dataDir(),
  nodeId: 'n1' as NodeId,
  clusterId,
  voters,
  image,
  term: 5,
  aside: null,
})

/** What a node finds in the directory. */
async function start(at = dataDir()) {
  const store = new LevelLogStore(at)
  const snapshots = new SnapshotFileStore(at)
  const stored = await store.open({ nodeId: null })
  try {
    const found = await snapshots.open()
    const recovery = decideRecovery(stored, { ...found, hasNamed: found.newest?.index === stored.snapshot?.index })
    const bytes = stored.snapshot === null ? null : await snapshots.read(stored.snapshot)
    const state = bytes === null ? null : decodeSnapshot(bytes)
    return { stored, recovery, image: state !== null && 'malformed' in state ? null : state }
  } finally {
    await snapshots.close()
    await store.close()
  }
}

describe('a founded data directory', () => {
  it('is that of a voter whose log stands on the state, far above its revisions, and who has voted for nobody', async () => {
    const founded = await foundCluster(founding())
    expect(founded).toEqual({ nodeId: 'n1', clusterId, voters, index: 4 + revisionGap, aside: null })
    const { stored, recovery } = await start()
    expect(stored).toMatchObject({
      nodeId: 'n1',
      promise: { clusterId, voters },
      joined: null,
      entries: [],
      damage: null,
    })
    expect(stored.hardState).toEqual({ term: 5, vote: null, commit: founded.index, isRecovering: false })
    expect(stored.snapshot).toMatchObject({ index: founded.index, term: 5, time: 1000 })
    expect(recovery).toMatchObject({ kind: 'start', lost: null })
    expect(formedIn(stored)).toMatchObject({ clusterId, voters, learners: [] })
    expect(await readdir(dataDir())).not.toContain('founding')
  })

  it('keeps keys with their revisions and what repeated writes were answered, and forgets the processes of then', async () => {
    await foundCluster(founding())
    const { image: kept } = await start()
    expect(image.members).toHaveLength(1)
    expect(kept?.kv).toEqual(image.kv)
    expect(kept?.sessions).toEqual(image.sessions)
    expect([kept?.members, kept?.replicas, kept?.appliedIndex]).toEqual([[], [], 4 + revisionGap])
  })

  it('is byte for byte the same state on every voter', async () => {
    await foundCluster(founding())
    const other = path.join(dir, 'other')
    await foundCluster({ ...founding(), dataDir: other, nodeId: 'n2' as NodeId })
    const name = `${4 + revisionGap}-5.snapshot`
    const [one, two] = await Promise.all([dataDir(), other].map((at) => readFile(path.join(at, 'snapshots', name))))
    expect(one).toEqual(two)
  })

  it('keeps what stood there before in a folder of its own, but for the records of child processes', async () => {
    await mkdir(path.join(dataDir(), 'raft'), { recursive: true })
    for (const name of ['raft/old', 'vote', 'before-x', 'children']) await writeFile(path.join(dataDir(), name), name)
    await foundCluster({ ...founding(), aside: 'before-recover' })
    expect((await readdir(path.join(dataDir(), 'before-recover'))).sort()).toEqual(['raft', 'vote'])
    expect(await readdir(path.join(dataDir(), 'before-recover', 'raft'))).toEqual(['old'])
    expect(await readdir(dataDir())).toEqual(expect.arrayContaining(['before-x', 'children', 'raft', 'snapshots']))
    expect((await start()).stored.damage).toBe(null)
  })
})

describe('a founding that was interrupted', () => {
  const aside = 'before-recover'

  /** As it is when all is built and nothing has been moved: the first founding taken back. */
  async function built(): Promise<void> {
    const whole = path.join(dir, 'whole')
    await foundCluster({ ...founding(), dataDir: whole })
    const fresh = path.join(dataDir(), 'founding', 'new')
    await mkdir(fresh, { recursive: true })
    for (const name of await readdir(whole)) await rename(path.join(whole, name), path.join(fresh, name))
    for (const name of ['raft', 'snapshots', 'vote']) {
      await mkdir(path.join(dataDir(), name))
      await writeFile(path.join(dataDir(), name, 'old'), '')
    }
    const founded = { nodeId: 'n1', clusterId, voters, index: 4 + revisionGap, aside }
    await writeFile(path.join(dataDir(), 'founding', 'built'), JSON.stringify(founded))
  }

  /** The steps of moving, in order; a crash may come before any of them. */
  async function move(steps: number): Promise<void> {
    const at = dataDir()
    const fresh = path.join(at, 'founding', 'new')
    const all = [
      () => mkdir(path.join(at, aside)),
      ...['raft', 'snapshots', 'vote'].map((name) => () => rename(path.join(at, name), path.join(at, aside, name))),
      () => rename(path.join(at, 'founding', 'built'), path.join(at, 'founding', 'placing')),
      ...(await readdir(fresh)).map((name) => () => rename(path.join(fresh, name), path.join(at, name))),
    ]
    for (const step of all.slice(0, steps)) await step()
  }

  it.each([0, 1, 2, 3, 4, 5, 6, 7])(
    'before step %i of the moving is refused by a start, and completed',
    async (steps) => {
      await built()
      await move(steps)
      await expect(refuseUnfinished(dataDir())).rejects.toMatchObject({ code: 'storage-failed' })
      expect(await finishFounding(dataDir())).toMatchObject({ nodeId: 'n1', clusterId, aside })
      await refuseUnfinished(dataDir())
      expect((await readdir(path.join(dataDir(), aside))).sort()).toEqual(['raft', 'snapshots', 'vote'])
      for (const name of ['raft', 'snapshots', 'vote'])
        expect(await readdir(path.join(dataDir(), aside, name))).toEqual(['old'])
      expect((await start()).stored).toMatchObject({ promise: { clusterId }, damage: null, entries: [] })
      expect(await finishFounding(dataDir())).toBe(null)
    },
  )

  it('while it was being built has changed nothing, and is begun anew', async () => {
    await mkdir(path.join(dataDir(), 'founding', 'new', 'raft'), { recursive: true })
    await expect(refuseUnfinished(dataDir())).rejects.toMatchObject({ code: 'storage-failed' })
    expect(await finishFounding(dataDir())).toBe(null)
    await foundCluster(founding())
    await refuseUnfinished(dataDir())
  })
})
