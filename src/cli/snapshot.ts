/** `quorate snapshot`: the whole state as a file: take it from a node, look into it, found a new cluster with it. */
import type { Command } from 'commander'
import { isNodeId, type ClusterId, type NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { SnapshotFacts } from '../node/snapshot-file.ts'
import { printsJson, talksToNode, withClient, type CommandContext, type NodeOptions } from './command.ts'
import { exitCodes, type ExitCode } from './exit-codes.ts'
import { printJson, printPairs } from './printers.ts'
import { say, shellWord } from './terminal.ts'

type SaveOptions = NodeOptions & { readonly stale?: boolean; readonly force?: boolean }
type RestoreOptions = {
  readonly dataDir: string
  readonly nodeId: string
  readonly voters?: string
  readonly clusterId?: string
  readonly json?: boolean
}

export function addSnapshot(program: Command, context: CommandContext): void {
  const snapshot = program.command('snapshot').description('back the state of the cluster up, and restore it')
  talksToNode(
    snapshot
      .command('save <file>')
      .description('save the whole state of the cluster, as it is at one place of the log, and verify the file'),
  )
    .option('--stale', "this node's own copy, which may be behind: for a cluster without a quorum")
    .option('--force', 'replace the file if it is there')
    .action((file: string, options: SaveOptions) => context.run(() => save(context, file, options)))
  printsJson(
    snapshot
      .command('inspect <file>')
      .description('verify every byte of a snapshot and tell what it holds; needs no node'),
  ).action((file: string, options: NodeOptions) => context.run(() => inspect(context, file, options)))
  printsJson(
    snapshot
      .command('restore <file>')
      .description(
        'make the data directory of a new cluster, which begins with the keys of the snapshot; needs no node',
      ),
  )
    .requiredOption('--data-dir <dir>', 'data directory of the node, empty (node.dataDir)')
    .requiredOption('--node-id <id>', 'id of the node (node.id)')
    .option('--voters <id,...>', 'all voters of the new cluster, alike on all; the node alone when left out')
    .option('--cluster-id <id>', 'what the first voter was told to say on the others; never that of an older cluster')
    .action((file: string, options: RestoreOptions) => context.run(() => restore(context, file, options)))
}

function save(context: CommandContext, file: string, options: SaveOptions): Promise<ExitCode> {
  const { terminal } = context
  const query = options.stale === true ? '?consistency=stale' : ''
  return withClient(context, options, async (client) => {
    const { writeSnapshotFile } = await import('../node/snapshot-file.ts')
    const parts = client.bytes(`/v1/snapshot${query}`, { waitMs: encodeMsMax, silenceMs })
    const facts = await writeSnapshotFile({ file, parts, replace: options.force === true }).catch((error: unknown) => {
      const isLeaderless = error instanceof OperatingError && withoutQuorum.has(error.code) && options.stale !== true
      if (isLeaderless)
        say(terminal, 'no quorum answers: --stale saves what this one node has, which may lack the newest writes')
      throw error
    })
    print(context, options, { file, ...facts })
    say(
      terminal,
      `saved and verified; copy it to another machine; next: ${terminal.self} snapshot inspect ${shellWord(file)}`,
    )
  })
}

/** A node encodes all of its state before the first byte leaves. */
const encodeMsMax = 300_000
const silenceMs = 30_000
const withoutQuorum: ReadonlySet<string> = new Set(['no-leader', 'no-quorum'])

async function inspect(context: CommandContext, file: string, options: NodeOptions): Promise<ExitCode> {
  const { readSnapshotFile } = await import('../node/snapshot-file.ts')
  const { facts } = await readSnapshotFile(file)
  print(context, options, { file, ...facts })
  return exitCodes.done
}

function print({ terminal }: CommandContext, options: NodeOptions, told: SnapshotFacts & { file: string }): void {
  if (options.json === true) return printJson(terminal, told)
  const { time, voters, learners, ...others } = told
  const pairs = Object.entries({
    ...others,
    time: new Date(time).toISOString(),
    voters: voters.join(' '),
    learners: learners.join(' ') || '-',
  })
  return printPairs(
    terminal,
    pairs.map(([name, value]) => [name, String(value)] as const),
  )
}

async function restore(context: CommandContext, file: string, options: RestoreOptions): Promise<ExitCode> {
  const { terminal } = context
  const { dataDir } = options
  const nodeId = nodeIdOf('--node-id', options.nodeId)
  const voters = votersOf(options.voters ?? nodeId)
  const clusterId = clusterIdOf(options.clusterId)
  const { restoreSnapshot } = await import('../node/restore.ts')
  const { founded, facts } = await restoreSnapshot({ file, dataDir, nodeId, voters, clusterId })
  const { cluster, keys, idempotencyKeys, index: savedIndex } = facts
  const told = {
    ...founded,
    aside: undefined,
    dataDir,
    restoredFrom: { file, cluster, index: savedIndex },
    keys,
    idempotencyKeys,
  }
  if (options.json === true) printJson(terminal, told)
  else
    printPairs(terminal, [
      ['node', nodeId],
      ['cluster', founded.clusterId],
      ['voters', founded.voters.join(' ')],
      ['keys', String(keys)],
      ['idempotencyKeys', String(idempotencyKeys)],
      ['revisionsAbove', String(founded.index)],
    ])
  say(
    terminal,
    `${dataDir} is node ${nodeId} of a new cluster, which begins with what ${cluster} held at ${savedIndex}`,
  )
  sayNext(context, file, { ...founded, isFirst: clusterId === null })
  return exitCodes.done
}

type Restored = {
  readonly nodeId: NodeId
  readonly clusterId: ClusterId
  readonly voters: readonly NodeId[]
  readonly isFirst: boolean
}

function sayNext({ terminal }: CommandContext, file: string, { nodeId, clusterId, voters, isFirst }: Restored): void {
  const others = voters.filter((id) => id !== nodeId)
  if (others.length > 0 && isFirst) {
    say(terminal, 'next, on the other voters, each once, from the same file:')
    const same = `--voters ${voters.join(',')} --cluster-id ${clusterId}`
    for (const id of others)
      say(terminal, `  ${terminal.self} snapshot restore ${shellWord(file)} --data-dir DIR --node-id ${id} ${same}`)
  }
  if (others.length > 0) {
    say(
      terminal,
      'never again once the cluster has started: a voter restored a second time has forgotten what it acknowledged; one that is lost later joins with an empty data directory (raft remove, raft add-learner)',
    )
  }
  say(terminal, `then: ${terminal.self} start --config FILE${others.length > 0 ? ' on all of them' : ''}`)
}

function votersOf(text: string): readonly NodeId[] {
  const voters = text.split(',').map((id) => nodeIdOf('--voters', id.trim()))
  if (new Set(voters).size !== voters.length) throw new OperatingError('bad-request', '--voters names a node twice')
  if (voters.length <= votersMax) return voters
  throw new OperatingError('bad-request', `--voters names ${voters.length} nodes; a cluster has at most ${votersMax}`)
}

/** As cluster.bootstrapExpect. */
const votersMax = 7

function nodeIdOf(option: string, text: string): NodeId {
  if (isNodeId(text)) return text
  throw new OperatingError(
    'bad-request',
    `${option}: ${JSON.stringify(text)} is no id of a node: 1 to 64 characters of A-Z a-z 0-9 . _ -`,
  )
}

function clusterIdOf(text: string | undefined): ClusterId | null {
  if (text === undefined) return null
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) return text as ClusterId
  throw new OperatingError(
    'bad-request',
    `--cluster-id ${JSON.stringify(text)} is not what "snapshot restore" prints, a UUID`,
  )
}
