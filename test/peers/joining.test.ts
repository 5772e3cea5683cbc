import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { refuseJoiner, welcomeJoiner } from '../../src/identity/join-exchange.ts'
import { joinKeyOf, makeJoinToken, parseJoinToken } from '../../src/identity/join-token.ts'
import { ClusterSecret } from '../../src/identity/secret.ts'
import { joinCluster } from '../../src/peers/joining.ts'
import { realClock } from '../../src/std/clock.ts'
import { Random } from '../../src/std/random.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import type { JoinGrant, SentJoinRequest } from '../../src/vocabulary/join.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import type { ErrorCode } from '../../src/vocabulary/operating-error.ts'
import { decodeJoinBody, encodeJoinAnswer, encodeJoinGrant } from '../../src/wire/join-codec.ts'
import { recordingLog } from '../transport/rig.ts'
import { waitFor } from '../wait.ts'

// Who asks to be let in, and what it makes of the answers, over real sockets.
const secret = ClusterSecret.from('the secret of the cluster that is joined')
const clusterId = '11111111-2222-4333-8444-555555555555' as ClusterId
const grant: JoinGrant = { clusterId, clusterName: 'prod', secret: 's'.repeat(40), peers: ['10.0.0.1:6271'] }
const token = parseJoinToken(makeJoinToken(secret, clusterId).text)

type Answered = { readonly status: number; readonly text: string } | null
/** Null: the connection breaks. */
type Answer = (sent: SentJoinRequest) => Answered

const welcome: Answer = (sent) => {
  if (sent.request === null) throw new Error('it can be read')
  const key = joinKeyOf(secret, { clusterId: sent.clusterId, id: sent.tokenId })
  const answer = welcomeJoiner(encodeJoinGrant(grant), { key, sent: { bytes: sent.bytes, request: sent.request } })
  return answer === null ? null : { status: 200, text: encodeJoinAnswer(answer) }
}
const refused =
  (code: ErrorCode, isProven: boolean): Answer =>
  ({ bytes }) => {
    const proven = isProven ? { key: token.key, sent: bytes } : null
    return { status: 403, text: encodeJoinAnswer(refuseJoiner(new OperatingError(code, `it is ${code}`), proven)) }
  }
const broken: Answer = () => null

let servers: Server[]
let lines: { event: string; fields: Record<string, unknown> }[]
let waits: string[]
let stopping: AbortController
beforeEach(() => {
  servers = []
  lines = []
  waits = []
  stopping = new AbortController()
})
afterEach(() => {
  for (const server of servers) server.close().closeAllConnections()
})

/** Answers in turn, the last one for ever. */
async function asked(...answers: readonly Answer[]): Promise<{ address: string; count: () => number }> {
  let count = 0
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const sent = decodeJoinBody(Buffer.concat(parts))
      if ('malformed' in sent) throw new Error(sent.malformed)
      const answered = answers[Math.min(count, answers.length - 1)]?.(sent) ?? null
      count += 1
      if (answered === null) return void request.socket.destroy()
      return void response.writeHead(answered.status).end(answered.text)
    })
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const bound = server.address()
  return { address: `127.0.0.1:${typeof bound === 'object' ? bound?.port : 0}`, count: () => count }
}

function join(...addresses: readonly string[]): Promise<JoinGrant> {
  return joinCluster({
    addresses,
    token,
    node: 'n4' as NodeId,
    clusterName: null,
    version: '1.0.0',
    signal: stopping.signal,
    waiting: (why) => waits.push(why),
    // Its waits are a twentieth here.
    clock: { ...realClock, after: (ms, fire) => realClock.after(ms / 20, fire) },
    random: new Random(1),
    log: recordingLog(lines),
  })
}

