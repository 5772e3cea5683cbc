/**
 * The rules that span keys, and what `start` asks beyond a valid file. Problems are told, never thrown, by checkConfig;
 * doubtful but legal settings become warnings.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isLoopbackHost, isWildcardHost, parseAddress } from '../vocabulary/addresses.ts'
import { groupsMax } from '../vocabulary/group-limits.ts'
import { isServerName, reservedServerNames } from '../vocabulary/ids.ts'
import { labelLengthMax, labelsMax } from '../vocabulary/label-limits.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Config } from './schema.ts'
import type { ServerConfig } from './server-schema.ts'
import type { Path } from './source.ts'

/** The secret of cluster.example.yaml: known to everyone, so `start` refuses it. */
export const exampleSecret = 'example-secret-that-everyone-knows-and-start-refuses'

type Findings = { readonly tell: (path: Path, text: string) => void; readonly warnings: string[] }

const listeners = ['http', 'peer', 'raft'] as const

/**
 * Sets `cluster.bootstrapExpect` to 1 where neither it nor `cluster.join` is given: a node of its own. With `cluster.join`
 * alone it stays null: the node joins a cluster that exists.
 */
export function checkConfig(config: Config, findings: Findings): void {
  checkCluster(config, findings)
  checkListeners(config, findings)
  checkLabels(config, findings)
  const { heartbeatMs, electionTimeoutMs } = config.consensus
  if (electionTimeoutMs < 5 * heartbeatMs)
    findings.tell(
      ['consensus', 'electionTimeoutMs'],
      `${electionTimeoutMs} ms is less than five heartbeats of ${heartbeatMs} ms, so a slow moment would depose a leader; expected ${5 * heartbeatMs} or more`,
    )
  const { probeIntervalMs, probeTimeoutMs } = config.gossip
  if (probeTimeoutMs >= probeIntervalMs)
    findings.tell(
      ['gossip', 'probeTimeoutMs'],
      `${probeTimeoutMs} ms leaves no time for others to ask within the probe interval of ${probeIntervalMs} ms; expected less than that, best half of it`,
    )
  for (const [name, server] of Object.entries(config.mcpServers)) checkServer(name, server, findings)
}

/** The directory of members holds them, within its limits. */
function checkLabels({ node: { labels } }: Config, { tell }: Findings): void {
  const path = ['node', 'labels']
  if (labels['node'] !== undefined)
    tell([...path, 'node'], 'the label node always is the id of the node; take the label away, or set node.id')
  if (Object.keys(labels).length > labelsMax) tell(path, `are more than ${labelsMax}; take some away`)
  for (const [name, value] of Object.entries(labels))
    if (Math.max(name.length, value.length) > labelLengthMax)
      tell([...path, name], `a label's name and value have at most ${labelLengthMax} characters`)
}

/** What `quorate start` asks beyond a valid configuration. Throws `bad-config`. */
export function checkStart(config: Config, options: { insecure: boolean }): void {
  if (config.cluster.secret === exampleSecret)
    throw new OperatingError(
      'bad-config',
      'cluster.secret is the one of the example file, which everyone knows; make your own with: openssl rand -hex 32',
    )
  const host = parseAddress(config.listen.http)?.host ?? ''
  if (!isLoopbackHost(host) && !options.insecure)
    throw new OperatingError(
      'bad-config',
      `listen.http is ${config.listen.http}, which other machines can reach, and HTTP has neither authentication nor TLS yet; listen on 127.0.0.1, or pass --insecure where the network itself is trusted`,
    )
}

function checkCluster(config: Config, { tell, warnings }: Findings): void {
  const { cluster, advertise, listen } = config
  if (cluster.tokenFile !== null) checkToken(config, tell)
  else if (cluster.secret === null && cluster.secretFile === null && !keepsMembership(config.node.dataDir))
    tell(
      ['cluster', 'secret'],
      'is not set; name a file of 32 bytes or more with cluster.secretFile, or set QUORATE_CLUSTER_SECRET (make one with: openssl rand -hex 32); a node that joins a cluster needs a join token instead (cluster.tokenFile)',
    )
  const repeated = cluster.join.findIndex((peer, index) => cluster.join.indexOf(peer) !== index)
  if (repeated !== -1) tell(['cluster', 'join', repeated], `${cluster.join[repeated]} is given twice; keep one`)
  if (cluster.bootstrapExpect === null) {
    if (cluster.join.length === 0) cluster.bootstrapExpect = 1
    else if (cluster.join.every((peer) => peer === (advertise.peer ?? listen.peer)))
      tell(
        ['cluster', 'join'],
        'names only this node itself; list peer addresses of the cluster to join, or empty it for a cluster of this node alone',
      )
    return
  }
  const expected = cluster.bootstrapExpect
  const others = cluster.join.filter((peer) => peer !== (advertise.peer ?? listen.peer)).length
  if (expected === 1 && cluster.join.length > 0)
    tell(
      ['cluster', 'bootstrapExpect'],
      '1 forms a cluster of this node alone, but cluster.join names others; set the number of nodes that form it together, or empty cluster.join',
    )
  else if (expected > 1 && others === 0)
    tell(
      ['cluster', 'bootstrapExpect'],
      `${expected} nodes form the cluster, but cluster.join names none of the others; list their peer addresses there`,
    )
  else if (expected > 1 && others < expected - 1)
    warnings.push(
      `cluster.join names ${others} of the ${expected - 1} other nodes that form the cluster; list all, so that any two of them find each other`,
    )
  if (expected > 1 && expected % 2 === 0)
    warnings.push(
      `cluster.bootstrapExpect is ${expected}: an even number of nodes survives no more failures than ${expected - 1}; 3, 5 or 7 are better`,
    )
}

