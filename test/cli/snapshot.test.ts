import { execFile } from 'node:child_process'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { lstat, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { savedCluster, savedSnapshot } from '../fixtures/saved-snapshot.ts'
import { runAgainst } from './fake-node.ts'

let dir = ''
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-snapshot-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const run = (...args: string[]): ReturnType<typeof runAgainst> => runAgainst(url, ['snapshot', ...args])

/** A node that has a snapshot; `cutAt`: where its answer breaks off. */
let url = 'http://127.0.0.1:1'
let server: Server | undefined
const asked: string[] = []
async function serve(bytes: Uint8Array, { status = 200, cutAt = bytes.length } = {}): Promise<void> {
  server = createServer((request, response) => {
    asked.push(request.url ?? '')
    response.writeHead(status, { 'content-length': bytes.length })
    if (cutAt === bytes.length) response.end(bytes)
    else response.write(bytes.subarray(0, cutAt), () => response.destroy())
  })
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
afterEach(async () => {
  asked.length = 0
  server?.closeAllConnections()
  await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)))
  server = undefined
})

describe('snapshot save', () => {
  it('writes the bytes of the node, for their owner alone, and tells what they hold', async () => {
    await serve(savedSnapshot(3))
    const file = path.join(dir, 'one.snapshot')
    const { code, stdout, stderr } = await run('save', file)
    expect([code, asked]).toEqual([0, ['/v1/snapshot']])
    expect(await readFile(file)).toEqual(Buffer.from(savedSnapshot(3)))
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(await readdir(dir)).toEqual(['one.snapshot'])
    const lines = stdout.split('\n')
    for (const line of [
      'index\t4',
      'revision\t4',
      'keys\t3',
      'idempotencyKeys\t1',
      'voters\tn1 n2 n3',
      `cluster\t${savedCluster}`,
    ])
      expect(lines).toContain(line)
    expect(stdout).toMatch(/^checksum\t[0-9a-f]{8}$/m)
    expect(stderr).toContain(`quorate snapshot inspect ${file}`)
  })

  it('replaces a file only when it is told to, and asks a node of its own word for its own copy', async () => {
    await serve(savedSnapshot(3))
    const file = path.join(dir, 'kept')
    await writeFile(file, 'kept')
    const refused = await run('save', file)
    expect([refused.code, asked]).toEqual([2, []])
    expect(refused.stderr).toContain('is there already')
    expect(await readFile(file, 'utf8')).toBe('kept')
    expect((await run('save', file, '--force', '--stale')).code).toBe(0)
    expect([asked, (await readFile(file)).length]).toEqual([
      ['/v1/snapshot?consistency=stale'],
      savedSnapshot(3).length,
    ])
  })

  it.each([
    ['is cut short on its way', { cutAt: 100 }, 4],
    ['is not what was sent', {}, 1],
  ])('leaves nothing, and what was there as it was, when it %s', async (_, how, exit) => {
    const bytes = savedSnapshot(50)
    if (!('cutAt' in how)) flip(bytes, bytes.length - 5)
    await serve(bytes, how)
    const file = path.join(dir, 'kept')
    await writeFile(file, 'kept')
    const { code, stderr } = await run('save', file, '--force')
    expect([code, stderr]).toMatchObject([exit, expect.stringContaining('error: ')])
    expect([await readdir(dir), await readFile(file, 'utf8')]).toEqual([['kept'], 'kept'])
  })

  it.each([[[]], [['--force']]])('puts nothing in the place of what is no file: %j', async (flags) => {
    await serve(savedSnapshot(3))
    const folder = path.join(dir, 'folder')
    await mkdir(folder)
    const { code, stderr } = await run('save', folder, ...flags)
    expect([code, asked, await readdir(dir)]).toEqual([2, [], ['folder']])
    expect(stderr).toContain(`${folder} is no file but a folder or a device: name a file`)
  })

  it('does not write where a link of its temporary name leads to', async () => {
    await serve(savedSnapshot(3))
    const [file, victim] = [path.join(dir, 'one'), path.join(dir, 'victim')]
    await writeFile(victim, 'kept')
    await symlink(victim, `${file}.${process.pid}.tmp`)
    expect((await run('save', file)).code).toBe(0)
    expect([await readFile(victim, 'utf8'), (await lstat(file)).isFile()]).toEqual(['kept', true])
  })

  it('prints a command that a shell takes as it is meant', async () => {
    await serve(savedSnapshot(3))
    const file = path.join(dir, "monday's one")
    expect((await run('save', file)).stderr).toContain(`quorate snapshot inspect '${dir}/monday'\\''s one'`)
  })

  it('names the way out when there is no quorum', async () => {
    const error = { code: 'no-leader', message: 'no leader', retry: 'after', traceId: 't' }
    await serve(Buffer.from(JSON.stringify({ error })), { status: 503 })
    const { code, stderr } = await run('save', path.join(dir, 'one'))
    expect([code, await readdir(dir)]).toEqual([4, []])
    expect(stderr).toContain('--stale')
  })
})

