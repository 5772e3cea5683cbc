import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeLog } from '../../src/log/pino-log.ts'
import { redact } from '../../src/log/redactor.ts'
import { isSecretName } from '../../src/vocabulary/secrets.ts'

const planted = 'PLANTED-VALUE'
const secretNames = [
  'secret',
  'token',
  'password',
  'Authorization',
  'cookie',
  'Set-Cookie',
  'apikey',
  'api_key',
  'x-api-key',
  'apiKey',
  'GITHUB_TOKEN',
  'AWS_SECRET_ACCESS_KEY',
  'clientSecret',
  'signing_key',
  'DB_PASS',
  'proxy-authorization',
]
const plainNames = ['node', 'key', 'server', 'tool', 'revision', 'keys', 'passed', 'monkey', 'secretFile', 'name']

/** A value that holds the planted text somewhere under a secret name, in every kind of container. */
const tree = fc.letrec<{ value: unknown; secret: unknown }>((tie) => ({
  secret: fc.oneof(
    fc.constant(planted),
    fc.constant([planted]),
    fc.constant({ value: planted }),
    fc.constant(new Map([['x', planted]])),
  ),
  value: fc.oneof(
    { maxDepth: 6 },
    fc.constantFrom<unknown>(null, undefined, true, 7, 7n, 'text', new Date(0), new Uint8Array(2), Symbol('s')),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...plainNames), tie('value'), { maxKeys: 3 }),
    fc.tuple(fc.constantFrom(...secretNames), tie('secret'), tie('value')).chain(([name, secret, rest]) =>
      fc.constantFrom<unknown>(
        { [name]: secret, rest },
        [rest, { [name]: secret }],
        new Map<unknown, unknown>([
          [name, secret],
          [{}, rest],
        ]),
        new Set([{ [name]: secret }]),
        Object.assign(new Error('failed', { cause: { [name]: secret } }), {
          [name]: secret,
          details: { [name]: secret },
        }),
        new Error('outer', { cause: new Error('inner', { cause: [{ [name]: secret }] }) }),
        JSON.stringify({ a: [{ [name]: planted }] }),
        `cut {"a":1,"${name}": "${planted}"`,
        `https://user:${planted}@host/path?${name}=${planted}&b=c`,
        `Bearer ${planted}`,
        Object.create(null, { [name]: { value: secret, enumerable: true } }),
      ),
    ),
  ),
}))

describe('the redactor', () => {
  it('lets no planted secret through, at any depth and in any container', () => {
    fc.assert(
      fc.property(tree.value, (value) => {
        expect(JSON.stringify(redact(value)) ?? '').not.toContain(planted)
      }),
      { numRuns: 1000 },
    )
  })

  it('gives plain JSON for anything, and leaves its input as it was', () => {
    fc.assert(
      fc.property(fc.anything({ withMap: true, withSet: true, withDate: true, withBigInt: true }), (value) => {
        const before = fc.stringify(value)
        const copy = redact(value)
        expect(() => JSON.stringify(copy)).not.toThrow()
        expect(fc.stringify(value)).toBe(before)
      }),
      { numRuns: 500 },
    )
  })

  it('keeps what is no secret', () => {
    const value = { node: 'n1', key: 'greeting', hasToken: true, tokenFile: '/run/t', password: null, list: [1, 'a'] }
    expect(redact(value)).toEqual(value)
  })

  it.each(secretNames)('takes %s for a secret', (name) => expect(isSecretName(name)).toBe(true))
  it.each(plainNames)('does not take %s for a secret', (name) => expect(isSecretName(name)).toBe(false))

  it('ends at circles, depth, width and length', () => {
    const circle: Record<string, unknown> = { a: 1 }
    circle['self'] = circle
    expect(redact(circle)).toEqual({ a: 1, self: '[circular]' })
    let deep: unknown = 'bottom'
    for (let i = 0; i < 10_000; i += 1) deep = { deep }
    expect(JSON.stringify(redact(deep))).toContain('[too deep]')
    expect(redact(Array.from({ length: 300 }, (_, i) => i))).toHaveLength(101)
    const wide = Array.from({ length: 90 }, () => Array.from({ length: 90 }, () => 'x'))
    expect(JSON.stringify(redact(wide)).length).toBeLessThan(40_000)
    expect(redact('y'.repeat(10_000))).toBe(`${'y'.repeat(4096)}... (10000 characters)`)
    expect(redact(`{"token":"${'y'.repeat(10_000)}"}`)).toBe('[10012 characters of JSON]')
  })

  it('survives objects that throw when they are looked at', () => {
    const bad = {
      get x(): string {
        throw new Error('no')
      },
      y: 1,
    }
    expect(redact(bad)).toEqual({ x: '[unreadable]', y: 1 })
    const revoked = Proxy.revocable({}, {})
    revoked.revoke()
    expect(redact({ proxy: revoked.proxy })).toEqual({ proxy: '[unreadable]' })
  })
})

describe('the log', () => {
  function lines(level: 'debug' | 'info', write: (log: ReturnType<typeof makeLog>) => void): Record<string, unknown>[] {
    const written: string[] = []
    write(makeLog({ level, destination: { write: (line: string) => void written.push(line) } }))
    return written.map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  it('writes one JSON line an event, with ISO time, level and fields', () => {
    const [line] = lines('info', (log) => log.info('node-started', { node: 'n1', took: 12 }))
    expect(line).toEqual({ level: 'info', time: expect.any(String), event: 'node-started', node: 'n1', took: 12 })
    expect(new Date(String(line?.['time'])).toISOString()).toBe(line?.['time'])
  })

  it('writes nothing below its level', () => {
    expect(lines('info', (log) => log.debug('detail'))).toEqual([])
    expect(lines('debug', (log) => log.debug('detail'))).toHaveLength(1)
  })

  it('prints an error once, as its chain of messages', () => {
    const error = new Error('open the log', { cause: new Error('disk is full') })
    expect(lines('info', (log) => log.error('start-failed', { error }))[0]).toMatchObject({
      error: { message: 'open the log: disk is full' },
    })
  })

  it("adds a child's fields to each line, the line's own first, and no name twice", () => {
    const [line] = lines('info', (log) =>
      log
        .child({ node: 'n1', token: planted })
        .child({ part: 'peers' })
        .warn('x', { node: 'n2', event: 'e', level: 3 }),
    )
    expect(line).toMatchObject({ level: 'warn', event: 'x', node: 'n2', part: 'peers', token: '[redacted]' })
    expect(line).toMatchObject({ event_: 'e', level_: 3 })
  })
})
