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
  priority?: number
  groups?: readonly string[]
  isolation?: 'auto' | 'shared' | 'session'
  isolatedMax?: number
  placement?: { where: Readonly<Record<string, string>> }
}

export type NodePlan = {
  readonly id: string
  readonly url: string
  readonly configFile: string
  readonly dataDir: string
  readonly logFile: string
  /** Where a node that joins looks for its token; null of one that forms the cluster. */
  readonly tokenFile: string | null
  /** Of the peer and the raft listener: where the node listens, and the port that others are told. */
  readonly fronts: readonly { readonly port: number; readonly bound: number }[]
}

export type PlanOptions = {
  dir: string
  nodes: number
  /** Further nodes that join later with a token, with the ids that follow; they know all who form the cluster. */
  joiners?: number
  /** Others are told ports at which no node listens, for proxies in between. */
  isFronted?: boolean
  servers: Readonly<Record<string, ServerPlan>>
  /** Labels of nodes by id, for `placement.where`. */
  labels?: Readonly<Record<string, Readonly<Record<string, string>>>>
  /** Further sections for every node, such as `consensus`; of `node` what the plan does not say itself. */
  config?: Readonly<Record<string, object>>
}

const portsEach = 5

/** Writes the folder. The servers' texts go through the configuration's `${VAR}` substitution as in any file. */
export async function planCluster(options: PlanOptions): Promise<NodePlan[]> {
  const { dir, joiners = 0, isFronted = false } = options
  const count = options.nodes + joiners
  const ports = await freePorts(count * portsEach)
  const port = (node: number, listener: number): number => ports[node * portsEach + listener] ?? 0
  const bound = { peer: 1, raft: 2 }
  const told = isFronted ? { peer: 3, raft: 4 } : bound
  const join = Array.from({ length: options.nodes }, (_, node) => addressOf(port(node, told.peer)))
  await mkdir(dir, { recursive: true })
  const secretFile = path.join(dir, 'secret')
  await writeFile(secretFile, randomBytes(32).toString('hex'), { mode: 0o600 })
  const plans: NodePlan[] = []
  for (let node = 0; node < count; node += 1) {
    const id = `n${node + 1}`
    const home = path.join(dir, id)
    await mkdir(home, { recursive: true })
    const listen = {
      http: addressOf(port(node, 0)),
      peer: addressOf(port(node, bound.peer)),
      raft: addressOf(port(node, bound.raft)),
    }
    const plan: NodePlan = {
      id,
      url: `http://${listen.http}`,
      configFile: path.join(home, 'cluster.yaml'),
      dataDir: path.join(home, 'data'),
      logFile: path.join(home, 'node.log'),
      tokenFile: node < options.nodes ? null : path.join(home, 'token'),
      fronts: [
        { port: port(node, told.peer), bound: port(node, bound.peer) },
        { port: port(node, told.raft), bound: port(node, bound.raft) },
      ],
    }
    const { tokenFile } = plan
    const belongs = tokenFile === null ? { bootstrapExpect: options.nodes, secretFile } : { tokenFile }
    const advertise = { peer: addressOf(port(node, told.peer)), raft: addressOf(port(node, told.raft)) }
    const config = {
      ...options.config,
      cluster: { name: 'local', join, ...belongs },
      node: { ...options.config?.['node'], id, dataDir: plan.dataDir, labels: options.labels?.[id] ?? {} },
      listen,
      ...(isFronted ? { advertise } : {}),
      mcpServers: options.servers,
    }
    // JSON is YAML.
    await writeFile(plan.configFile, `${JSON.stringify(config, null, 2)}\n`)
    plans.push(plan)
  }
  return plans
}

function addressOf(port: number): string {
  return `127.0.0.1:${port}`
}
