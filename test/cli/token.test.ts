import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { FakeNode, refuse, runAgainst } from './fake-node.ts'

const node = new FakeNode()
let url = ''
let folder = ''
beforeAll(async () => {
  url = await node.open()
})
afterAll(() => node.close())
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'quorate-token-'))
})
afterEach(() => {
  node.answers.clear()
  node.seen.length = 0
  rmSync(folder, { recursive: true })
})

const token = 'qj1.9f3c6a1e-2b7d-4c58-8e0f-1a2b3c4d5e6f.0123456789abcdef.Ab-_cdefghijklmnopqrstuvwxyz0123456789ABCDEFG'
const made = { token, id: '0123456789abcdef', expiresAt: 3_600_000, usesMax: 1 }
const member = (id: string, more: object = {}): object => ({
  id,
  status: 'alive',
  raft: 'voter',
  addresses: { http: `${id}:1`, peer: `${id}:2`, raft: `${id}:3` },
  ...more,
})
const bodyOf = (index: number): unknown => JSON.parse(node.seen[index]?.body ?? 'null')

function answering(members: readonly object[] = [member('n1')], answer: object = { body: made }): void {
  node.answers.set('GET /v1/members', { body: { members } })
  node.answers.set('POST /v1/tokens', answer)
}

describe('token create', () => {
  it('prints the token alone, and says beside it what to run on the new machine', async () => {
    answering([member('n1'), member('n2', { raft: 'learner' }), member('n3', { status: 'dead' })])
    const { code, stdout, stderr } = await runAgainst(url, ['token', 'create'])
    expect([code, stdout]).toEqual([0, `${token}\n`])
    expect(stderr).toBe(
      'token 0123456789abcdef lets one new node in until 1970-01-01T01:00:00.000Z\n' +
        'it is not shown again: keep it in a file that only its owner reads; with that file on the new machine, run there:\n' +
        '  quorate start --join n1:2,n2:2 --token-file join.token\n',
    )
    expect(bodyOf(1)).toEqual({})
  })

  it.each<[string[], unknown]>([
    [['--expires', '30m', '--uses', '3', '--note', 'rack 7'], { expiresInMs: 1_800_000, uses: 3, note: 'rack 7' }],
    [['--expires', '1s'], { expiresInMs: 1000 }],
    [['--expires', '7d'], { expiresInMs: 604_800_000 }],
    [['--expires', '12h'], { expiresInMs: 43_200_000 }],
  ])('asks for %j as %j', async (options, body) => {
    answering()
    expect((await runAgainst(url, ['token', 'create', ...options])).code).toBe(0)
    expect(bodyOf(1)).toEqual(body)
  })

  it.each([
    ['--expires', '0s'],
    ['--expires', '8d'],
    ['--expires', '3600'],
    ['--expires', '1.5h'],
    ['--expires', '1 h'],
    ['--uses', '0'],
    ['--uses', 'many'],
  ])('refuses %s %s before it asks anybody', async (option, value) => {
    const { code, stdout, stderr } = await runAgainst(url, ['token', 'create', option, value])
    expect([code, stdout, node.seen]).toEqual([2, '', []])
    expect(stderr).toContain(`error: ${option} is`)
  })

  it('--out writes it into a new file that only its owner reads, and nothing to stdout', async () => {
    answering(undefined, { body: { ...made, usesMax: 2 } })
    const file = path.join(folder, 'new node.token')
    const { code, stdout, stderr } = await runAgainst(url, ['token', 'create', '--out', file])
    expect([code, stdout, readFileSync(file, 'utf8'), statSync(file).mode & 0o777]).toEqual([
      0,
      '',
      `${token}\n`,
      0o600,
    ])
    expect(stderr).toContain('lets 2 new nodes in until')
    expect(stderr).toContain(`--token-file '${file}'`)
    expect(stderr).not.toContain(token)
  })

  it('--out overwrites no file, and then makes no token', async () => {
    answering()
    const file = path.join(folder, 't')
    writeFileSync(file, 'before')
    const { code, stderr } = await runAgainst(url, ['token', 'create', '--out', file])
    expect([code, stderr]).toEqual([2, `error: --out: ${file} is there already; nothing is overwritten\n`])
    expect(readFileSync(file, 'utf8')).toBe('before')
    expect(node.seen.map(({ method }) => method)).toEqual(['GET'])
    const nowhere = await runAgainst(url, ['token', 'create', '--out', path.join(folder, 'no/t')])
    expect([nowhere.code, nowhere.stderr]).toEqual([2, expect.stringContaining('can not be made: ENOENT')])
  })

  it('--out leaves no file behind when no token was made', async () => {
    answering(undefined, refuse(409, 'change-refused'))
    const file = path.join(folder, 't')
    const { code, stderr } = await runAgainst(url, ['token', 'create', '--out', file])
    expect([code, stderr, existsSync(file)]).toEqual([1, 'error: message of change-refused\n', false])
  })

  it('--json prints the answer, and the file in place of the token where there is one', async () => {
    answering()
    expect(JSON.parse((await runAgainst(url, ['token', 'create', '--json'])).stdout)).toEqual(made)
    const file = path.join(folder, 't')
    const { stdout } = await runAgainst(url, ['token', 'create', '--json', '--out', file])
    expect(JSON.parse(stdout)).toEqual({ id: made.id, expiresAt: made.expiresAt, usesMax: 1, file })
    expect(readFileSync(file, 'utf8')).toBe(`${token}\n`)
  })

  it('names at most three addresses, and says where one belongs when it knows none', async () => {
    answering(['n1', 'n2', 'n3', 'n4'].map((id) => member(id)))
    expect((await runAgainst(url, ['token', 'create'])).stderr).toContain('--join n1:2,n2:2,n3:2 --token-file')
    answering([member('n1', { raft: 'none' })])
    expect((await runAgainst(url, ['token', 'create'])).stderr).toContain('--join HOST:PORT --token-file')
    answering([member('n1', { addresses: { peer: '$(id);[::1]:2' } })])
    expect((await runAgainst(url, ['token', 'create'])).stderr).toContain("--join '$(id);[::1]:2' --token-file")
  })

  it('is no success when the answer holds no token', async () => {
    answering(undefined, { body: {} })
    expect(await runAgainst(url, ['token', 'create'])).toMatchObject({ code: 1, stdout: '' })
  })
})

