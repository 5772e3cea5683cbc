/**
 * The configurations of a local cluster for trying things out, derived from one file: nodes n1, n2, ... on ports 10 apart,
 * data under one folder, a secret of their own. `${VAR}` stays as written, so no secret of the file is copied.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { stringify } from 'yaml'
import { formatAddress, parseAddress, type Address } from '../vocabulary/addresses.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { LoadedConfig } from './load.ts'

export type DevNode = {
  readonly id: string
  readonly dataDir: string
  /** The node's derived configuration file. */
  readonly configFile: string
  /** `http://HOST:PORT` of its listen.http. */
  readonly httpUrl: string
}

/** Writes a configuration for each node and returns what to start. What lies under `dataDir` from before is kept. */
export function deriveDevNodes(options: { base: LoadedConfig; count: number; dataDir: string }): DevNode[] {
  const { base, count, dataDir } = options
  refuseOtherCount(dataDir, count)
  const { listen } = base.config
  const secretFile = ensureSecret(dataDir)
  const peers = Array.from({ length: count }, (_, index) => shifted(listen.peer, index))
  return peers.map((peer, index) => {
    const id = nodeName(index)
    const nodeDir = path.join(dataDir, id)
    const http = shifted(listen.http, index)
    const derived = {
      ...base.written,
      cluster: { name: base.config.cluster.name, join: count === 1 ? [] : peers, bootstrapExpect: count, secretFile },
      node: { ...section(base, 'node'), id, dataDir: nodeDir },
      listen: { http, peer, raft: shifted(listen.raft, index) },
      advertise: {},
    }
    mkdirSync(nodeDir, { recursive: true })
    const configFile = path.join(nodeDir, 'node.yaml')
    writeFileSync(configFile, `# Written anew by "quorate dev" at every start.\n${stringify(derived)}`, { mode: 0o600 })
    return { id, dataDir: nodeDir, configFile, httpUrl: `http://${http}` }
  })
}

function nodeName(index: number): string {
  return `n${index + 1}`
}

function section(base: LoadedConfig, name: string): object {
  const value = base.written[name]
  return typeof value === 'object' && value !== null ? value : {}
}

function shifted(text: string, index: number): string {
  const address: Address = parseAddress(text) ?? { host: '127.0.0.1', port: 0 }
  const port = address.port === 0 ? 0 : address.port + 10 * index
  if (port === 0 || port > 65_535)
    throw new OperatingError('bad-config', `listen address ${text} has no room for node ${nodeName(index)} at +10 each`)
  return formatAddress({ ...address, port })
}

/** A cluster keeps the nodes that it was formed of: with another count it would wait for nodes that never come. */
function refuseOtherCount(dataDir: string, count: number): void {
  const found = existsSync(dataDir) ? readdirSync(dataDir).filter((name) => /^n\d+$/.test(name)).length : 0
  if (found !== 0 && found !== count)
    throw new OperatingError(
      'bad-config',
      `${dataDir} holds a cluster of ${found} nodes, not ${count}; run with --nodes ${found}, or remove ${dataDir} to begin anew`,
    )
}

function ensureSecret(dataDir: string): string {
  const file = path.join(dataDir, 'dev-secret')
  mkdirSync(dataDir, { recursive: true })
  if (!existsSync(file)) writeFileSync(file, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600, flag: 'wx' })
  return file
}
