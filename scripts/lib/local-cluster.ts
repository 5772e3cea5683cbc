/**
 * A cluster of real node processes on loopback, for measurements and end-to-end tests. Whatever it started is ended,
 * by pid and start time: on stop, when the start fails, and when this process exits. Nodes are killed and restarted one
 * by one; their ports and data stay.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { planCluster, type NodePlan, type ServerPlan } from './cluster-plan.ts'
import { builtCli, findLeader, logTail, spawnNode, waitReady, type SpawnOptions } from './node-process.ts'
import { descendantsOf, findProcess, isRunning, signalProcess, type ProcessName } from './processes.ts'
import { waitFor } from '../../test/wait.ts'

const leaderMs = 20_000
/** How long a node has from SIGTERM until SIGKILL. */
const stopMs = 15_000

export type LocalClusterOptions = {
  nodes: number
  /** Further nodes that are planned and not started: `join` starts one. */
  joiners?: number
  /** Told before the first node starts, to put something between nodes: they advertise the ports of `NodePlan.fronts`. */
  fronted?: (plans: readonly NodePlan[]) => Promise<void>
  servers?: Readonly<Record<string, ServerPlan>>
  /** Labels of nodes by id, for `placement.where`. */
  labels?: Readonly<Record<string, Readonly<Record<string, string>>>>
  /** Kept on stop; without it a temporary folder is used, and removed on stop. */
  dir?: string
  env?: Readonly<Record<string, string>>
  config?: Readonly<Record<string, object>>
  cli?: string
  /** Of Node itself, for every node. */
  nodeArgs?: readonly string[]
}

export type LocalCluster = {
  readonly dir: string
  readonly nodes: readonly LocalNode[]
  readonly joiners: readonly LocalNode[]
  /** The id of the leader that a majority agrees on; waits for one. */
  leader(): Promise<string>
  node(id: string): LocalNode
  /** Ends all nodes (SIGTERM, then SIGKILL) and answers which processes that they had started were left, and are now ended. */
  stop(): Promise<readonly ProcessName[]>
}

export async function startLocalCluster(options: LocalClusterOptions): Promise<LocalCluster> {
  const dir = options.dir ?? (await mkdtemp(path.join(tmpdir(), 'quorate-cluster-')))
  const { nodes: count, servers = {}, labels = {}, config = {}, env = {}, cli = builtCli, nodeArgs = [] } = options
  const { joiners = 0, fronted } = options
  const planned = await planCluster({
    dir,
    nodes: count,
    joiners,
    isFronted: fronted !== undefined,
    servers,
    labels,
    config,
  })
  const all = planned.map((plan) => new LocalNode(plan, { cli, env, nodeArgs, detached: false }))
  const nodes = all.slice(0, count)
  const plans = planned.slice(0, count)
  const endAll = (): void => {
    for (const node of all) node.endNow()
  }
  process.once('exit', endAll)
  const stop = async (): Promise<readonly ProcessName[]> => {
    const left = await Promise.all(all.map((node) => node.end()))
    process.off('exit', endAll)
    if (options.dir === undefined) await rm(dir, { recursive: true, force: true })
    return left.flat()
  }
  try {
    await fronted?.(planned)
    await Promise.all(nodes.map((node) => node.restart()))
  } catch (cause) {
    await stop()
    throw cause
  }
  return {
    dir,
    nodes,
    joiners: all.slice(count),
    async leader() {
      const what = (): string => `a leader\n${plans.map(logTail).join('\n')}`
      const found = await waitFor(what, () => findLeader(plans), leaderMs)
      return found.id
    },
    node(id) {
      const node = nodes.find((node) => node.id === id)
      if (node === undefined) throw new Error(`there is no node ${id}`)
      return node
    },
    stop,
  }
}

