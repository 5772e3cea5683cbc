import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { checkJoinRequest, refuseJoiner, welcomeJoiner } from '../../src/identity/join-exchange.ts'
import { joinKeyOf, makeJoinToken } from '../../src/identity/join-token.ts'
import { ClusterSecret } from '../../src/identity/secret.ts'
import { settleMembership } from '../../src/node/membership.ts'
import { readMembership, writeMembership } from '../../src/node/membership-file.ts'
import { realClock } from '../../src/std/clock.ts'
import { Random } from '../../src/std/random.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import type { JoinGrant } from '../../src/vocabulary/join.ts'
import { describeError, OperatingError } from '../../src/vocabulary/operating-error.ts'
import { decodeJoinBody, encodeJoinAnswer, encodeJoinGrant } from '../../src/wire/join-codec.ts'
import { recordingLog } from '../transport/rig.ts'

// What a node finds out of its cluster before it starts: over a real directory, and a real node to ask.
const secretText = 'the secret of the cluster that is joined'
const secret = ClusterSecret.from(secretText)
const clusterId = '11111111-2222-4333-8444-555555555555' as ClusterId
const elsewhere = '99999999-2222-4333-8444-555555555555' as ClusterId
const grant: JoinGrant = { clusterId, clusterName: 'prod', secret: secretText, peers: ['10.0.0.1:6271'] }

let dir: string
let servers: Server[]
let lines: { event: string; fields: Record<string, unknown> }[]
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'quorate-membership-'))
  servers = []
  lines = []
})
afterEach(async () => {
  for (const server of servers) server.close().closeAllConnections()
  await rm(dir, { recursive: true, force: true })
})

const dataDir = (): string => path.join(dir, 'data')

type Given = { cluster?: object; node?: object }

