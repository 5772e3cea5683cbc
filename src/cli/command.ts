/** What every command file is given, and the options that all commands that talk to a node share. */
import { Option, type Command } from 'commander'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { AdminClient, defaultUrl } from './client.ts'
import { exitCodes, type ExitCode } from './exit-codes.ts'
import type { Terminal } from './terminal.ts'

/** Does the work of one command. What it returns is the exit code; an OperatingError becomes one by the table. */
export type Work = () => Promise<ExitCode>

export type CommandContext = {
  readonly terminal: Terminal
  readonly version: string
  /** Hands in what the chosen command does; it runs when parsing is over. */
  run(work: Work): void
}

export type NodeOptions = { readonly url?: string; readonly json?: boolean }

/** Adds `--url` and `--json`. */
export function talksToNode(command: Command): Command {
  return printsJson(command).addOption(urlOption())
}

export function printsJson(command: Command): Command {
  return command.addOption(jsonOption())
}

export function urlOption(): Option {
  return new Option('--url <url>', `address of a node's listen.http (or QUORATE_URL; default ${defaultUrl})`)
}

export function jsonOption(): Option {
  return new Option('--json', 'print JSON')
}

/** Runs work with a client of the node that the options name, and lets its sockets go. */
export async function withClient(
  context: CommandContext,
  options: NodeOptions,
  work: (client: AdminClient) => Promise<void>,
): Promise<ExitCode> {
  const { env, interrupted } = context.terminal
  const client = new AdminClient(options.url ?? env['QUORATE_URL'] ?? defaultUrl, interrupted)
  try {
    await work(client)
    return exitCodes.done
  } finally {
    await client.close()
  }
}

/** An option's text as a whole number. */
export function wholeNumberOption(name: string, text: string, min: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min) return value
  throw new OperatingError('bad-request', `${name} is a whole number of at least ${min}, not ${JSON.stringify(text)}`)
}

/** An option's text as a revision: they have as many digits as the log grows to, and begin anew far above (see snapshot restore). */
export function revisionOption(name: string, text: string, min: number): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(value) && value >= min) return value
  throw new OperatingError(
    'bad-request',
    `${name} is a revision, a whole number of at least ${min}, not ${JSON.stringify(text)}`,
  )
}

const inputBytesMax = 16 * 1024 * 1024

/** The argument, or all of stdin where it is `-`. */
export async function argumentText(terminal: Terminal, argument: string): Promise<string> {
  if (argument !== '-') return argument
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of terminal.stdin) {
    const buffer = Buffer.from(part)
    bytes += buffer.byteLength
    if (bytes > inputBytesMax) throw new OperatingError('too-large', `stdin has more than ${inputBytesMax} bytes`)
    parts.push(buffer)
  }
  return Buffer.concat(parts).toString('utf8')
}