export class LocalNode {
  readonly id: string
  readonly url: string
  readonly mcpUrl: string
  readonly dataDir: string
  readonly logFile: string
  readonly #plan: NodePlan
  #options: SpawnOptions
  #child: ChildProcess | null = null
  #name: ProcessName | null = null
  #ended: (how: string) => void = () => undefined
  /** What ended lives of this node had started, so that stop finds what was left behind. */
  #children: ProcessName[] = []

  constructor(plan: NodePlan, options: SpawnOptions) {
    this.#plan = plan
    this.#options = options
    this.id = plan.id
    this.url = plan.url
    this.mcpUrl = `${plan.url}/mcp`
    this.dataDir = plan.dataDir
    this.logFile = plan.logFile
  }

  /** The pid of its current or last life; 0 before the first. */
  get pid(): number {
    return this.#name?.pid ?? 0
  }

  get isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Told whenever a life of the node ends: its exit code or signal. */
  onEnded(listener: (how: string) => void): void {
    this.#ended = listener
  }

  /** Of its last life; null while it runs, and when a signal ended it. */
  get exitCode(): number | null {
    return this.#child?.exitCode ?? null
  }

  /** Waits for it to end by itself. */
  async ended(): Promise<void> {
    await waitFor(
      () => `${this.id} to end by itself\n${logTail(this.#plan)}`,
      () => !this.isRunning,
      stopMs,
    )
  }

  /** The processes that this life of the node has started. */
  children(): readonly ProcessName[] {
    return this.isRunning ? descendantsOf(this.pid) : []
  }

  /** Sends the signal. For SIGKILL and SIGTERM, settles when the process has ended. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    if (!this.isRunning || this.#name === null) return
    this.#children.push(...this.children())
    signalProcess(this.#name, signal)
    if (signal === 'SIGKILL' || signal === 'SIGTERM') await this.#untilEnded(signal)
  }

  /** Starts the node from its disk, ended with SIGTERM before if it runs; settles when it is ready. `cli`: its build from now on. */
  async restart(cli = this.#options.cli): Promise<void> {
    await this.kill('SIGTERM')
    this.#options = { ...this.#options, cli }
    const child = spawnNode(this.#plan, this.#options)
    this.#child = child
    let failed: string | null = null
    child.once('error', (error) => (failed = error.message))
    child.once('exit', (code, signal) => this.#ended(String(code ?? signal)))
    this.#name = child.pid === undefined ? null : findProcess(child.pid)
    await waitReady(this.#plan, () => failed ?? (this.isRunning ? null : String(child.exitCode ?? child.signalCode)))
  }

  /** Starts a joiner for the first time; settles when it is ready. */
  async join(token: string): Promise<void> {
    if (this.#plan.tokenFile === null) throw new Error(`${this.id} forms the cluster`)
    await writeFile(this.#plan.tokenFile, token, { mode: 0o600 })
    await this.restart()
  }

  /** SIGTERM, SIGKILL when that is not enough; then ends what the node has left behind, and answers what that was. */
  async end(): Promise<readonly ProcessName[]> {
    try {
      // A stopped process takes no SIGTERM.
      if (this.#name !== null && this.isRunning) signalProcess(this.#name, 'SIGCONT')
      await this.kill('SIGTERM')
    } catch {
      await this.kill('SIGKILL')
    }
    const left = this.#children.filter((child) => signalProcess(child, 'SIGKILL'))
    await waitFor('the processes left behind to end', () => !left.some(isRunning), stopMs)
    this.#children = []
    return left
  }

  /** For the exit of this process, where nothing can be waited for. */
  endNow(): void {
    const children = [...this.#children, ...this.children()]
    if (this.#name !== null && this.isRunning) signalProcess(this.#name, 'SIGKILL')
    for (const child of children) signalProcess(child, 'SIGKILL')
  }

  async #untilEnded(signal: NodeJS.Signals): Promise<void> {
    const what = (): string => `${this.id} to end after ${signal}\n${logTail(this.#plan)}`
    await waitFor(what, () => !this.isRunning, stopMs)
  }
}