function configured({ cluster = {}, node = {} }: Given): Config {
  const file = { cluster, node: { dataDir: dataDir(), ...node } }
  const env = Object.fromEntries(
    Object.entries(file).flatMap(([section, keys]) =>
      Object.entries(keys).map(([key, value]) => [
        `QUORATE_${section}_${key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`)}`.toUpperCase(),
        String(value),
      ]),
    ),
  )
  return loadConfig({ file: null, env, flags: [] }).config
}

function settle(config: Config, isNameGiven = false): Promise<Config> {
  return settleMembership(config, {
    isNameGiven,
    version: '1.0.0',
    signal: new AbortController().signal,
    waiting: () => undefined,
    clock: realClock,
    random: new Random(1),
    log: recordingLog(lines),
  })
}

async function refusal(config: Config, isNameGiven = false): Promise<string> {
  const error = await settle(config, isNameGiven).then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof OperatingError)) throw new Error('it was not refused', { cause: error })
  return `${error.code}: ${describeError(error).replaceAll(dir, '')}`
}

async function tokenFile(text: string, mode = 0o600): Promise<string> {
  const file = path.join(dir, 'token')
  await writeFile(file, text)
  await chmod(file, mode)
  return file
}

/** A node of the cluster, with the ids of who asked it. Of every two requests it loses the answer to the first. */
async function clusterNode({ loses = false } = {}): Promise<{ address: string; asked: NodeId[] }> {
  const asked: NodeId[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const sent = decodeJoinBody(Buffer.concat(parts))
      if ('malformed' in sent || sent.request === null) throw new Error('it can be read')
      asked.push(sent.request.node)
      if (loses && asked.length % 2 === 1) return void request.socket.destroy()
      const check = checkJoinRequest(sent, {
        clusterId,
        clusterName: 'prod',
        keyOf: (named, id) => joinKeyOf(secret, { clusterId: named, id }),
        now: Date.now(),
        versions: { min: 2, max: 2 },
      })
      const answer =
        check.kind === 'proven'
          ? welcomeJoiner(encodeJoinGrant(grant), {
              key: check.key,
              sent: { bytes: sent.bytes, request: check.request },
            })
          : refuseJoiner(check.error, check.key === null ? null : { key: check.key, sent: sent.bytes })
      if (answer === null) throw new Error('the key is good')
      return void response.end(encodeJoinAnswer(answer))
    })
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const bound = server.address()
  return { address: `127.0.0.1:${typeof bound === 'object' ? bound?.port : 0}`, asked }
}

describe('a node with a join token', () => {
  it('joins, keeps for its owner alone what it was given, and starts from that ever after', async () => {
    const { address, asked } = await clusterNode()
    const file = await tokenFile(`${makeJoinToken(secret, clusterId).text}\n`)
    const config = await settle(configured({ cluster: { join: address, tokenFile: file } }))
    const [id] = asked
    expect(config.cluster).toMatchObject({ name: 'prod', secret: secretText, bootstrapExpect: null })
    expect(config.cluster.join).toEqual([address, '10.0.0.1:6271'])
    expect(config.node.id).toBe(id)
    const kept = path.join(dataDir(), 'cluster.json')
    expect((await stat(kept)).mode & 0o777).toBe(0o600)
    expect(await readdir(dataDir())).toEqual(['cluster.json'])
    await rm(file)
    const again = await settle(configured({}))
    expect(again.cluster).toMatchObject({ name: 'prod', secret: secretText, bootstrapExpect: null })
    expect(again.node.id).toBe(id)
    expect((await settle(configured({ cluster: { join: address, tokenFile: file } }))).node.id).toBe(id)
    await tokenFile('no token any more')
    expect((await settle(configured({ cluster: { join: address, tokenFile: file } }))).node.id).toBe(id)
    expect(lines.map(({ event }) => event)).toEqual(['joining', 'let-in', 'join-token-not-used', 'join-token-not-used'])
    expect(asked).toEqual([id])
    expect(JSON.stringify(lines)).not.toContain(secretText)
  })

  it('is the same node at every try, also after it ended before it was let in', async () => {
    const { address, asked } = await clusterNode({ loses: true })
    const file = await tokenFile(makeJoinToken(secret, clusterId).text)
    await writeMembership(dataDir(), { node: 'node-before' as NodeId, joined: null })
    await settle(configured({ cluster: { join: address, tokenFile: file } }))
    expect(asked).toEqual(['node-before', 'node-before'])
    expect(lines.filter(({ event }) => event === 'join-waits')).toHaveLength(1)
  })

  it('knows its id from before the first request', async () => {
    const file = await tokenFile(
      makeJoinToken(ClusterSecret.from('the secret of quite another cluster'), clusterId).text,
    )
    const { address, asked } = await clusterNode()
    expect(await refusal(configured({ cluster: { join: address, tokenFile: file } }))).toContain('token-refused')
    expect(await readMembership(dataDir())).toEqual({ node: asked[0], joined: null })
    expect(await refusal(configured({ cluster: { join: address, tokenFile: file }, node: { id: 'n9' } }))).toContain(
      `it belongs to node ${asked[0]}, the configuration says n9`,
    )
    const without = configured({})
    expect(await refusal(without)).toBe(
      `bad-config: /data is of node ${asked[0]}, which no cluster has let in yet: start it with --join HOST:PORT and --token-file FILE`,
    )
  })

  it('keeps one id, though two processes start from one directory', async () => {
    const { address } = await clusterNode()
    const file = await tokenFile(makeJoinToken(secret, clusterId).text)
    const config = configured({ cluster: { join: address, tokenFile: file } })
    const settled = await Promise.allSettled([settle(config), settle(config), settle(config)])
    const ids = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value.node.id] : []))
    const refusals = settled.flatMap((each): unknown[] => (each.status === 'rejected' ? [each.reason] : []))
    expect([...new Set(ids)]).toEqual([(await readMembership(dataDir()))?.node])
    for (const error of refusals) expect(error).toMatchObject({ code: 'locked' })
    expect(await readdir(dataDir())).toEqual(['cluster.json'])
  })

  it('is told so when it is given the token in place of the file, in words that do not repeat it', async () => {
    const { text } = makeJoinToken(secret, clusterId)
    const said = await refusal(configured({ cluster: { join: '127.0.0.1:1', tokenFile: text } }))
    expect(said).toContain('write it into a file, and name that')
    expect(said).not.toContain(text.slice(0, 60))
  })

  it('warns when others can read the token, and takes it', async () => {
    const { address } = await clusterNode()
    const file = await tokenFile(makeJoinToken(secret, clusterId).text, 0o644)
    await settle(configured({ cluster: { join: address, tokenFile: file } }))
    expect(lines[0]).toMatchObject({
      event: 'join-token-readable',
      fields: { why: expect.stringContaining('chmod 600') },
    })
  })

  it.each([
    [
      'that is not there',
      null,
      'bad-config: cluster.tokenFile: /token can not be read; write there what `quorate token create` prints',
    ],
    ['that is empty', ' \n', 'bad-config: cluster.tokenFile: /token can not be used: the join token is empty'],
    [
      'with a secret in it',
      'x'.repeat(40),
      'bad-config: cluster.tokenFile: /token can not be used: the join token is none',
    ],
    ['that is larger than any token', 'x'.repeat(5000), 'it is larger than 4096 bytes'],
  ])('is refused a file %s', async (_, text, why) => {
    const file = text === null ? path.join(dir, 'token') : await tokenFile(text)
    expect(await refusal(configured({ cluster: { join: '127.0.0.1:1', tokenFile: file } }))).toContain(why)
  })

  it('is refused a directory that belongs to a cluster by a secret, and one that is being made', async () => {
    const file = await tokenFile(makeJoinToken(secret, clusterId).text)
    const config = configured({ cluster: { join: '127.0.0.1:1', tokenFile: file } })
    await mkdir(path.join(dataDir(), 'raft'), { recursive: true })
    expect(await refusal(config)).toContain("start it with the cluster's secret (cluster.secretFile)")
    await rm(dataDir(), { recursive: true })
    await mkdir(path.join(dataDir(), 'founding', 'new'), { recursive: true })
    expect(await refusal(config)).toContain('under way')
  })
})

describe('a node that has joined', () => {
  beforeEach(() => writeMembership(dataDir(), { node: 'n4' as NodeId, joined: grant }))

  it('is refused another name, another id, and the token of another cluster', async () => {
    expect(await refusal(configured({ cluster: { name: 'test' } }), true)).toBe(
      'wrong-cluster: /data belongs to cluster "prod", the configuration says "test": take cluster.name away, or name another node.dataDir',
    )
    expect((await settle(configured({ cluster: { name: 'prod' } }), true)).cluster.name).toBe('prod')
    expect(await refusal(configured({ node: { id: 'n5' } }))).toContain('it belongs to node n4')
    const file = await tokenFile(makeJoinToken(secret, elsewhere).text)
    expect(await refusal(configured({ cluster: { join: 'a:1', tokenFile: file } }))).toBe(
      `wrong-cluster: /data belongs to cluster ${clusterId}, the join token to ${elsewhere}: take cluster.tokenFile away, or name another node.dataDir`,
    )
  })

  it('takes a secret that it is given all the same, and forms nothing', async () => {
    const config = await settle(configured({ cluster: { secret: 'a secret that the operator gave it later' } }))
    expect(config.cluster).toMatchObject({
      secret: 'a secret that the operator gave it later',
      name: 'prod',
      bootstrapExpect: null,
    })
  })

  it('is not started from a file that was changed, in words that do not repeat it', async () => {
    const file = path.join(dataDir(), 'cluster.json')
    const whole = await readFile(file, 'utf8')
    for (const text of [
      '',
      '[]',
      whole.slice(0, -10),
      whole.replace('n4', 'n 4'),
      whole.replace('"clusterName"', '"name"'),
    ]) {
      await writeFile(file, text)
      const said = await refusal(configured({}))
      expect(said).toMatch(/^storage-failed: read \/data\/cluster.json: it is not as it was written: bring it back/)
      expect(said).not.toContain(secretText)
    }
  })
})

describe('a node without a token', () => {
  it('is what its configuration says', async () => {
    const config = configured({ cluster: { secret: secretText } })
    expect(await settle(config)).toBe(config)
    expect(await readdir(dir)).toEqual([])
  })
})