describe('token list', () => {
  const row = {
    id: made.id,
    createdAt: 0,
    expiresAt: 3_600_000,
    usesMax: 3,
    uses: 2,
    usedBy: ['n4', 'n5'],
    status: 'usable',
    note: 'rack\n7',
  }

  it('prints a line for each, or the answer as JSON', async () => {
    const body = { tokens: [row, { ...row, usedBy: [], uses: 0, status: 'revoked', note: '' }] }
    node.answers.set('GET /v1/tokens', { body })
    const times = '1970-01-01T00:00:00.000Z\t1970-01-01T01:00:00.000Z'
    expect(await runAgainst(url, ['token', 'list'])).toEqual({
      code: 0,
      stdout: `${made.id}\tusable\t2/3\t${times}\tn4 n5\track 7\n${made.id}\trevoked\t0/3\t${times}\t-\t-\n`,
      stderr: '',
    })
    expect(JSON.parse((await runAgainst(url, ['token', 'list', '--json'])).stdout)).toEqual(body)
  })

  it('says how to make one where there is none', async () => {
    node.answers.set('GET /v1/tokens', { body: { tokens: [] } })
    expect(await runAgainst(url, ['token', 'list'])).toEqual({
      code: 0,
      stdout: '',
      stderr: 'there are no join tokens; make one with: quorate token create\n',
    })
  })
})

describe('token revoke', () => {
  it('says what it means, or prints the answer as JSON', async () => {
    node.answers.set(`DELETE /v1/tokens/${made.id}`, { body: { id: made.id } })
    const { code, stdout, stderr } = await runAgainst(url, ['token', 'revoke', made.id])
    expect([code, stdout]).toEqual([0, ''])
    expect(stderr).toContain(`token ${made.id} lets nobody in any more`)
    expect((await runAgainst(url, ['token', 'revoke', made.id, '--json'])).stdout).toBe(`{"id":"${made.id}"}\n`)
  })

  it('of one that nobody made is 3', async () => {
    node.answers.set('DELETE /v1/tokens/n%2F4', refuse(404, 'not-found'))
    expect(await runAgainst(url, ['token', 'revoke', 'n/4'])).toMatchObject({ code: 3 })
  })
})
