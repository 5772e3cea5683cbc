/**
 * `quorate raft recover`: what one stopped node has left of a cluster that has lost its quorum; and, when that is asked for
 * in so many words, a new cluster out of it. Says what it will do, what is lost, what it did, and what comes next.
 */
import type { Command } from 'commander'
import type { Founded } from '../node/founding-files.ts'
import type { Survivor, SurvivorFacts } from '../node/lost-quorum.ts'
import { deferred } from '../std/deferred.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { printsJson, type CommandContext } from './command.ts'
import { loadFor } from './config-file.ts'
import { exitCodes, type ExitCode } from './exit-codes.ts'
import { plainAddress, probeLeaders } from './leader-probe.ts'
import { printJson, printPairs } from './printers.ts'
import { oneLine, say, shellWord, type Terminal } from './terminal.ts'

type RecoverOptions = {
  readonly config?: string
  readonly dataDir?: string
  readonly peer?: readonly string[]
  readonly forceNewCluster?: boolean
  readonly yes?: boolean
  readonly json?: boolean
}

export function addRecover(raft: Command, context: CommandContext): void {
  printsJson(
    raft
      .command('recover')
      .description(
        'for a lost quorum: what this stopped node has; with --force-new-cluster, a new cluster out of that',
      ),
  )
    .option('--config <file>', "the node's configuration file (default: cluster.yaml)")
    .option('--data-dir <dir>', 'its data directory, in the place of node.dataDir or of a configuration')
    .option('--peer <url>', 'listen.http of another node to ask for a leader; may be repeated', collect)
    .option('--force-new-cluster', 'give the old cluster up: what only other nodes had acknowledged is lost')
    .option('--yes', 'do not ask for the word that confirms it')
    .action((options: RecoverOptions) => context.run(() => recover(context, options)))
}

function collect(url: string, before: readonly string[] = []): readonly string[] {
  return [...before, url]
}

/** What is known of the node beside its data directory; without a configuration nothing is. */
type Place = {
  readonly dataDir: string
  readonly clusterName: string | null
  readonly join: readonly string[]
  readonly startArguments: string
}

function placeOf(terminal: Terminal, { config: file, dataDir }: RecoverOptions): Place {
  if (file === undefined && dataDir !== undefined)
    return { dataDir, clusterName: null, join: [], startArguments: `--data-dir ${shellWord(dataDir)}` }
  const flags = dataDir === undefined ? [] : [{ key: 'node.dataDir', flag: '--data-dir', value: dataDir }]
  const { config } = loadFor(terminal, { file, flags })
  const own = [config.listen.peer, config.advertise.peer].map(plainAddress)
  return {
    dataDir: config.node.dataDir,
    clusterName: config.cluster.name,
    join: config.cluster.join.filter((address) => !own.includes(plainAddress(address))),
    startArguments: file === undefined ? '' : `--config ${shellWord(file)}`,
  }
}

async function recover(context: CommandContext, options: RecoverOptions): Promise<ExitCode> {
  const { terminal } = context
  const place = placeOf(terminal, options)
  const isForced = options.forceNewCluster === true
  if (isForced) {
    const { finishFounding } = await import('../node/founding-files.ts')
    const finished = await finishFounding(place.dataDir)
    if (finished !== null) {
      say(terminal, 'a recovery that was interrupted is complete now')
      return report(context, options, { place, founded: finished })
    }
  }
  const { Survivor } = await import('../node/lost-quorum.ts')
  const survivor = await Survivor.open(place.dataDir)
  try {
    if (options.json !== true || !isForced) show(terminal, options, survivor.facts)
    if (!isForced) return advise(context, place, survivor.facts)
    sayPlan(terminal, place, survivor.facts)
    await refuseLed(terminal, { place, options, facts: survivor.facts })
    if (options.yes !== true) await confirm(terminal, place, survivor.facts)
    return await found(context, options, { place, survivor })
  } finally {
    await survivor.close()
  }
}

function show(terminal: Terminal, options: RecoverOptions, facts: SurvivorFacts): void {
  if (options.json === true) return printJson(terminal, facts)
  const { doubts, others, voters, learners, nodeId, ...figures } = facts
  printPairs(terminal, [
    ['node', nodeId],
    ...Object.entries(figures).map(([name, value]) => [name, String(value)] as const),
    ['voters', voters.join(' ')],
    ['learners', learners.join(' ') || '-'],
    ...others.map(({ id, addresses }) => ['other', `${id} ${addresses.http || '-'} ${addresses.peer || '-'}`] as const),
    ...doubts.map((sentence) => ['doubt', sentence] as const),
  ])
  return undefined
}

function advise({ terminal }: CommandContext, place: Place, facts: SurvivorFacts): ExitCode {
  const { voters, nodeId, lastIndex, committed } = facts
  const majority = Math.floor(voters.length / 2) + 1
  say(
    terminal,
    `nothing was changed. ${majority} of ${voters.join(', ')} are a quorum: if they can be started, start them`,
  )
  say(
    terminal,
    'else stop all, run this on each that is left, and recover one: the highest lastTerm, and among those the highest lastIndex; before one with doubts take one without',
  )
  say(
    terminal,
    `lost is then what was acknowledged without ${nodeId}: it can not be told from here, since a majority of others is enough to acknowledge`,
  )
  if (lastIndex > committed) say(terminal, unknownEntries(facts))
  say(terminal, `next: ${terminal.self} raft recover ${place.startArguments} --force-new-cluster`)
  return exitCodes.done
}