/** A token is for a node that joins what others have formed with their secret. */
function checkToken({ cluster }: Config, tell: Findings['tell']): void {
  const path = ['cluster', 'tokenFile']
  if (cluster.secret !== null || cluster.secretFile !== null)
    tell(path, 'stands beside a secret; keep cluster.tokenFile for a node that joins, the secret for one that forms')
  else if (cluster.bootstrapExpect !== null)
    tell(path, 'is for a node that joins, but cluster.bootstrapExpect is for one that forms a cluster; take one away')
  else if (cluster.join.length === 0)
    tell(path, 'needs cluster.join (--join HOST:PORT): peer addresses of nodes of the cluster that made the token')
}

/** In the data directory: what a node that joins by a token has been given, so that it starts without a secret. */
export const membershipFileName = 'cluster.json'

/** Whether it is whole is seen when the node starts. */
function keepsMembership(dataDir: string): boolean {
  return existsSync(join(dataDir, membershipFileName))
}

function checkListeners(config: Config, { tell }: Findings): void {
  for (const [index, name] of listeners.entries()) {
    const text = config.listen[name]
    const advertised = config.advertise[name]
    const clash = listeners.slice(0, index).find((other) => config.listen[other] === text && !text.endsWith(':0'))
    if (clash !== undefined)
      tell(['listen', name], `${text} is the address of listen.${clash} too; give it another port`)
    if (advertised === null) {
      if (isWildcardHost(parseAddress(text)?.host ?? ''))
        tell(
          ['listen', name],
          `${text} means every interface, so others need an address to reach it by; set advertise.${name}`,
        )
      continue
    }
    const address = parseAddress(advertised)
    if (address !== undefined && (isWildcardHost(address.host) || address.port === 0))
      tell(['advertise', name], `${advertised} is no address that others can reach; name a host and a port`)
  }
}

function checkServer(name: string, server: ServerConfig, { tell }: Findings): void {
  const path = ['mcpServers', name]
  if (reservedServerNames.includes(name)) tell(path, `the name ${name} is reserved; choose another`)
  else if (!isServerName(name)) {
    const better = name
      .replaceAll(/[^A-Za-z0-9-]+/g, '-')
      .replaceAll(/^-+|-+$/g, '')
      .slice(0, 48)
    const hint = isServerName(better) ? `; for example ${better}` : ''
    tell(path, `a server's name has 1 to 48 characters of A-Z a-z 0-9 _ - and no "__"${hint}`)
  }
  if (server.groups.length > groupsMax) tell([...path, 'groups'], `are more than ${groupsMax}; take some away`)
  const isHttp = server.url !== null
  if (isHttp && server.command !== null)
    return tell(path, 'has both command and url; keep command for a program, url for a server over HTTP')
  if (!isHttp && server.command === null)
    return tell(path, 'has neither command (a program to start) nor url (a server over HTTP); give one')
  if (server.type !== null && (server.type === 'stdio') === isHttp)
    tell(
      [...path, 'type'],
      `${server.type} does not fit ${isHttp ? 'url' : 'command'}; leave type out, or set it to ${isHttp ? 'http' : 'stdio'}`,
    )
  const misplaced = isHttp
    ? [
        server.args.length > 0 ? 'args' : '',
        Object.keys(server.env).length > 0 ? 'env' : '',
        server.cwd === null ? '' : 'cwd',
      ]
    : [Object.keys(server.headers).length > 0 ? 'headers' : '']
  for (const key of misplaced.filter((key) => key !== ''))
    tell([...path, key], `has no meaning for a server with ${isHttp ? 'url' : 'command'}; take it away`)
}
