/** What bench-raft measures: a cluster of ours, the ceiling, and etcd, each as processes of its own on the same disk. */
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { forkServer } from './child-script.ts'
import { startEtcd } from './etcd-cluster.ts'
import { freePorts } from './free-ports.ts'
import type { Protocol } from './kv-wire.ts'
import { startLocalCluster, type LocalCluster } from './local-cluster.ts'

export type KvSystem = {
  readonly name: string
  readonly protocol: Protocol
  /** HOST:PORT, the leader first. */
  targets(): Promise<readonly string[]>
  readonly pids: readonly number[]
  readonly dataDirs: readonly string[]
  stop(): Promise<unknown>
}

const nodes = 3

export async function startQuorate(options: {
  name: string
  dir: string
  cli?: string
  nodeArgs?: readonly string[]
}): Promise<KvSystem> {
  const { name, dir, ...rest } = options
  const cluster = await startLocalCluster({ nodes, dir, config: { log: { level: 'warn' } }, ...rest })
  return {
    name,
    protocol: 'http',
    targets: () => targetsOf(cluster),
    pids: cluster.nodes.map((node) => node.pid),
    dataDirs: cluster.nodes.map((node) => node.dataDir),
    stop: () => cluster.stop(),
  }
}

async function targetsOf(cluster: LocalCluster): Promise<string[]> {
  const leader = await cluster.leader()
  const ordered = [...cluster.nodes].sort((a, b) => Number(b.id === leader) - Number(a.id === leader))
  return ordered.map((node) => new URL(node.url).host)
}

export async function startCeiling(dir: string): Promise<KvSystem> {
  const [http = 0, ...ports] = await freePorts(nodes)
  const folders = Array.from({ length: nodes }, (_, at) => path.join(dir, `c${at + 1}`))
  await mkdir(dir, { recursive: true })
  const followers = await Promise.all(
    ports.map((port, at) => forkServer('ceiling', folders[at + 1] ?? '', '0', String(port))),
  )
  const leader = await forkServer('ceiling', folders[0] ?? '', String(http), '0', ...ports.map(String))
  const children = [leader, ...followers]
  return {
    name: 'ceiling',
    protocol: 'http',
    targets: () => Promise.resolve([`127.0.0.1:${http}`]),
    pids: children.map((child) => child.pid ?? 0),
    dataDirs: folders,
    async stop() {
      for (const child of children) child.disconnect()
      await Promise.all(children.map((child) => new Promise((resolve) => child.once('exit', resolve))))
    },
  }
}

/** Two systems that are the same three processes: asked as ours is, and over gRPC. */
export async function startEtcdSystems(dir: string): Promise<KvSystem[]> {
  await mkdir(dir, { recursive: true })
  const etcd = await startEtcd(dir, nodes)
  const { version, targets, pids, dataDirs } = etcd
  const shared = { targets: () => Promise.resolve(targets), pids, dataDirs }
  return [
    { ...shared, name: `etcd ${version}`, protocol: 'etcd-http', stop: () => etcd.stop() },
    { ...shared, name: 'its gRPC', protocol: 'etcd-grpc', stop: () => Promise.resolve() },
  ]
}
