import type * as fsPromises from 'node:fs/promises'
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { formedIn } from '../../src/consensus/first-entry.ts'
import { decideRecovery } from '../../src/consensus/recovery.ts'
import { refuseUnfinished } from '../../src/node/data-dir.ts'
import { finishFounding, foundCluster, revisionGap } from '../../src/node/founding-files.ts'
import type { Founding } from '../../src/node/founding-files.ts'
import { readMembership, writeMembership } from '../../src/node/membership-file.ts'
import { readSnapshotFile } from '../../src/node/snapshot-file.ts'
import { decodeSnapshot } from '../../src/state/snapshot.ts'
import type { StateImage } from '../../src/state/snapshot.ts'
import { LevelLogStore } from '../../src/storage/level-log-store.ts'
import { SnapshotFileStore } from '../../src/storage/snapshot-file-store.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { savedSnapshot } from '../fixtures/saved-snapshot.ts'

/** Of the moves of files so many are done; every later one fails, as if the process had ended there. */
const renames = vi.hoisted(() => ({ left: Infinity }))
vi.mock('node:fs/promises', async (importOriginal) => {
  const original = await importOriginal<typeof fsPromises>()
  const rename: typeof original.rename = async (from, to) => {
    if (renames.left === 0) throw new Error('it ends here')
    renames.left -= 1
    await original.rename(from, to)
  }
  return { ...original, rename }
})

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
    // As what a saved snapshot is: for its owner alone.
    expect((await stat(dataDir())).mode & 0o777).toBe(0o700)
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
    expect(kept?.answers).toEqual(image.answers)
    expect([kept?.members, kept?.replicas, kept?.appliedIndex]).toEqual([[], [], 4 + revisionGap])
  })

  it('has nobody drain or leave who was to in the old cluster, and knows no join token of that', async () => {
    const token = {
      id: '0123456789abcdef',
      createdAt: 1000,
      expiresAt: 61_000,
      usesMax: 1,
      usedBy: [],
      isRevoked: false,
      note: '',
    }
    const drains = [{ node: 'n1' as NodeId, drain: 'leave' as const }]
    await foundCluster({ ...founding(), image: { ...image, drains, tokens: [token] } })
    const { image: kept } = await start()
    expect([kept?.drains, kept?.tokens]).toEqual([[], []])
  })

  it('holds where the indexes of the log have outgrown 32 bits', async () => {
    const { index } = await foundCluster({ ...founding(), image: { ...image, appliedIndex: 2 ** 40 } })
    const { stored, image: kept } = await start()
    expect([stored.snapshot?.index, kept?.appliedIndex, index]).toEqual([index, index, 2 ** 40 + revisionGap])
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

  it('keeps what a join by a token gave the node, which is of the new cluster now', async () => {
    const joined = { clusterId: 'c1' as ClusterId, clusterName: 'prod', secret: 's'.repeat(40), peers: ['a:1'] }
    await writeMembership(dataDir(), { node: 'n1' as NodeId, joined })
    await foundCluster({ ...founding(), aside: 'before-recover' })
    expect(await readMembership(dataDir())).toEqual({ node: 'n1', joined: { ...joined, clusterId, peers: [] } })
    expect(await readdir(path.join(dataDir(), 'before-recover'))).toEqual([])
  })
})

describe('a founding that was interrupted', () => {
  /** The whole of a directory that is not that of a node, so that it is told from one. */
  async function begun(): Promise<void> {
    for (const name of old) await mkdir(path.join(dataDir(), name, 'old'), { recursive: true })
  }
  const old = ['raft', 'snapshots', 'vote']
  const oldIn = async (folder: string): Promise<string[]> => {
    const found: string[] = []
    for (const name of await readdir(folder).catch((): string[] => [])) {
      const within = await readdir(path.join(folder, name)).catch((): string[] => [])
      if (within.includes('old')) found.push(name)
    }
    return found.sort()
  }

  it('before whatever step changes nothing, or is refused by a start and then completed', async () => {
    const seen = { untouched: 0, completed: 0 }
    for (let step = 0; ; step += 1) {
      await rm(dataDir(), { recursive: true, force: true })
      await begun()
      renames.left = step
      const ended = await foundCluster({ ...founding(), aside: 'before-recover' }).catch((error: unknown) => error)
      renames.left = Infinity
      if (!(ended instanceof OperatingError)) break
      expect(ended.code).toBe('storage-failed')
      const isStarted = await refuseUnfinished(dataDir()).then(
        () => true,
        () => false,
      )
      const finished = await finishFounding(dataDir())
      expect([step, isStarted], 'a start is refused while there is something to complete').toEqual([
        step,
        finished === null,
      ])
      const aside = path.join(dataDir(), 'before-recover')
      expect([await oldIn(dataDir()), await oldIn(aside)]).toEqual(finished === null ? [old, []] : [[], old])
      const now = finished === null ? null : (await start()).stored
      expect([now?.promise?.clusterId ?? null, now?.damage ?? null]).toEqual([finished?.clusterId ?? null, null])
      await refuseUnfinished(dataDir())
      expect(await finishFounding(dataDir())).toBe(null)
      seen[finished === null ? 'untouched' : 'completed'] += 1
    }
    // The snapshot's name; then three out, the mark, and raft, snapshots and vote file in.
    expect(seen).toEqual({ untouched: 1, completed: 7 })
  })

  it('while it was being built is refused by a start, has changed nothing, and is begun anew', async () => {
    await mkdir(path.join(dataDir(), 'founding', 'new', 'raft'), { recursive: true })
    await expect(refuseUnfinished(dataDir())).rejects.toMatchObject({ code: 'storage-failed' })
    expect(await finishFounding(dataDir())).toBe(null)
    await foundCluster(founding())
    await refuseUnfinished(dataDir())
  })
})
