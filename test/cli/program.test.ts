import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { exitCodeOf, exitCodes } from '../../src/cli/exit-codes.ts'
import type { StartNode } from '../../src/cli/start.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { errorCodes, OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'
import { FakeNode, refuse, runAgainst } from './fake-node.ts'
import type { Answer, RunOptions } from './fake-node.ts'

const node = new FakeNode()
let url = ''
let folder = ''
beforeAll(async () => {
  url = await node.open()
  folder = mkdtempSync(path.join(tmpdir(), 'quorate-cli-'))
})
afterAll(async () => {
  await node.close()
  rmSync(folder, { recursive: true, force: true })
})
afterEach(() => {
  node.answers.clear()
  node.seen.length = 0
})

const run = (args: string[], options?: RunOptions): ReturnType<typeof runAgainst> => runAgainst(url, args, options)

const member = {
  id: 'n1',
  addresses: { http: '127.0.0.1:6270', peer: '127.0.0.1:6271', raft: '127.0.0.1:6272' },
  status: 'alive',
  raft: 'leader',
  version: '1.2.3',
}
const server = {
  name: 'files',
  status: 'ready',
  replicas: [
    { node: 'n1', status: 'ready', reason: '' },
    { node: 'n2', status: 'failed', reason: 'the program\tis not\nthere' },
  ],
  tools: 5,
  resources: 0,
  prompts: 1,
}

describe('usage', () => {
  it('answers help and version on stdout with 0', async () => {
    expect(await run(['--version'])).toEqual({ code: 0, stdout: '1.2.3\n', stderr: '' })
    const help = await run(['kv', '--help'])
    expect(help).toMatchObject({ code: 0, stderr: '' })
    expect(help.stdout).toContain('put [options] <key> <value>')
  })

  it.each([[[]], [['kv']], [['frobnicate']], [['kv', 'get']], [['status', '--nope']]])(
    '%j is bad usage: 2, and only talk',
    async (args) => {
      const { code, stdout, stderr } = await run(args)
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr).not.toBe('')
    },
  )

  it('takes --url and --json before the command as well as behind it', async () => {
    node.answers.set('GET /v1/raft', { body: { id: 'n1' } })
    for (const args of [
      ['--url', url, '--json', 'raft', 'status'],
      ['raft', '--url', url, '--json', 'status'],
      ['raft', 'status', '--json', '--url', url],
    ])
      expect(await run(args, { env: { QUORATE_URL: 'http://127.0.0.1:1' } })).toEqual({
        code: 0,
        stdout: '{"id":"n1"}\n',
        stderr: '',
      })
  })

  it.each([['--url http://127.0.0.1:1 start'], ['config show --url http://127.0.0.1:1'], ['--json dev']])(
    '%s is bad usage, since the command takes no such option',
    async (args) => {
      const { code, stderr } = await run(args.split(' '))
      expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(/takes no --(?:url|json)\n$/) })
    },
  )

  it('suggests the command that was meant', async () => {
    expect((await run(['stats'])).stderr).toContain('Did you mean status?')
  })
})

describe('a key', () => {
  it.each(['.', '..', 'a/../b', 'a b?c#d'])('%s reaches the node as it is', async (key) => {
    const target = `/v1/kv/${encodeURIComponent(key)}`
    node.answers.set(`DELETE ${target}`, { body: { key, revision: 1 } })
    expect(await run(['kv', 'delete', key])).toMatchObject({ code: 0 })
    expect(node.seen[0]?.url).toBe(target)
  })
})