describe('snapshot inspect', () => {
  it.each([
    ['a folder', () => Promise.resolve(dir)],
    ['a device without an end', () => Promise.resolve('/dev/zero')],
    ['a pipe that nobody writes to', () => pipe()],
  ])('reads nothing of %s', async (_, make) => {
    const file = await make()
    const { code, stdout, stderr } = await run('inspect', file)
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain(`read the snapshot ${file}: it is no file but a folder or a device`)
  })

  async function pipe(): Promise<string> {
    const file = path.join(dir, 'pipe')
    await promisify(execFile)('mkfifo', [file])
    return file
  }

  async function inspect(bytes: Uint8Array, ...args: string[]): ReturnType<typeof runAgainst> {
    const file = path.join(dir, 'file')
    await writeFile(file, bytes)
    return run('inspect', file, ...args)
  }

  it('tells what a sound one holds, for people and for programs', async () => {
    expect((await inspect(savedSnapshot(2))).stdout).toContain('keys\t2\n')
    const { code, stdout } = await inspect(savedSnapshot(2), '--json')
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({
      cluster: savedCluster,
      index: 3,
      term: 5,
      time: 1000,
      revision: 3,
      keys: 2,
    })
  })

  it('names what is wrong with every other file, and fails', async () => {
    const sound = savedSnapshot(20)
    const newer = savedSnapshot(20).fill(0x7f, 4, 5).fill(0x80, 5, 6)
    const damaged = savedSnapshot(20)
    flip(damaged, sound.length - 9)
    for (const [bytes, said] of [
      [damaged, 'its checksum does not match'],
      [sound.subarray(0, sound.length - 1), `it is cut: it has ${sound.length - 1} bytes of ${sound.length}`],
      [sound.subarray(0, 10), 'it is cut: it has 10 bytes'],
      [newer, 'it has format 127'],
      [Buffer.from('{"no": "snapshot"}'), 'it is no snapshot'],
      [new Uint8Array(), 'it is no snapshot'],
    ] as const) {
      const { code, stdout, stderr } = await inspect(bytes)
      expect([code, stdout, stderr]).toEqual([1, '', expect.stringContaining(said)])
    }
    expect((await run('inspect', path.join(dir, 'none'))).code).toBe(3)
  })

  it('finds every flipped bit', async () => {
    const sound = savedSnapshot(1)
    for (let at = 0; at < sound.length; at += 1) {
      const bytes = savedSnapshot(1)
      flip(bytes, at)
      expect([at, (await inspect(bytes)).code]).toEqual([at, 1])
    }
  })
})

