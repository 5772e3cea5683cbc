import { describe, expect, it } from 'vitest'
import type { StartNode } from '../../src/cli/start.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { waitFor } from '../wait.ts'
import { runAgainst } from './fake-node.ts'

// `quorate start` of a node that joins by a token: what it hands on, and how it ends before there is a node.
const joins = ['start', '--join', 'a:1,b:2', '--token-file', 'token', '--data-dir', '/nowhere']

/** As a node that waits to be let in: it ends when it is asked to. */
function waiting(): { start: StartNode; given: () => Parameters<StartNode> | null } {
  let given: Parameters<StartNode> | null = null
  return {
    given: () => given,
    start: (config, options) => {
      given = [config, options]
      return new Promise((_, reject) => {
        options.stopAsked.addEventListener('abort', () => reject(new OperatingError('stopped', 'it waited')))
      })
    },
  }
}

describe('start of a node that joins', () => {
  it('needs no secret, and ends with 0 when it is interrupted while it waits to be let in', async () => {
    const abort = new AbortController()
    const node = waiting()
    const ended = runAgainst('', joins, { startNode: node.start, interrupt: abort.signal })
    const [config, options] = await waitFor('the start', node.given)
    expect(config.cluster).toMatchObject({
      join: ['a:1', 'b:2'],
      tokenFile: 'token',
      secret: null,
      bootstrapExpect: null,
    })
    expect(options.isNameGiven).toBe(false)
    abort.abort()
    expect(await ended).toEqual({ code: 0, stdout: '', stderr: 'it waited\n' })
  })

  it('says that the name of the cluster is given when it is', async () => {
    const abort = new AbortController()
    const node = waiting()
    const env = { QUORATE_CLUSTER_NAME: 'prod' }
    const ended = runAgainst('', joins, { startNode: node.start, interrupt: abort.signal, env })
    expect((await waitFor('the start', node.given))[1].isNameGiven).toBe(true)
    abort.abort()
    await ended
  })

  it.each([
    ['token-refused', 6],
    ['clock-skew', 1],
    ['wrong-cluster', 1],
    ['duplicate-node', 1],
    ['bad-config', 2],
  ] as const)('ends of %s with %i', async (code, exit) => {
    const startNode: StartNode = () => Promise.reject(new OperatingError(code, 'join by a:1: refused: it is so'))
    const { stderr, ...ended } = await runAgainst('', joins, { startNode })
    expect(ended).toEqual({ code: exit, stdout: '' })
    expect(stderr).toContain('error: join by a:1: refused: it is so\n')
  })

  it('is refused a token without anybody to show it to, before anything is started', async () => {
    const { code, stderr } = await runAgainst('', ['start', '--token-file', 'token'])
    expect([code, stderr]).toEqual([
      2,
      expect.stringContaining('cluster.tokenFile: needs cluster.join (--join HOST:PORT)'),
    ])
  })
})
