/**
 * One run of one scenario: real nodes whose links go through proxies, the workload, the steps at their times; then healed,
 * waited until all agree, stopped. What happened is handed back for the checks; nothing of it is judged here.
 */
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Random } from '../../src/std/random.ts'
import { startLocalCluster, type LocalCluster } from '../lib/local-cluster.ts'
import { amissInMembership, amissInState, waitForAgreement } from './agreement.ts'
import { readExecutions, serversFor } from './executions.ts'
import { endLeftovers, readFinals } from './finals.ts'
import { Links } from './links.ts'
import { recoveryMs } from './measures.ts'
import { Player } from './player.ts'
import type { Scenario } from './scenario.ts'
import { Recorder } from './timeline.ts'
import type { Convergence, FinalNode, History, Run, Weakening, Workload } from './types.ts'
import { createWorkload } from './workload.ts'

const agreeMs = 45_000
const sameStateMs = 15_000
const recoverMs = 10_000
/** Fast enough that a member is called dead, and a node that clients do not spare is drained, within a scenario. */
const config = { gossip: { probeIntervalMs: 500, probeTimeoutMs: 250 }, node: { drainTimeoutMs: 3000 } }

export type RunOptions = {
  readonly name: string
  readonly scenario: Scenario
  readonly seed: number
  readonly weaken: Weakening | null
  /** The main.js of another build than this one. */
  readonly cli?: string
  /** The folder stays, with logs and data. */
  readonly isKept: boolean
  /** Told where it is. */
  readonly began: (dir: string) => void
}

export async function runScenario(options: RunOptions): Promise<Run> {
  const { name, scenario, seed, weaken, isKept } = options
  const dir = await mkdtemp(path.join(tmpdir(), 'quorate-partition-'))
  options.began(dir)
  const random = new Random(seed)
  const links = new Links(random.uint32())
  const recorder = new Recorder()
  const ids = Array.from({ length: scenario.nodes }, (_, index) => `n${index + 1}`)
  const cluster = await startLocalCluster({
    dir,
    nodes: scenario.nodes,
    joiners: scenario.joining.length,
    servers: serversFor({ dir, nodes: [...ids, ...scenario.joining], weaken }),
    config,
    ...(options.cli === undefined ? {} : { cli: options.cli }),
    async fronted(plans) {
      await Promise.all(plans.map(({ id, fronts }) => links.add(id, fronts)))
      await Promise.all(scenario.joining.map((id) => links.setRunning(id, false)))
    },
  }).catch(async (error: unknown) => {
    await links.close()
    throw error
  })
  let played: Played
  try {
    played = await play({ ...options, cluster, links, recorder, random })
  } finally {
    await cluster.stop()
    await links.close()
  }
  recorder.phase('stopped')
  if (weaken === 'leave-process') leaveProcess(dir)
  const leftovers = endLeftovers(dir)
  const executions = await readExecutions(dir)
  if (!isKept) await rm(dir, { recursive: true, force: true })
  const { about, expectations } = scenario
  const { timeline } = recorder
  return { scenario: name, about, seed, weaken, timeline, executions, expectations, leftovers, ...played }
}

type Played = {
  readonly history: History
  readonly convergence: Convergence
  readonly finals: readonly FinalNode[]
}

type PlayOptions = RunOptions & {
  readonly cluster: LocalCluster
  readonly links: Links
  readonly recorder: Recorder
  readonly random: Random
}

async function play({ scenario, seed, weaken, cluster, links, recorder, random }: PlayOptions): Promise<Played> {
  const watch = new AgreementWatch(recorder, () => player)
  const player: Player = new Player({
    cluster,
    links,
    recorder,
    random,
    isHealing: weaken !== 'no-heal',
    whole: (isWhole) => watch.whole(isWhole),
  })
  await cluster.leader()
  const workload = createWorkload({ seed, now: recorder.now, weaken })
  recorder.begin()
  for (const node of cluster.nodes) recorder.follow(node)
  workload.start(() => player.targets())
  let history: History | null = null
  try {
    await Promise.all([player.play(scenario), weaken === 'lost-process' ? loseOne(player, scenario) : null])
    await player.settle()
    const { amiss, tookMs } = await watch.agreed()
    await waitForRecovery({ workload, player, recorder })
    history = await workload.stop()
    recorder.phase('workload-stopped')
    const members = player.members()
    const behind = await waitForAgreement(() => amissInState(members), { deadlineMs: sameStateMs, signal: null })
    const all = [...player.failures, ...links.failures, ...amiss, ...behind]
    const convergence = { isReached: all.length === 0, tookMs, amiss: all }
    const finals = await readFinals(members)
    return { history, convergence, finals }
  } finally {
    watch.stop()
    player.stopping()
    // What nodes tell while they are stopped is of no scenario.
    await recorder.stop()
    if (history === null) await workload.stop()
  }
}

/** Until clients have got everything from every member, so that the time it takes is known; the checks say if it never was. */
async function waitForRecovery(parts: { workload: Workload; player: Player; recorder: Recorder }): Promise<void> {
  const { workload, player, recorder } = parts
  const serving = player.members().flatMap(({ id }) => (player.draining.has(id) ? [] : [id]))
  const look = (): Promise<readonly string[]> => {
    const { timeline } = recorder
    const took = recoveryMs({ timeline, history: workload.history(), members: serving })
    return Promise.resolve(took === null ? ['clients have not got everything from every member'] : [])
  }
  await waitForAgreement(look, { deadlineMs: recoverMs, signal: null })
}

/** In the middle of the scenario. */
async function loseOne(player: Player, { endMs, nodes }: Scenario): Promise<void> {
  await sleep(endMs / 2)
  await player.lose(`n${nodes}`)
}

/** Outlives everybody, and looks as if it were of the run. */
function leaveProcess(dir: string): void {
  spawn(process.execPath, ['-e', 'setTimeout(() => {}, 600_000)', path.join(dir, 'left')], { stdio: 'ignore' }).unref()
}

/** Waits for the members to agree whenever the cluster is whole again, so that the time it takes is known. */
class AgreementWatch {
  readonly #recorder: Recorder
  readonly #player: () => Player
  #current: Watched | null = null

  constructor(recorder: Recorder, player: () => Player) {
    this.#recorder = recorder
    this.#player = player
  }

  whole(isWhole: boolean): void {
    this.stop()
    if (!isWhole) return
    this.#recorder.phase('healed')
    this.#start()
  }

  /** Of the last time. */
  async agreed(): Promise<Agreed> {
    return (await (this.#current ?? this.#start()).outcome) ?? { amiss: ['it was not whole'], tookMs: 0 }
  }

  stop(): void {
    this.#current?.abort.abort()
    this.#current = null
  }

  #start(): Watched {
    const abort = new AbortController()
    const outcome = this.#watch(abort.signal).catch(() => null)
    this.#current = { abort, outcome }
    return this.#current
  }

  async #watch(signal: AbortSignal): Promise<Agreed> {
    const begunUs = this.#recorder.now()
    const look = (): Promise<readonly string[]> => {
      const player = this.#player()
      return amissInMembership({ members: player.members(), draining: player.draining })
    }
    const amiss = await waitForAgreement(look, { deadlineMs: agreeMs, signal })
    signal.throwIfAborted()
    this.#recorder.phase(amiss.length === 0 ? 'converged' : 'not-converged')
    return { amiss, tookMs: (this.#recorder.now() - begunUs) / 1000 }
  }
}

type Watched = { readonly abort: AbortController; readonly outcome: Promise<Agreed | null> }
type Agreed = Pick<Convergence, 'amiss' | 'tookMs'>