describe('failures', () => {
  it('every code has an exit code, and the node’s message is told once', async () => {
    for (const code of errorCodes) {
      node.answers.set('GET /v1/raft', refuse(500, code))
      expect(await run(['raft', 'status'])).toEqual({
        code: exitCodeOf[code],
        stdout: '',
        stderr: `error: message of ${code}\n`,
      })
    }
    expect(Object.keys(exitCodeOf).sort()).toEqual([...errorCodes].sort())
  })

  it.each([
    ['not-found', exitCodes.notFound],
    ['no-quorum', exitCodes.unavailable],
    ['no-leader', exitCodes.unavailable],
    ['server-unavailable', exitCodes.unavailable],
    ['outcome-unknown', exitCodes.outcomeUnknown],
    ['denied', exitCodes.denied],
    ['bad-config', exitCodes.badUsage],
  ] as const)('%s ends with %d', (code, exit) => expect(exitCodeOf[code]).toBe(exit))

  it('nothing that answers is 4, and says what to do', async () => {
    const { code, stderr } = await run(['status', '--url', 'http://127.0.0.1:1'])
    expect(code).toBe(4)
    expect(stderr).toMatch(/^error: nothing answers at http:\/\/127.0.0.1:1; start a node there, or name another/)
  })

  it('a write whose answer never came is 5, a read 4', async () => {
    node.answers.set('PUT /v1/kv/a', { cut: true })
    node.answers.set('GET /v1/kv/a', { cut: true })
    expect((await run(['kv', 'put', 'a', '1'])).code).toBe(5)
    expect((await run(['kv', 'get', 'a'])).code).toBe(4)
  })

  it('an answer that is no JSON is told as such', async () => {
    node.answers.set('GET /v1/raft', { text: '<html>' })
    expect(await run(['raft', 'status'])).toMatchObject({
      code: 1,
      stderr: `error: ${url} answers with something that is no JSON: is it a Quorate node?\n`,
    })
  })

  it('an unusable address is 2', async () => {
    expect((await run(['status', '--url', 'localhost:6270'])).code).toBe(2)
  })

  it('an interrupt ends the wait with 130', async () => {
    const abort = new AbortController()
    const ended = run(['tool', 'call', 'slow'], { interrupt: abort.signal })
    await waitFor('the call', () => node.seen.length === 1)
    abort.abort()
    expect(await ended).toEqual({ code: 130, stdout: '', stderr: 'error: interrupted\n' })
  })

  it('says when to try again', async () => {
    node.answers.set('GET /v1/raft', refuse(503, 'overloaded', { retryAfterMs: 2000 }))
    expect((await run(['raft', 'status'])).stderr).toBe('error: message of overloaded; try again in 2 s\n')
  })
})

