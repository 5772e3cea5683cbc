import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import type { AddressInfo } from 'node:net'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encodeConfiguration, makeConfiguration } from '../../src/raft/configuration.ts'
import type { Entry } from '../../src/raft/entry.ts'
import { encodeCommand } from '../../src/state/command-codec.ts'
import type { Command } from '../../src/state/command.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { LevelLogStore } from '../../src/storage/level-log-store.ts'
import type { ClusterId, NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { FakeNode, runAgainst } from './fake-node.ts'
import type { RunOptions } from './fake-node.ts'

const cluster = '22222222-2222-4222-8222-222222222222' as ClusterId
const voters = ['n1', 'n2', 'n3'] as NodeId[]

let dir = ''
let node: FakeNode
let http = ''
let open: Server[] = []
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-recover-'))
  node = new FakeNode()
  http = (await node.open()).replace('http://', '')
})
afterEach(async () => {
  await node.close()
  for (const server of open) await new Promise((resolve) => server.close(resolve))
  open = []
  await rm(dir, { recursive: true, force: true })
})

/** A port that accepts and says nothing. */
async function listener(): Promise<string> {
  const server = createServer((socket) => socket.destroy())
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

function entry(index: number, kind: Entry['kind'], data: Uint8Array): Entry {
  return { index, term: 2, kind, id: '' as ProposalId, time: 1000 + index, data }
}

function command(index: number, what: Command): Entry {
  return entry(index, 'command', encodeCommand({ command: what, idempotencyKey: null }))
}

/** Node n1 of three: n2 was at these addresses; entries 3 and 4 set keys, and the last is not known to be committed. */
async function survivor({ peer = '', raft = '', isRecovering = false } = {}): Promise<void> {
  const store = new LevelLogStore(dir)
  await store.open({ nodeId: 'n1' as NodeId })
  await store.writePromise({ clusterId: cluster, voters })
  const member = {
    node: 'n2' as NodeId,
    generation: 1,
    addresses: { http, peer, raft },
    labels: {},
    version: '1',
    startedAt: 1,
  }
  const write = (entries: readonly Entry[]): Promise<void> =>
    store.write({
      hardState: { term: 3, vote: 'n2' as NodeId, commit: 3, isRecovering },
      install: null,
      compact: null,
      truncateFrom: null,
      entries,
      sync: true,
    })
  await write([
    entry(1, 'configuration', encodeConfiguration(makeConfiguration(cluster, voters))),
    command(2, { kind: 'member-set', member }),
    command(3, { kind: 'kv-set', key: 'a', value: asJsonText('1'), expect: null }),
  ])
  await write([command(4, { kind: 'kv-set', key: 'b', value: asJsonText('2'), expect: null })])
  await store.close()
}

function recover(args: readonly string[] = [], options: RunOptions = {}): ReturnType<typeof runAgainst> {
  return runAgainst('http://127.0.0.1:1', ['raft', 'recover', '--data-dir', dir, ...args], options)
}

const force = ['--force-new-cluster', '--yes']
const leaderless = { id: 'n2', clusterId: cluster, role: 'follower', leader: null }
async function* typed(line: string): AsyncIterable<string> {
  yield line
}
const isUntouched = async (): Promise<boolean> => !(await readdir(dir)).some((name) => name.startsWith('before-'))

describe('raft recover without --force-new-cluster', () => {
  it('tells what the node has, so that survivors can be compared, and changes nothing', async () => {
    await survivor()
    const { code, stdout, stderr } = await recover()
    expect(code).toBe(0)
    const lines = [
      'node\tn1',
      `cluster\t${cluster}`,
      'lastIndex\t4',
      'lastTerm\t2',
      'term\t3',
      'committed\t3',
      'keys\t2',
    ]
    for (const line of [...lines, `other\tn2 ${http} -`, 'voters\tn1 n2 n3']) expect(stdout.split('\n')).toContain(line)
    expect(stderr).toContain('nothing was changed. 2 of n1, n2, n3 are a quorum')
    expect(stderr).toContain('entries 4 to 4 are not known to be committed')
    expect([await isUntouched(), node.seen]).toEqual([true, []])
    const { stdout: json } = await recover(['--json'])
    expect(JSON.parse(json)).toMatchObject({ nodeId: 'n1', lastIndex: 4, doubts: [] })
  })

  it('says that a node that was recovering may lack acknowledged writes', async () => {
    await survivor({ isRecovering: true })
    node.answers.set('GET /v1/raft', { body: leaderless })
    expect((await recover()).stdout).toContain('doubt\tit was recovering when it was stopped')
    expect((await recover(force)).stderr).toContain('acknowledged writes that this node once had may be lost too')
  })

  it('names the directory of a node that runs', async () => {
    await survivor()
    // The lock is between processes.
    const script =
      "new (await import('level')).Level(process.argv[1]).open().then(() => { setInterval(() => {}, 1000); console.log('open') })"
    const running = spawn(process.execPath, ['--input-type=module', '-e', script, path.join(dir, 'raft')])
    await once(running.stdout, 'data')
    const { code, stderr } = await recover()
    running.kill()
    await once(running, 'exit')
    expect([code, stderr]).toEqual([1, expect.stringContaining(`the node of ${dir} runs: stop it`)])
    expect(stderr).not.toContain('likeness')
  })

  it('names a directory in which no node lives', async () => {
    const { code, stderr } = await recover()
    expect([code, stderr]).toEqual([3, expect.stringContaining(`no node lives in ${dir}`)])
    expect(await readdir(dir)).toEqual([])
  })

  it('tells of damage, and leaves every byte of it as it is', async () => {
    await survivor()
    await damageLog()
    const before = await bytesIn(dir)
    const { code, stdout } = await recover()
    expect([code, stdout]).toEqual([0, expect.stringContaining('doubt\tits files are damaged: ')])
    expect(await bytesIn(dir)).toEqual(before)
  })
})

describe('raft recover --force-new-cluster', () => {
  it('refuses while a member that is known, or one that is named, says that somebody leads', async () => {
    await survivor()
    node.answers.set('GET /v1/raft', { body: { ...leaderless, leader: 'n3' } })
    const { code, stderr } = await recover(force)
    expect([code, stderr]).toEqual([1, expect.stringContaining(`n2 answers at http://${http} and says that n3 leads`)])
    await rm(dir, { recursive: true })
    const url = `http://${http}`
    http = ''
    await survivor()
    const named = await recover([...force, '--peer', url])
    expect([named.code, named.stderr]).toEqual([1, expect.stringContaining('says that n3 leads')])
    expect(await isUntouched()).toBe(true)
  })

  it('refuses while a listener of a member accepts connections and nothing says that it is without a leader', async () => {
    await survivor({ peer: await listener() })
    node.answers.set('GET /v1/raft', { status: 404, body: {} })
    const refused = await recover(force)
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('n2 listens at 127.0.0.1:')])
    expect(await isUntouched()).toBe(true)
    node.answers.set('GET /v1/raft', { body: leaderless })
    expect((await recover(force)).code).toBe(0)
  })

  it('refuses while members answer that are a quorum without it: they are about to elect', async () => {
    await survivor()
    node.answers.set('GET /v1/raft', { body: leaderless })
    const third = new FakeNode()
    const url = await third.open()
    third.answers.set('GET /v1/raft', { body: { ...leaderless, id: 'n3' } })
    const { code, stderr } = await recover([...force, '--peer', url])
    await third.close()
    expect([code, stderr]).toEqual([1, expect.stringContaining('n2, n3 run, and are a quorum of n1, n2, n3')])
    expect(await isUntouched()).toBe(true)
  })

  it('ends when it is interrupted while it asks', async () => {
    await survivor()
    node.answers.set('GET /v1/raft', { body: leaderless })
    const interrupt = new AbortController()
    async function* silent(): AsyncIterable<string> {
      interrupt.abort()
      await new Promise(() => undefined)
      yield ''
    }
    const { code, stderr } = await recover(['--force-new-cluster'], { stdin: silent(), interrupt: interrupt.signal })
    expect([code, stderr]).toEqual([130, expect.stringContaining('interrupted; nothing was changed')])
    expect([await isUntouched(), (await readdir(dir)).includes('founding')]).toEqual([true, false])
  })

  it('takes a leader of another cluster for none', async () => {
    await survivor()
    node.answers.set('GET /v1/raft', { body: { ...leaderless, leader: 'n3', clusterId: 'another' } })
    expect((await recover(force)).code).toBe(0)
  })

  it('asks for a word, and changes nothing when it is not typed', async () => {
    await survivor()
    node.answers.set('GET /v1/raft', { body: leaderless })
    const refused = await recover(['--force-new-cluster'], { stdin: typed('yes\n') })
    expect([refused.code, await isUntouched()]).toEqual([2, true])
    expect(refused.stderr).toContain(`THIS GIVES CLUSTER ${cluster} UP`)
    const nothing = await recover(['--force-new-cluster'])
    expect([nothing.code, await isUntouched()]).toEqual([2, true])
    expect(nothing.stderr).toContain('--yes')
    expect((await recover(['--force-new-cluster'], { stdin: typed('n1\n') })).code).toBe(0)
    expect(await isUntouched()).toBe(false)
  })

  it('makes a cluster of one, with every entry that the node has, beside a copy of what was there', async () => {
    await survivor()
    node.answers.set('GET /v1/raft', { body: leaderless })
    const { code, stdout, stderr } = await recover(force)
    expect(code).toBe(0)
    expect(stderr).toContain('raft add-learner ID --promote')
    const founded = /^cluster\t(.*)$/gm
    const [, made] = [...stdout.matchAll(founded)].map((match) => match[1])
    expect(made).not.toBe(cluster)
    const now = JSON.parse((await recover(['--json'])).stdout) as Record<string, unknown>
    expect(now).toMatchObject({
      nodeId: 'n1',
      cluster: made,
      voters: ['n1'],
      keys: 2,
      others: [],
      lastTerm: 3,
      term: 3,
    })
    const before = path.join(dir, `before-recover-of-${cluster}`)
    const then = await runAgainst('', ['raft', 'recover', '--data-dir', before, '--json'])
    expect(JSON.parse(then.stdout)).toMatchObject({ cluster, lastIndex: 4, voters: ['n1', 'n2', 'n3'] })
  })
})

/** One bit in the last batch of LevelDB's write-ahead log. */
async function damageLog(): Promise<void> {
  const folder = path.join(dir, 'raft')
  const [name = ''] = (await readdir(folder)).filter((each) => each.endsWith('.log'))
  const bytes = await readFile(path.join(folder, name))
  const at = bytes.length - 20
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
  await writeFile(path.join(folder, name), bytes)
}

/** Every file under the folder, by its path. */
async function bytesIn(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name))
  return new Map(await Promise.all(files.sort().map(async (file) => [file, await readFile(file, 'hex')] as const)))
}
