import { appendFileSync, readFileSync, truncateSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLocalCluster } from '../../scripts/lib/local-cluster.ts'
import type { LocalCluster, LocalNode } from '../../scripts/lib/local-cluster.ts'
import { Random } from '../../src/std/random.ts'
import { damageFile, fileKinds, filesOf } from '../fixtures/damaged-files.ts'
import type { FileKind } from '../fixtures/damaged-files.ts'
import { waitFor } from '../wait.ts'
import { getJson, putUntilDone } from './http-json.ts'

// Three real processes on a real disk. The seed draws which node, which file and which byte.
const seed = Number(process.env['DAMAGE_SEED'] ?? 4)
const random = new Random(seed)
let cluster: LocalCluster
/** Key and value of every write that was acknowledged. */
const acknowledged = new Map<string, string>()

beforeAll(async () => {
  cluster = await startLocalCluster({
    nodes: 3,
    config: { consensus: { heartbeatMs: 50, electionTimeoutMs: 500, snapshotEntries: 100 } },
  })
})

afterAll(async () => {
  await cluster.stop()
})

async function writeMany(count: number): Promise<void> {
  const running = cluster.nodes.filter((node) => node.isRunning)
  const from = acknowledged.size
  await Promise.all(
    Array.from({ length: count }, async (_, at) => {
      const key = `damage/${String(from + at).padStart(5, '0')}`
      const value = `${key} ${'x'.repeat(200)}`
      const answer = await putUntilDone(`${running[at % running.length]?.url}/v1/kv/${key}`, value)
      expect(answer.status, JSON.stringify(answer.body)).toBe(200)
      acknowledged.set(key, value)
    }),
  )
}

/** By linearizable reads of that node. */
async function expectAll(node: LocalNode): Promise<void> {
  const found = new Map<string, unknown>()
  for (let after: string | null = null, isDone = false; !isDone;) {
    const query: string = after === null ? '' : `&after=${encodeURIComponent(after)}`
    const page: Record<string, unknown> = await waitFor(`a page of ${node.id}`, async () => {
      const answer = await fetch(`${node.url}/v1/kv?prefix=damage%2F&limit=500${query}`)
      return answer.status === 200 ? ((await answer.json()) as Record<string, unknown>) : null
    })
    for (const { key, value } of page['entries'] as { key: string; value: unknown }[]) found.set(key, value)
    after = (page['next'] as string | undefined) ?? null
    isDone = after === null
  }
  expect(Object.fromEntries(found)).toEqual(Object.fromEntries(acknowledged))
}

async function quarantineOf(node: LocalNode): Promise<{ why: string; over: boolean } | null> {
  return (await getJson(`${node.url}/v1/status`))['quarantine'] as { why: string; over: boolean } | null
}

describe('a node whose files are damaged while it is down', () => {
  it.each<[FileKind, 'flip' | 'cut', { readonly isSeen: boolean }]>([
    ['log', 'flip', { isSeen: true }],
    ['log', 'cut', { isSeen: true }],
    ['table', 'flip', { isSeen: true }],
    ['current', 'cut', { isSeen: true }],
    ['manifest', 'flip', { isSeen: true }],
    // It has two slots, of which one may be sound.
    ['vote', 'flip', { isSeen: false }],
    ['vote', 'cut', { isSeen: false }],
    ['snapshot', 'flip', { isSeen: true }],
  ])('has lost nothing, and counts again: %s, %s', async (kind, how, { isSeen }) => {
    await writeMany(40)
    const target = cluster.nodes[random.below(3)]
    if (target === undefined) throw new Error('there are three nodes')
    const others = cluster.nodes.filter((node) => node !== target)
    await target.kill('SIGKILL')
    const files = filesOf(target.dataDir, kind)
    const file = files[random.below(files.length)]
    if (file === undefined) throw new Error(`${target.id} has no file of kind ${kind}`)
    const what = `seed ${seed}: ${target.id}: ${damageFile(file, { how, seed: random.uint32() })}`
    await writeMany(5)
    await target.restart()
    const quarantine = await waitFor(`the repair: ${what}`, async () => {
      const found = await quarantineOf(target)
      return found?.over === false ? null : { found }
    })
    expect(!isSeen || quarantine.found?.over === true, what).toBe(true)
    const dying = others[random.below(2)]
    await dying?.kill('SIGKILL')
    await expectAll(target)
    await writeMany(1)
    await dying?.restart()
  })

  it('had every kind of file', () => {
    for (const kind of fileKinds) expect(filesOf(cluster.node('n1').dataDir, kind)).not.toEqual([])
  })
})

/**
 * Where the last batches of LevelDB's log begin that hold the head alone: no entry, and so nothing that was synced. Records
 * have a head of 7 bytes (checksum, length, type), none of which is at the end of a block of 32 KiB; batches one of 12, which
 * ends with how much is in them.
 */
function unsyncedFrom(file: string): number {
  const bytes = readFileSync(file)
  let from = bytes.length
  for (let at = 0; at + 7 <= bytes.length;) {
    const leftInBlock = 32_768 - (at % 32_768)
    if (leftInBlock < 7) {
      at += leftInBlock
      continue
    }
    const length = bytes.readUInt16LE(at + 4)
    const isWhole = bytes[at + 6] === 1
    if (!isWhole || bytes.readUInt32LE(at + 7 + 8) !== 1) from = bytes.length
    else from = Math.min(from, at)
    at += 7 + length
  }
  return from
}

describe('all nodes, killed at once', () => {
  it('have lost nothing when what was not synced yet is gone, or is rubbish', async () => {
    await writeMany(20)
    // The last batches say only what is committed: that is never synced for its own sake.
    await waitFor('rest', async () => {
      const views = await Promise.all(cluster.nodes.map((node) => getJson(`${node.url}/v1/raft`)))
      return views.every(
        (view) => view['commitIndex'] === view['lastIndex'] && view['lastIndex'] === views[0]?.['lastIndex'],
      )
    })
    // Of the damage before: it is told of until the start after the one that repaired it.
    const before = await Promise.all(cluster.nodes.map(quarantineOf))
    await Promise.all(cluster.nodes.map((node) => node.kill('SIGKILL')))
    for (const [at, node] of cluster.nodes.entries()) {
      const file = filesOf(node.dataDir, 'log').at(-1)
      if (file === undefined) throw new Error(`${node.id} has no log`)
      const cutFrom = unsyncedFrom(file)
      if (at === 0) truncateSync(file, cutFrom)
      else appendFileSync(file, Buffer.from(Array.from({ length: 50 }, () => (at === 1 ? 0 : random.below(256)))))
    }
    await Promise.all(cluster.nodes.map((node) => node.restart()))
    for (const node of cluster.nodes) await expectAll(node)
    for (const [at, node] of cluster.nodes.entries())
      expect([null, before[at]]).toContainEqual(await quarantineOf(node))
    await writeMany(1)
  })
})