describe('a joiner', () => {
  it('goes round the addresses until one lets it in, and says once for each why it is not', async () => {
    const [nobody, first, second] = ['127.0.0.1:1', await asked(broken), await asked(broken, broken, welcome)]
    expect(await join(nobody, first.address, second.address)).toEqual(grant)
    expect([first.count(), second.count()]).toEqual([3, 3])
    expect(lines.map(({ event, fields }) => [event, fields['address']])).toEqual([
      ['join-waits', nobody],
      ['join-waits', first.address],
      ['join-waits', second.address],
    ])
    expect(waits).toEqual(lines.map(({ fields }) => fields['why']))
    expect(waits[0]).toContain('ECONNREFUSED')
  })

  it('says again why it waits when that is another reason', async () => {
    const only = await asked(broken, refused('no-leader', true), refused('no-leader', true), welcome)
    await join(only.address)
    expect(waits).toEqual([
      expect.stringContaining('socket hang up'),
      `join by ${only.address}: refused: it is no-leader`,
    ])
  })

  it.each([
    'token-refused',
    'duplicate-node',
    'wiped-node',
    'clock-skew',
    'incompatible-version',
    'wrong-cluster',
  ] as const)('ends at once with a proven %s', async (code) => {
    const only = await asked(refused(code, true))
    await expect(join(only.address, '127.0.0.1:1')).rejects.toMatchObject({
      code,
      message: `join by ${only.address}: refused: it is ${code}`,
    })
    expect([only.count(), lines]).toEqual([1, []])
  })

  it('does not end for what is not proven, as long as one of the addresses may still let it in', async () => {
    const liar = await asked(refused('token-refused', false))
    const slow = await asked(broken, broken, broken, broken, welcome)
    expect(await join(liar.address, slow.address)).toEqual(grant)
    expect(liar.count()).toBe(5)
  })

  it('ends when all addresses say three times that it never comes in', async () => {
    const [one, two] = [await asked(refused('wrong-cluster', false)), await asked(refused('token-refused', false))]
    await expect(join(one.address, two.address)).rejects.toMatchObject({ code: 'wrong-cluster' })
    expect([one.count(), two.count()]).toEqual([3, 3])
  })

  it('does not end for one bad round after others in which it could not be told', async () => {
    const only = await asked(broken, broken, broken, refused('token-refused', false), broken, welcome)
    expect(await join(only.address)).toEqual(grant)
    expect(only.count()).toBe(6)
  })

  it('goes on when it is answered by what is no node of the cluster, and names that', async () => {
    const foreign: Answer = (sent) => {
      const answered = welcome({ ...sent, tokenId: 'f'.repeat(16) })
      return answered
    }
    const only = await asked(
      foreign,
      () => ({ status: 426, text: 'this port is for other nodes' }),
      () => ({ status: 200, text: '<html>' }),
      () => ({ status: 429, text: 'try again' }),
      () => ({ status: 200, text: 'x'.repeat(70_000) }),
      welcome,
    )
    expect(await join(only.address)).toEqual(grant)
    expect(waits.map((why) => why.slice(`join by ${only.address}: `.length))).toEqual([
      'who answers there does not know the join token, so it is no node of its cluster',
      expect.stringContaining('name peer addresses (listen.peer)'),
      'what answers there (status 200) is no peer listener; name peer addresses (listen.peer)',
      'the node there is busy with other joins',
      'it answers more than 65536 bytes',
    ])
  })

  it('ends when it is stopped, while it waits as while it is not answered', async () => {
    const waiting = join('127.0.0.1:1')
    await waitFor('it to wait', () => waits.length === 1)
    stopping.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'stopped' })
    stopping = new AbortController()
    const silent = createServer(() => undefined)
    servers.push(silent)
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const bound = silent.address()
    const unanswered = join(`127.0.0.1:${typeof bound === 'object' ? bound?.port : 0}`)
    const connections = (): Promise<number> =>
      new Promise((resolve) => silent.getConnections((_, count) => resolve(count)))
    await waitFor('it to have asked', async () => (await connections()) === 1)
    stopping.abort()
    await expect(unanswered).rejects.toMatchObject({ code: 'stopped' })
  })
})