describe('views', () => {
  const status = {
    node: 'n1',
    leader: 'n1',
    term: 3,
    commitIndex: 9,
    appliedIndex: 9,
    version: '1.2.3',
    members: [member],
  }

  it.each([
    [false, null, 'quarantine\tthis node neither votes nor counts until it is repaired: entry 7 is damaged\n'],
    [true, null, 'quarantine\tover: repaired: entry 7 is damaged\n'],
    [true, true, 'quarantine\tover: repaired and verified up to entry 9: entry 7 is damaged\n'],
  ])('status says what is wrong with the node itself (over %s, verified %s)', async (over, verified, line) => {
    const quarantine = { why: 'entry 7 is damaged', lostUpTo: 9, verified, over }
    node.answers.set('GET /v1/status', { body: { ...status, quarantine, diskFull: true } })
    node.answers.set('GET /v1/servers', { body: { servers: [] } })
    const { stdout } = await run(['status'])
    expect(stdout).toContain(line)
    expect(stdout).toContain(
      'disk\tfull: this node takes no writes while it leads, and may fall behind while another does; make room\n',
    )
  })

  it('status says what autopilot wants, does, and does not do', async () => {
    const next = { kind: 'promote', node: 'n4', why: '5 voters are wanted' }
    const autopilot = { voterTarget: 5, failureTolerance: 1, next, holds: ['n5 stays a learner for now'] }
    node.answers.set('GET /v1/status', { body: { ...status, autopilot, warnings: ['4 voters: even'] } })
    node.answers.set('GET /v1/servers', { body: { servers: [] } })
    expect((await run(['status'])).stdout.split('\n').slice(6, 10)).toEqual([
      'autopilot\tvoter target 5; 1 more may fail',
      'autopilot\tpromote n4: 5 voters are wanted',
      'autopilot\tn5 stays a learner for now',
      'warning\t4 voters: even',
    ])
    node.answers.set('GET /v1/status', { body: { ...status, leader: 'n2', autopilot: null, warnings: [] } })
    expect((await run(['status'])).stdout).toContain('autopilot\tn2 leads and decides: ask it with --url\n')
  })

  it('status prints tab-separated lines without a terminal, cleaned of what would break a line', async () => {
    node.answers.set('GET /v1/status', { body: status })
    node.answers.set('GET /v1/servers', { body: { servers: [server] } })
    const { code, stdout, stderr } = await run(['status'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n')).toEqual([
      'node\tn1',
      'version\t1.2.3',
      'leader\tn1',
      'term\t3',
      'committed\t9',
      'applied\t9',
      'member\tn1\talive\tleader\t127.0.0.1:6270\t127.0.0.1:6271\t127.0.0.1:6272\t1.2.3\t-',
      'server\tfiles\tready\tn1:ready n2:failed\t5\t0\t1\tn2: the program is not there',
      '',
    ])
  })

  it('server list tells what of a server its name hides', async () => {
    const hidden = ['x', 'y'].map((name) => ({ path: '/mcp', list: 'tools', name, own: name, shown: 'sql' }))
    node.answers.set('GET /v1/servers', { body: { servers: [{ ...server, replicas: [], hidden }] } })
    const { stdout } = await run(['server', 'list'])
    expect(stdout).toBe(
      'files\tready\t-\t5\t0\t1\thidden by the same name: 2, first x on /mcp, which shows that of sql\n',
    )
  })

  it('prints a table with titles on a terminal, in colour unless NO_COLOR is set', async () => {
    node.answers.set('GET /v1/servers', { body: { servers: [server] } })
    const coloured = await run(['server', 'list'], { isTTY: true, env: { TERM: 'xterm' } })
    expect(coloured.stdout).toContain('\u001b[1mSERVER')
    const plain = await run(['server', 'list'], { isTTY: true, env: { NO_COLOR: '1' } })
    expect(plain.stdout).not.toContain('\u001b')
    expect(plain.stdout).toMatch(/SERVER +STATUS +NODES/)
    expect(plain.stdout).not.toContain('\t')
  })

  it('passes no control character of a server on to a terminal', async () => {
    const evil = { ...server, name: 'a\u001b]0;x\u0007\u009bb' }
    node.answers.set('GET /v1/servers', { body: { servers: [evil] } })
    const { stdout } = await run(['server', 'list'], { isTTY: true, env: { NO_COLOR: '1' } })
    expect(stdout).toMatch(/a \]0;x b/)
  })

  it.each([
    ['raft status', 'GET /v1/raft', { id: 'n1', role: 'leader', term: 3, voters: ['n1'], progress: [] }],
    ['server list', 'GET /v1/servers', { servers: [server] }],
    ['session list', 'GET /v1/sessions', { sessions: [{ id: 's', client: 'c 1' }] }],
    ['tool list', 'GET /v1/tools', { tools: [{ name: 'a__b', server: 'a', definition: { description: 'x' } }] }],
  ])('%s --json prints what the node said', async (command, path, body) => {
    node.answers.set(path, { body })
    const { code, stdout } = await run([...command.split(' '), '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual(body)
  })

  it('says what to do when there is nothing to list', async () => {
    node.answers.set('GET /v1/tools', { body: { tools: [] } })
    expect(await run(['tool', 'list'])).toEqual({
      code: 0,
      stdout: '',
      stderr: 'no tools: see what the servers say with: quorate server list\n',
    })
  })
})

describe('kv', () => {
  it('get prints the value byte for byte', async () => {
    node.answers.set('GET /v1/kv/a%2Fb%20c', {
      text: '{"key":"a/b c","value":{"n":12345678901234567890, "s":"x"},"revision":4}',
    })
    expect(await run(['kv', 'get', 'a/b c'])).toEqual({
      code: 0,
      stdout: '{"n":12345678901234567890, "s":"x"}\n',
      stderr: '',
    })
    expect((await run(['kv', 'get', 'a/b c', '--json', '--stale'])).stdout).toContain('"revision":4}')
    expect(node.seen[1]?.url).toBe('/v1/kv/a%2Fb%20c?consistency=stale')
  })

  it('put says what changed and what to run next, and sends stdin as it came', async () => {
    node.answers.set('PUT /v1/kv/k', { body: { key: 'k', revision: 12 } })
    const stdin = (async function* () {
      yield '{"a":'
      yield ' 1}'
    })()
    expect(await run(['kv', 'put', 'k', '-', '--if-revision', '0'], { stdin })).toEqual({
      code: 0,
      stdout: '',
      stderr: 'stored k at revision 12; next: quorate kv get k\n',
    })
    expect(node.seen[0]).toMatchObject({ body: '{"a": 1}', headers: { 'if-match': '"0"' } })
  })

  it('put refuses what is no JSON before it asks anybody', async () => {
    expect(await run(['kv', 'put', 'k', 'hello'])).toEqual({
      code: 2,
      stdout: '',
      stderr: `error: the value is no JSON; a text stands in double quotes: quorate kv put k '"hello"'\n`,
    })
    expect(node.seen).toEqual([])
  })

  it('delete of another revision fails with 1, of nothing with 3', async () => {
    node.answers.set('DELETE /v1/kv/k', [refuse(412, 'revision-mismatch'), refuse(404, 'not-found')])
    expect((await run(['kv', 'delete', 'k', '--if-revision', '2000000095'])).code).toBe(1)
    expect((await run(['kv', 'delete', 'k'])).code).toBe(3)
  })

  it('list follows the pages', async () => {
    const pages = (): Answer[] => [
      { body: { entries: [{ key: 'a', value: 1, revision: 1 }], revision: 9, next: 'a' } },
      {
        text: '{"entries":[{"key":"b","value":{"x":[12345678901234567890]},"revision":2} , {"key":"c","value":"],[","revision":3}],"revision":9}',
      },
    ]
    node.answers.set('GET /v1/kv', pages())
    expect((await run(['kv', 'list', 'p'])).stdout).toBe('a\t1\t1\nb\t2\t{"x":[12345678901234567890]}\nc\t3\t"],["\n')
    expect(node.seen.map((it) => it.url)).toEqual(['/v1/kv?prefix=p&limit=1000', '/v1/kv?prefix=p&limit=1000&after=a'])
    node.answers.set('GET /v1/kv', pages())
    const { stdout } = await run(['kv', 'list', '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ entries: [{ key: 'a' }, { key: 'b' }, { key: 'c', value: '],[' }] })
    expect(stdout).toContain('12345678901234567890')
  })
})

describe('tool call', () => {
  const callPath = 'POST /v1/tools/files__read/call'

  it('prints the text of the result, and sends the arguments as they came', async () => {
    node.answers.set(callPath, {
      body: {
        result: {
          content: [
            { type: 'text', text: 'one\ntwo' },
            { type: 'image', mimeType: 'image/png', data: 'AAAA' },
            { type: 'text', text: 'three\n' },
          ],
        },
      },
    })
    const args = ['tool', 'call', 'files__read', '--args', '{"n": 12345678901234567890}', '--timeout', '700']
    expect(await run(args)).toEqual({
      code: 0,
      stdout: 'one\ntwo\nthree\n',
      stderr: 'image image/png, 4 characters of base64; see all of it with --json\n',
    })
    expect(node.seen[0]?.body).toBe('{"arguments":{"n": 12345678901234567890},"timeoutMs":700}')
  })

  it('prints structured content where there is no text', async () => {
    node.answers.set(callPath, { body: { result: { content: [], structuredContent: { rows: 3 } } } })
    expect((await run(['tool', 'call', 'files__read'])).stdout).toBe('{"rows":3}\n')
  })

  it('ends with 1 when the tool says that it failed, and prints its words', async () => {
    node.answers.set(callPath, {
      body: { result: { isError: true, content: [{ type: 'text', text: 'no such file' }] } },
    })
    expect(await run(['tool', 'call', 'files__read'])).toEqual({
      code: 1,
      stdout: 'no such file\n',
      stderr: 'files__read says that it failed\n',
    })
  })

  it("tells the server's own error", async () => {
    node.answers.set(callPath, refuse(502, 'server-failed', { details: { error: { code: -32602, message: 'bad n' } } }))
    expect(await run(['tool', 'call', 'files__read'])).toMatchObject({
      code: 1,
      stderr: 'error: message of server-failed: bad n\n',
    })
  })

  it('--json prints the whole answer', async () => {
    const body = { result: { content: [{ type: 'text', text: 'x' }] } }
    node.answers.set(callPath, { body })
    expect(JSON.parse((await run(['tool', 'call', 'files__read', '--json'])).stdout)).toEqual(body)
  })

  it.each(['[1]', 'x', '{'])('refuses %s as arguments', async (args) => {
    expect((await run(['tool', 'call', 'files__read', '--args', args])).code).toBe(2)
    expect(node.seen).toEqual([])
  })
})

describe('config', () => {
  const secretLine = 'cluster: { secret: a-secret-of-thirty-two-bytes-or-more }\n'
  const write = (text: string): string => {
    const file = path.join(folder, 'c.yaml')
    writeFileSync(file, text)
    return file
  }

  it('validate says that it is valid, and what more can be checked', async () => {
    const file = write(secretLine)
    expect(await run(['config', 'validate', '--config', file])).toEqual({
      code: 0,
      stdout: '',
      stderr: `${file} is valid, with 0 servers; reach them too with --connect\n`,
    })
  })

  it('validate ends with 2 and the place of what is wrong', async () => {
    const file = write(`${secretLine}log: { levle: info }`)
    expect(await run(['config', 'validate', '--config', file])).toEqual({
      code: 2,
      stdout: '',
      stderr: `error: ${file}:2: log.levle: is no key here; did you mean level?\n`,
    })
  })

  it('show masks secrets and tells origins', async () => {
    const file = write(secretLine)
    const { code, stdout } = await run(['config', 'show', '--config', file], { env: { QUORATE_NODE_ID: 'n9' } })
    expect(code).toBe(0)
    const lines = stdout.split('\n')
    expect(lines).toContain(`cluster.secret\t[redacted]\t${file}:1`)
    expect(lines).toContain('node.id\tn9\tenvironment QUORATE_NODE_ID')
    expect(lines).toContain('consensus.heartbeatMs\t100\tdefault')
    expect(stdout).not.toContain('thirty-two')
  })

  it('validate --connect starts each server and says which answer', async () => {
    const echo = path.resolve(import.meta.dirname, '../fixtures/echo.mjs')
    const file = write(
      `${secretLine}mcpServers:\n  good: { command: ${process.execPath}, args: [${echo}] }\n  bad: { command: /nonexistent }\n`,
    )
    const { code, stdout, stderr } = await run(['config', 'validate', '--config', file, '--connect'])
    expect(code).toBe(1)
    expect(stdout).toMatch(/^good\tready\t\d+\t-\nbad\tfailed\t0\t.+\n$/)
    expect(stderr).toBe(`${file} is valid; 1 of 2 servers answer\n`)
  })
})

describe('start', () => {
  const file = (): string => {
    const name = path.join(folder, 's.yaml')
    writeFileSync(name, 'cluster: { secret: a-secret-of-thirty-two-bytes-or-more }\n')
    return name
  }
  const urls = { http: 'http://h', mcp: 'http://h/mcp', peer: 'ws://p', raft: 'ws://r' }

  function fakeNode(more: Partial<Awaited<ReturnType<StartNode>>> = {}): {
    start: StartNode
    stops: () => number
    left: () => void
    fatal: (error: OperatingError) => void
    dataDir: () => string
  } {
    let stops = 0
    let onFatal: (error: OperatingError) => void = () => undefined
    let onLeft = (): void => undefined
    let dataDir = ''
    return {
      start: (config, options) => {
        onFatal = options.onFatal
        onLeft = options.onLeft
        dataDir = config.node.dataDir
        return Promise.resolve({
          id: 'n1' as NodeId,
          urls,
          isBusy: false,
          drain: () => Promise.resolve(),
          stop: () => Promise.resolve(void (stops += 1)),
          ...more,
        })
      },
      stops: () => stops,
      fatal: (error) => onFatal(error),
      left: () => onLeft(),
      dataDir: () => dataDir,
    }
  }

  it('runs until it is interrupted, then stops the node once and ends with 0', async () => {
    const abort = new AbortController()
    const fake = fakeNode()
    const ended = run(['start', '--config', file(), '--data-dir', '/flag'], {
      startNode: fake.start,
      interrupt: abort.signal,
    })
    await waitFor('the start', () => fake.dataDir() === '/flag')
    abort.abort()
    expect(await ended).toEqual({
      code: 0,
      stdout: '',
      stderr:
        'node n1 serves MCP at http://h/mcp\nnext: quorate status --url http://h\nnode n1 is stopping\nnode n1 has stopped\n',
    })
    expect(fake.stops()).toBe(1)
  })

  it('waits for what is in flight, as long as nobody insists, and says so', async () => {
    const abort = new AbortController()
    const insist = new AbortController()
    const fake = fakeNode({ isBusy: true, drain: () => new Promise(() => undefined) })
    const options = { startNode: fake.start, interrupt: abort.signal, insist: insist.signal }
    const out = { stdout: '', stderr: '' }
    const ended = run(['start', '--config', file()], { ...options, out })
    await waitFor('the start', () => out.stderr.includes('next:'))
    abort.abort()
    const line =
      'node n1 drains: it ends when nothing is in flight, after 30 s at the latest; a second signal ends it at once\n'
    await waitFor('the drain', () => out.stderr.endsWith(line))
    expect(fake.stops()).toBe(0)
    insist.abort()
    expect(await ended).toMatchObject({ code: 0 })
    expect(fake.stops()).toBe(1)
  })

  it('ends with 0 when the node has left the cluster', async () => {
    const fake = fakeNode()
    const ended = run(['start', '--config', file()], { startNode: fake.start })
    await waitFor('the start', () => fake.dataDir() !== '')
    fake.left()
    expect(await ended).toMatchObject({ code: 0, stderr: expect.stringContaining('node n1 has left the cluster\n') })
    expect(fake.stops()).toBe(1)
  })

  it('stops and ends with 1 when the node can not go on', async () => {
    const fake = fakeNode()
    const ended = run(['start', '--config', file()], { startNode: fake.start })
    await waitFor('the start', () => fake.dataDir() !== '')
    fake.fatal(new OperatingError('storage-failed', 'write the log'))
    expect(await ended).toMatchObject({ code: 1, stderr: expect.stringContaining('error: write the log\n') })
    expect(fake.stops()).toBe(1)
  })

  it('stops when its launcher is gone', async () => {
    const fake = fakeNode()
    const stdin = (async function* () {})()
    expect(
      await run(['start', '--config', file(), '--stop-with-stdin'], { startNode: fake.start, stdin }),
    ).toMatchObject({
      code: 0,
    })
    expect(fake.stops()).toBe(1)
  })

  it('refuses the example file, and an HTTP address that others reach, before it starts anything', async () => {
    const example = path.resolve(import.meta.dirname, '../../cluster.example.yaml')
    expect(await run(['start', '--config', example])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('everyone knows'),
    })
    expect(await run(['start', '--config', file(), '--listen-http', '192.0.2.1:6270'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--insecure'),
    })
  })

  it('names the flag whose value is wrong', async () => {
    expect((await run(['start', '--config', file(), '--listen-peer', 'nowhere'])).stderr).toBe(
      'error: flag --listen-peer: listen.peer: expected HOST:PORT, for example 127.0.0.1:6270, got "nowhere" (other nodes: forwarded calls, joining; default 127.0.0.1:6271)\n',
    )
  })
})
