import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { realClock } from '../../src/std/clock.ts'
import { ChildRecords, type ChildRecord } from '../../src/upstream/child-records.ts'
import { defaultLimits, type UpstreamLimits } from '../../src/upstream/limits.ts'
import { isGroupAlive, startTimeOf } from '../../src/upstream/process-group.ts'
import { silentLog } from '../../src/log/log.ts'
import { waitFor } from '../wait.ts'
import { isAlive, messageOf, resultOf, startUpstreams, stdioServer } from './upstreams-under-test.ts'

const short: Partial<UpstreamLimits> = { exitGraceMs: 300, termGraceMs: 300 }
let dataDir: string

beforeEach(() => {
  dataDir = mkdtempSync(path.join(tmpdir(), 'quorate-children-'))
})

afterEach(() => rmSync(dataDir, { recursive: true, force: true }))

type Pids = { server: number; grandchild: number }
const pidsOf = (outcome: Parameters<typeof resultOf>[0]) => resultOf(outcome).structuredContent as Pids
const childFiles = () => readdirSync(path.join(dataDir, 'children'))

/** Runs `life-parent.mjs` until it has printed the pids, then kills it and nothing else. */
async function leaveBehind(fixture: string): Promise<Pids> {
  const parent = spawn(
    process.execPath,
    ['--import', 'tsx', path.join(import.meta.dirname, 'life-parent.mjs'), dataDir, fixture],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const exited = new Promise((resolve) => {
    parent.once('exit', resolve)
  })
  let output = ''
  parent.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await waitFor('the pids', () => output.includes('\n'), 20_000)
  parent.kill('SIGKILL')
  await exited
  return JSON.parse(output) as Pids
}

describe('the processes of a server', () => {
  it('are in a group of their own, on record while they live, and gone after stop with all descendants', async () => {
    const test = await startUpstreams([stdioServer('leaking')], short, dataDir)
    await test.ready('leaking')
    const { server, grandchild } = pidsOf(await test.call('leaking', 'pids'))
    expect(childFiles()).toEqual([`${server}.json`])
    const record = readFileSync(path.join(dataDir, 'children', `${server}.json`), 'utf8')
    expect(JSON.parse(record)).toMatchObject({
      group: server,
      startTime: startTimeOf(server),
      server: 'leaking',
      command: process.execPath,
    })
    expect(record).not.toContain('leaking.mjs')
    expect(statSync(path.join(dataDir, 'children', `${server}.json`)).mode & 0o077).toBe(0)
    expect([isAlive(server), isAlive(grandchild)]).toEqual([true, true])
    await test.upstreams.stop()
    expect([isAlive(server), isAlive(grandchild)]).toEqual([false, false])
    expect(childFiles()).toEqual([])
  })

  it('end by themselves at the end of stdin, without a signal', async () => {
    const test = await startUpstreams([stdioServer('echo')], { exitGraceMs: 10_000 }, dataDir)
    await test.ready('echo')
    const before = performance.now()
    await test.upstreams.stop()
    expect(performance.now() - before).toBeLessThan(5000)
    expect(test.log.lines.find((line) => line.event === 'upstream-process-exited')?.fields).toMatchObject({
      code: 0,
      signal: null,
    })
  })

  it('are ended by SIGKILL when they ignore SIGTERM', async () => {
    const test = await startUpstreams([stdioServer('leaking', { LEAK_STUBBORN: '1' })], short, dataDir)
    await test.ready('leaking')
    const { server, grandchild } = pidsOf(await test.call('leaking', 'pids'))
    await test.upstreams.stop()
    expect([isAlive(server), isAlive(grandchild)]).toEqual([false, false])
    expect(test.log.lines.find((line) => line.event === 'upstream-process-exited')?.fields).toMatchObject({
      signal: 'SIGKILL',
    })
  })

  it('that outlive a server that died are ended before it starts again, and hold up nothing', async () => {
    const test = await startUpstreams([stdioServer('leaking')], { ...short, drainMs: 100 }, dataDir)
    await test.ready('leaking')
    const { grandchild } = pidsOf(await test.call('leaking', 'pids'))
    const outcome = await test.call('leaking', 'die')
    expect(messageOf(outcome)).toBe('server leaking exited with code 7 during tools/call die')
    await waitFor('the restart', () => test.statuses.filter((status) => status.status === 'ready').length === 2)
    expect(isAlive(grandchild)).toBe(false)
    await test.upstreams.stop()
    expect(childFiles()).toEqual([])
  })

  it('are gone after a stop in the middle of their start', async () => {
    const test = await startUpstreams([stdioServer('leaking'), stdioServer('echo')], short, dataDir)
    const groups = childFiles().map((name) => Number.parseInt(name, 10))
    expect(groups).toHaveLength(2)
    await test.upstreams.stop()
    expect(groups.filter(isGroupAlive)).toEqual([])
    expect(childFiles()).toEqual([])
  })

  it('leave no handle behind in this process', async () => {
    const count = () => process.getActiveResourcesInfo().filter((name) => /^(Pipe|Process)/.test(name))
    const before = count()
    const test = await startUpstreams([stdioServer('echo'), stdioServer('chatty'), stdioServer('failing')], {}, dataDir)
    await Promise.all(['echo', 'chatty', 'failing'].map((name) => test.ready(name)))
    const silent = test.call('failing', 'silent')
    expect(count().filter((name) => name === 'ProcessWrap')).toHaveLength(3)
    await test.upstreams.stop()
    expect((await silent).kind).toBe('unknown')
    expect(test.liveTimers()).toBe(0)
    await waitFor('the handles to be as before', () => count().length <= before.length, 2000)
  })
})

describe('what a killed node left behind', () => {
  it('is ended by its next start, although it ignores SIGTERM and the end of stdin', async () => {
    const { server, grandchild } = await leaveBehind('leaking')
    expect([isAlive(server), isAlive(grandchild)]).toEqual([true, true])
    const test = await startUpstreams([], short, dataDir)
    expect([isAlive(server), isAlive(grandchild)]).toEqual([false, false])
    expect(childFiles()).toEqual([])
    expect(test.log.lines).toContainEqual({
      event: 'upstream-leftover',
      fields: { server: 'leaking', group: server, command: process.execPath },
    })
  })

  it('is ended, too, when only descendants of a dead leader are left', async () => {
    const script = `require('node:child_process')
      .spawn(process.execPath, ['-e', 'setInterval(()=>{},1000)'], { stdio: 'ignore' })
      .once('spawn', function () { process.stdout.write(this.pid + '\\n') })
      setInterval(() => {}, 1000)`
    const leader = spawn(process.execPath, ['-e', script], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
    const group = leader.pid ?? 0
    let output = ''
    leader.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    await waitFor('the descendant', () => output.includes('\n'))
    const descendant = Number(output)
    const records = new ChildRecords(dataDir)
    records.add({ group, server: 'x', command: 'node' })
    leader.kill('SIGKILL')
    await waitFor('the leader to be gone', () => startTimeOf(group) === null)
    expect(isAlive(descendant)).toBe(true)
    await records.reap({ log: silentLog, clock: realClock, limits: defaultLimits })
    expect(isAlive(descendant)).toBe(false)
    expect(childFiles()).toEqual([])
  })

  it('is not taken for a stranger that has its pid, nor for one of before a boot', async () => {
    const stranger = spawn(process.execPath, ['-e', 'setInterval(()=>{},1000)'], { detached: true, stdio: 'ignore' })
    const group = stranger.pid ?? 0
    try {
      const records = new ChildRecords(dataDir)
      const file = path.join(dataDir, 'children', `${group}.json`)
      for (const change of [{ startTime: '1' }, { startTime: null }, { bootId: 'another' }]) {
        records.add({ group, server: 'x', command: 'node' })
        const record = JSON.parse(readFileSync(file, 'utf8')) as ChildRecord
        writeFileSync(file, JSON.stringify({ ...record, ...change }))
        await records.reap({ log: silentLog, clock: realClock, limits: defaultLimits })
        expect(isAlive(group)).toBe(true)
        expect(existsSync(file)).toBe(false)
      }
    } finally {
      stranger.kill('SIGKILL')
    }
  })

  it('is not looked for in damaged records, which are removed', async () => {
    mkdirSync(path.join(dataDir, 'children'))
    const damaged = ['', '{', '[]', '{"group":0,"server":"x","command":"y"}', '{"group":-1,"server":"x","command":"y"}']
    damaged.forEach((text, at) => writeFileSync(path.join(dataDir, 'children', `${at}.json`), text))
    writeFileSync(path.join(dataDir, 'children', '77.json.new'), '{"gro')
    await new ChildRecords(dataDir).reap({ log: silentLog, clock: realClock, limits: defaultLimits })
    expect(childFiles()).toEqual([])
  })
})