function unknownEntries({ committed, lastIndex }: SurvivorFacts): string {
  return `entries ${committed + 1} to ${lastIndex} are not known to be committed: they are kept, since acknowledged writes may be among them; others among them may have been answered as unknown, or refused`
}

function sayPlan(terminal: Terminal, place: Place, facts: SurvivorFacts): void {
  const { nodeId, keys, lastIndex, lastTerm, voters, cluster, committed } = facts
  const names = voters.filter((id) => id !== nodeId).join(', ') || 'nobody is known'
  const lines = [
    `THIS GIVES CLUSTER ${cluster} UP and makes a new one, with another id, out of what node ${nodeId} alone has:`,
    `- kept: ${keys} keys, as of entry ${lastIndex} of term ${lastTerm}, and what repeated writes were answered`,
    ...(lastIndex > committed ? [`- ${unknownEntries(facts)}`] : []),
    `- lost: every write that was acknowledged without ${nodeId}; nobody can tell how many`,
    ...facts.doubts.map(
      (sentence) => `- doubt: ${sentence}; acknowledged writes that this node once had may be lost too`,
    ),
    `- ${nodeId} is the only voter; whoever else comes (${names}) joins it with an empty data directory`,
    `- ${place.dataDir} as it is now is kept in a folder within it`,
    `first make sure that they are stopped or gone (${names}): a majority that this machine can not reach would go on as the old cluster`,
  ]
  for (const line of lines) say(terminal, oneLine(line))
}

async function refuseLed(
  terminal: Terminal,
  { place, options, facts }: { place: Place; options: RecoverOptions; facts: SurvivorFacts },
): Promise<void> {
  const objections = await probeLeaders({
    cluster: facts.cluster,
    voters: facts.voters,
    members: facts.others.map(({ id, addresses }) => ({
      id,
      http: addresses.http,
      listeners: [addresses.peer, addresses.raft].filter((address) => address !== ''),
    })),
    urls: options.peer ?? [],
    listeners: place.join,
    signal: terminal.interrupted,
  })
  if (objections.length === 0) return
  throw new OperatingError(
    'change-refused',
    `recover: the old cluster may live, and nothing was changed: ${objections.join('; ')}`,
  )
}

async function confirm(terminal: Terminal, { clusterName }: Place, { nodeId }: SurvivorFacts): Promise<void> {
  const word = clusterName ?? nodeId
  say(terminal, `to go on, type the ${clusterName === null ? 'id of the node' : 'name of the cluster'}, ${word}:`)
  if ((await firstLine(terminal)) === word) return
  throw new OperatingError(
    'bad-request',
    `recover: ${word} was not typed; nothing was changed (without a terminal, --yes confirms it)`,
  )
}

/** Error `cancelled`: interrupted before somebody typed one. */
async function firstLine({ stdin, interrupted }: Terminal): Promise<string> {
  const interruption = deferred<never>()
  const interrupt = (): void =>
    interruption.reject(new OperatingError('cancelled', 'recover: interrupted; nothing was changed'))
  interrupted.addEventListener('abort', interrupt)
  if (interrupted.aborted) interrupt()
  try {
    return await Promise.race([lineFrom(stdin), interruption.promise])
  } finally {
    interrupted.removeEventListener('abort', interrupt)
  }
}

async function lineFrom(input: Terminal['stdin']): Promise<string> {
  let text = ''
  for await (const part of input) {
    text += typeof part === 'string' ? part : Buffer.from(part).toString('utf8')
    if (text.includes('\n') || text.length > lineLengthMax) break
  }
  return text.split('\n', 1)[0]?.trim() ?? ''
}

const lineLengthMax = 1024

async function found(
  context: CommandContext,
  options: RecoverOptions,
  { place, survivor }: { place: Place; survivor: Survivor },
): Promise<ExitCode> {
  const founded = await survivor.found()
  return report(context, options, { place, founded })
}

function report(
  { terminal }: CommandContext,
  options: RecoverOptions,
  { place, founded }: { place: Place; founded: Founded },
): ExitCode {
  const { nodeId, clusterId, index, aside } = founded
  if (options.json === true) printJson(terminal, founded)
  else
    printPairs(terminal, [
      ['node', nodeId],
      ['cluster', clusterId],
      ['revisionsAbove', String(index)],
      ['before', `${place.dataDir}/${aside}`],
    ])
  const next = [
    `done: ${nodeId} is the only voter of cluster ${clusterId}. Next:`,
    `1. ${terminal.self} start ${place.startArguments}`,
    `2. for every other machine: keep a copy of its data directory, empty it, start the node, and here:`,
    `   ${terminal.self} raft add-learner ID --promote`,
    `3. ${terminal.self} raft status, until all are voters; then ${terminal.self} snapshot save FILE`,
    `4. when nothing is missed any more, delete ${place.dataDir}/${aside}`,
  ]
  for (const line of next) say(terminal, line)
  return exitCodes.done
}
