/**
 * The whole command line, over a given terminal: parses, runs one command, prints what failed once, and gives the exit
 * code. Never ends the process itself.
 */
import { Command, CommanderError } from 'commander'
import { createColors } from 'picocolors'
import { describeError, OperatingError } from '../vocabulary/operating-error.ts'
import { objectOf } from './client.ts'
import { addClusterViews } from './cluster-views.ts'
import { jsonOption, urlOption, type CommandContext, type Work } from './command.ts'
import { addConfig } from './config.ts'
import { addDev } from './dev.ts'
import { exitCodeOf, exitCodes, type ExitCode } from './exit-codes.ts'
import { addKv } from './kv.ts'
import { addNode } from './node.ts'
import { addRaft } from './raft.ts'
import { addSession } from './session.ts'
import { addSnapshot } from './snapshot.ts'
import { addStart, type StartNode } from './start.ts'
import { addStdio } from './stdio.ts'
import { hasColour, harmless, say, type Terminal } from './terminal.ts'
import { addToken } from './token.ts'
import { addTool } from './tool.ts'

export type ProgramOptions = {
  /** Arguments behind the program's name. */
  readonly args: readonly string[]
  readonly terminal: Terminal
  readonly version: string
  readonly startNode: StartNode
}

export async function runProgram({ args, terminal, version, startNode }: ProgramOptions): Promise<ExitCode> {
  let work: Work | null = null
  const context: CommandContext = { terminal, version, run: (chosen) => (work = chosen) }
  const program = makeProgram(context, startNode)
  try {
    await program.parseAsync(args, { from: 'user' })
    return work === null ? exitCodes.done : await (work as Work)()
  } catch (error) {
    if (error instanceof CommanderError) return isAsked(error, args) ? exitCodes.done : exitCodes.badUsage
    tell(terminal, error)
    return error instanceof OperatingError ? exitCodeOf[error.code] : exitCodes.failed
  }
}

function makeProgram(context: CommandContext, startNode: StartNode): Command {
  const { terminal, version } = context
  const program = new Command('quorate')
    .description('a cluster of equal nodes that serves many MCP servers behind one URL')
    .version(version)
    .exitOverride()
    .showSuggestionAfterError(true)
    .configureOutput({
      writeOut: (text) => terminal.stdout.write(text),
      writeErr: (text) => terminal.stderr.write(text),
      getOutHasColors: () => hasColour(terminal, terminal.stdout),
      getErrHasColors: () => hasColour(terminal, terminal.stderr),
      ...(terminal.stdout.columns === undefined ? {} : { getOutHelpWidth: () => terminal.stdout.columns ?? 80 }),
    })
  takeBefore(program)
  addStart(program, context, startNode)
  addDev(program, context)
  addStdio(program, context)
  addClusterViews(program, context)
  addNode(program, context)
  addSession(program, context)
  addToken(program, context)
  addRaft(program, context)
  addTool(program, context)
  addKv(program, context)
  addSnapshot(program, context)
  addConfig(program, context)
  return program
}

/** `quorate --url U kv list` is what `quorate kv list --url U` is: options that most commands take may stand anywhere. */
function takeBefore(program: Command): void {
  for (const option of [urlOption(), jsonOption()]) program.addOption(option.hideHelp())
  program.hook('preAction', (_, command) => {
    for (const [name, value] of Object.entries(program.opts())) {
      const isTaken = command.options.some((option) => option.attributeName() === name)
      if (!isTaken) command.error(`error: ${command.name()} takes no --${name}`)
      command.setOptionValue(name, value)
    }
  })
}

/** Help and version that were asked for; help that is shown because a command is missing is bad usage. */
function isAsked(error: CommanderError, args: readonly string[]): boolean {
  if (error.code === 'commander.version' || error.code === 'commander.helpDisplayed') return true
  return error.code === 'commander.help' && args[0] === 'help'
}

function tell(terminal: Terminal, error: unknown): void {
  const colours = createColors(hasColour(terminal, terminal.stderr))
  const { message: theirs } = objectOf(error instanceof OperatingError ? error.details?.['error'] : undefined)
  const detail = typeof theirs === 'string' ? `: ${theirs}` : ''
  const retry = error instanceof OperatingError && error.retryAfterMs !== undefined ? waitText(error.retryAfterMs) : ''
  say(terminal, harmless(terminal.stderr, `${colours.red('error')}: ${describeError(error)}${detail}${retry}`))
}

function waitText(ms: number): string {
  return `; try again in ${Math.max(1, Math.round(ms / 1000))} s`
}