describe('snapshot restore', () => {
  const file = (): string => path.join(dir, 'file')
  beforeEach(() => writeFile(file(), savedSnapshot(2)))
  const restore = (...args: string[]): ReturnType<typeof runAgainst> =>
    run('restore', file(), '--data-dir', path.join(dir, 'data'), ...args)

  it('tells the other voters what to say, and makes the same cluster of it there', async () => {
    const first = await restore('--node-id', 'n1', '--voters', 'n3,n1,n2')
    expect(first.code).toBe(0)
    const command = /quorate (snapshot restore .* --data-dir) DIR (--node-id n3 .*)/.exec(first.stderr)
    expect(first.stderr).toContain('--node-id n2 --voters n1,n2,n3 --cluster-id')
    const [, begin = '', end = ''] = command ?? []
    const second = await runAgainst(url, [...begin.split(' '), path.join(dir, 'other'), ...end.split(' '), '--json'])
    expect(second.code).toBe(0)
    const cluster = /^cluster\t(.*)$/m.exec(first.stdout)?.[1]
    expect(JSON.parse(second.stdout)).toMatchObject({
      clusterId: cluster,
      nodeId: 'n3',
      voters: ['n1', 'n2', 'n3'],
      keys: 2,
    })
    expect(cluster).not.toBe(savedCluster)
  })

  it('refuses on another voter what would be another cluster under the same id', async () => {
    const { stdout } = await restore('--node-id', 'n1', '--voters', 'n1,n2')
    const same = ['--cluster-id', /^cluster\t(.*)$/m.exec(stdout)?.[1] ?? '', '--data-dir', path.join(dir, 'other')]
    const others = await run('restore', file(), ...same, '--node-id', 'n2', '--voters', 'n1,n2,n3')
    expect([others.code, others.stderr]).toEqual([2, expect.stringContaining('with the same --voters')])
    await writeFile(file(), savedSnapshot(3))
    const otherFile = await run('restore', file(), ...same, '--node-id', 'n2', '--voters', 'n1,n2')
    expect([otherFile.code, otherFile.stderr]).toEqual([2, expect.stringContaining('from the same file')])
    await writeFile(file(), savedSnapshot(2))
    expect((await run('restore', file(), ...same, '--node-id', 'n2', '--voters', 'n2,n1')).code).toBe(0)
  })

  it('refuses a directory that holds anything, and leaves it as it was', async () => {
    await mkdir(path.join(dir, 'data'))
    await writeFile(path.join(dir, 'data', 'mine'), '')
    const { code, stderr } = await restore('--node-id', 'n1')
    expect([code, stderr]).toEqual([2, expect.stringContaining('is not empty (mine)')])
    expect(await readdir(path.join(dir, 'data'))).toEqual(['mine'])
  })

  it.each([
    [['--node-id', 'n4', '--voters', 'n1,n2'], 'node n4 is not one of the voters n1, n2'],
    [['--node-id', 'n 4'], 'is no id of a node'],
    [['--node-id', 'n1', '--voters', 'n1,n1'], 'names a node twice'],
    [['--node-id', 'a', '--voters', 'a,b,c,d,e,f,g,h'], 'at most 7'],
    [['--node-id', 'n1', '--cluster-id', 'mine'], 'a UUID'],
    [['--node-id', 'n1', '--cluster-id', savedCluster], 'the cluster that the snapshot is of'],
  ])('refuses %j and makes nothing', async (args, said) => {
    const { code, stderr } = await restore(...args)
    expect([code, stderr]).toEqual([2, expect.stringContaining(said)])
    expect(await readdir(dir)).toEqual(['file'])
  })

  it('makes nothing of a file that is damaged', async () => {
    await writeFile(file(), savedSnapshot(2).subarray(0, 100))
    expect((await restore('--node-id', 'n1')).code).toBe(1)
    expect(await readdir(dir)).toEqual(['file'])
  })
})

/** One bit of the byte, another one in each. */
function flip(bytes: Uint8Array, at: number): void {
  bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
}
