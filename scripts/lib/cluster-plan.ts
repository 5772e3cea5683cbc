/**
 * A local cluster on disk: one folder with the shared secret and, for each node, its configuration, data directory and
 * log file. Ports are chosen once, so that a restarted node comes back where it was.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { freePorts } from './free-ports.ts'

/** One server as in `mcpServers`; without `placement.where` it runs on every node. */
export type ServerPlan = {
  command?: string
  args?: readonly string[]
  env?: Readonly<Record<string, string>>
  url?: string
  timeoutMs?: number
  placement?: { where: Readonly<Record<string, string>> }
}

export type NodePlan = {
  readonly id: string
  readonly url: string
  readonly configFile: string
  readonly dataDir: string
  readonly logFile: string
}

export type PlanOptions = {
  dir: string
  nodes: number
  servers: Readonly<Record<string, ServerPlan>>
  /** Labels of nodes by id, for `placement.where`. */
  labels?: Readonly<Record<string, Readonly<Record<string, string>>>>
  /** Further top-level sections for every node, such as `consensus`. */
  config?: Readonly<Record<string, unknown>>
}

const portsEach = 3

/** Writes the folder. The servers' texts go through the configuration's `${VAR}` substitution as in any file. */
export async function planCluster(options: PlanOptions): Promise<NodePlan[]> {
  const ports = await freePorts(options.nodes * portsEach)
  const address = (node: number, listener: number): string => `127.0.0.1:${ports[node * portsEach + listener]}`
  const join = Array.from({ length: options.nodes }, (_, node) => address(node, 1))
  await mkdir(options.dir, { recursive: true })
  const secretFile = path.join(options.dir, 'secret')
  await writeFile(secretFile, randomBytes(32).toString('hex'), { mode: 0o600 })
  const plans: NodePlan[] = []
  for (let node = 0; node < options.nodes; node += 1) {
    const id = `n${node + 1}`
    const home = path.join(options.dir, id)
    await mkdir(home, { recursive: true })
    const plan: NodePlan = {
      id,
      url: `http://${address(node, 0)}`,
      configFile: path.join(home, 'cluster.yaml'),
      dataDir: path.join(home, 'data'),
      logFile: path.join(home, 'node.log'),
    }
    const config = {
      ...options.config,
      cluster: { name: 'local', join, bootstrapExpect: options.nodes, secretFile },
      node: { id, dataDir: plan.dataDir, labels: options.labels?.[id] ?? {} },
      listen: { http: address(node, 0), peer: address(node, 1), raft: address(node, 2) },
      mcpServers: options.servers,
    }
    // JSON is YAML.
    await writeFile(plan.configFile, `${JSON.stringify(config, null, 2)}\n`)
    plans.push(plan)
  }
  return plans
}
