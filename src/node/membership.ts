import { readFile, stat } from 'node:fs/promises'
import type { Clock } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import type { ClusterId } from '../vocabulary/ids.ts'
import type { JoinGrant } from '../vocabulary/join.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { membershipFileName } from '../config/check.ts'
import type { Config } from '../config/schema.ts'
import { parseJoinToken } from '../identity/join-token.ts'
import type { Log } from '../log/log.ts'
import { joinCluster } from '../peers/joining.ts'
import { settleNodeId } from '../storage/node-id.ts'
import { namesIn, refuseUnfinished } from './data-dir.ts'
import { readMembership, writeMembership } from './membership-file.ts'
import type { KeptMembership } from './membership-file.ts'

/**
 * Which cluster a node is of, before anything else of it starts: as configured; or as its data directory says, where it has
 * joined by a token; or of the cluster that it joins here and now. What comes out has a secret, and forms nothing where
 * it joined.
 */
export async function settleMembership(config: Config, options: SettleOptions): Promise<Config> {
  const { dataDir } = config.node
  const kept = await readMembership(dataDir)
  if (kept?.joined) return startedFrom(config, { ...kept, joined: kept.joined }, options)
  const { tokenFile, secret } = config.cluster
  if (tokenFile === null) {
    if (secret !== null) return config
    throw new OperatingError(
      'bad-config',
      `${dataDir} is of node ${kept?.node ?? ''}, which no cluster has let in yet: start it with --join HOST:PORT and --token-file FILE`,
    )
  }
  await refuseFormed(dataDir)
  const token = parseToken(tokenFile, await readToken(tokenFile, options.log))
  const node = settleNodeId({ given: config.node.id, stored: kept?.node ?? null, where: dataDir })
  if (kept === null) await writeMembership(dataDir, { node, joined: null }, { first: true })
  const { listen, advertise, cluster } = config
  const addresses = cluster.join.filter((address) => address !== (advertise.peer ?? listen.peer))
  const { log } = options
  log.info('joining', { node, clusterId: token.clusterId, addresses })
  const joined = await joinCluster({
    ...options,
    addresses,
    token,
    node,
    clusterName: options.isNameGiven ? cluster.name : null,
  })
  await writeMembership(dataDir, { node, joined })
  log.info('let-in', { node, clusterId: joined.clusterId, clusterName: joined.clusterName, peers: joined.peers })
  return asMember(config, { node, joined })
}

export type SettleOptions = {
  /** The cluster's name is configured, rather than the default. */
  readonly isNameGiven: boolean
  readonly version: string
  /** Ends a join with `stopped`. */
  readonly signal: AbortSignal
  /** Told what a join waits for, when that changes. */
  readonly waiting: (why: string) => void
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

type Member = { readonly node: KeptMembership['node']; readonly joined: JoinGrant }

async function startedFrom(config: Config, kept: Member, { isNameGiven, log }: SettleOptions): Promise<Config> {
  const { name, tokenFile } = config.cluster
  const { clusterId, clusterName } = kept.joined
  const { dataDir } = config.node
  if (isNameGiven && name !== clusterName) {
    throw new OperatingError(
      'wrong-cluster',
      `${dataDir} belongs to cluster "${clusterName}", the configuration says "${name}": take cluster.name away, or name another node.dataDir`,
    )
  }
  if (tokenFile !== null) {
    const other = await clusterNamedIn(tokenFile)
    if (other !== null && other !== clusterId) {
      throw new OperatingError(
        'wrong-cluster',
        `${dataDir} belongs to cluster ${clusterId}, the join token to ${other}: take cluster.tokenFile away, or name another node.dataDir`,
      )
    }
    log.info('join-token-not-used', { why: `${dataDir} says which cluster this node has joined`, clusterId })
  }
  return asMember(config, kept)
}

/** Null: it has been taken away, or is no token any more, which does no harm now. */
async function clusterNamedIn(tokenFile: string): Promise<ClusterId | null> {
  try {
    return parseJoinToken(await readFile(tokenFile, 'utf8')).clusterId
  } catch {
    return null
  }
}

/** A secret that is configured all the same counts: it is the operator's newer word. */
function asMember(config: Config, { node, joined }: Member): Config {
  const { cluster } = config
  const { dataDir } = config.node
  return {
    ...config,
    cluster: {
      ...cluster,
      name: joined.clusterName,
      secret: cluster.secret ?? joined.secret,
      join: [...new Set([...cluster.join, ...joined.peers])],
      bootstrapExpect: null,
    },
    node: { ...config.node, id: settleNodeId({ given: config.node.id, stored: node, where: dataDir }) },
  }
}

/** What was formed, or joined in another way, needs the secret that it was formed with. */
async function refuseFormed(dataDir: string): Promise<void> {
  await refuseUnfinished(dataDir)
  const names = await namesIn(dataDir)
  if (!names.includes('raft') && !names.includes('vote')) return
  throw new OperatingError(
    'bad-config',
    `${dataDir} belongs to a cluster already, without a ${membershipFileName} of a join by token: start it with the cluster's secret (cluster.secretFile) and without cluster.tokenFile, or name an empty node.dataDir`,
  )
}

async function readToken(file: string, log: Log): Promise<string> {
  if (/^qj\d+\./.test(file)) {
    // Never repeated: it would stand in logs ever after.
    const message = 'cluster.tokenFile (--token-file) is a join token itself; write it into a file, and name that'
    throw new OperatingError('bad-config', `${message}; others may have seen this one: quorate token revoke`)
  }
  try {
    const { mode, size } = await stat(file)
    if (size > tokenBytesMax) throw new OperatingError('bad-config', `it is larger than ${tokenBytesMax} bytes`)
    if ((mode & 0o077) !== 0) {
      log.warn('join-token-readable', { file, why: `other users of this machine can read it; run: chmod 600 ${file}` })
    }
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new OperatingError(
      'bad-config',
      `cluster.tokenFile: ${file} can not be read; write there what \`quorate token create\` prints on a node of the cluster`,
      { cause },
    )
  }
}

function parseToken(file: string, text: string): ReturnType<typeof parseJoinToken> {
  try {
    return parseJoinToken(text)
  } catch (cause) {
    throw new OperatingError('bad-config', `cluster.tokenFile: ${file} can not be used`, { cause })
  }
}

const tokenBytesMax = 4096
