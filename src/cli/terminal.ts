/**
 * What a command sees of the world around it: streams, environment, its own name. The process gives the real one, tests
 * give their own. Data goes to stdout, talk to stderr.
 */
export type Terminal = {
  readonly stdout: Output
  readonly stderr: Output
  readonly stdin: AsyncIterable<Uint8Array | string>
  readonly env: Readonly<Record<string, string | undefined>>
  /** How the user calls this program, for messages that say what to run next. */
  readonly self: string
  /** Aborted when nobody reads stdout any more. The process of a command that does not look at it ends at once then. */
  readonly unread: AbortSignal
  /** Aborted at the first SIGINT, SIGTERM or SIGHUP. */
  readonly interrupted: AbortSignal
  /** Aborted at a later one: whoever sends it does not want to wait. */
  readonly insisted: AbortSignal
}

export type Output = {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

export function say(terminal: Terminal, text: string): void {
  terminal.stderr.write(`${text}\n`)
}

export function warn(terminal: Terminal, text: string): void {
  say(terminal, `warning: ${text}`)
}

/** An argument as it stands in a command to be copied into a shell. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`
}

/** Colour only where a person looks at it and has not declined it. */
export function hasColour(terminal: Terminal, output: Output): boolean {
  const { NO_COLOR: declined, TERM: kind } = terminal.env
  return output.isTTY === true && (declined === undefined || declined === '') && kind !== 'dumb'
}

/** Text of foreign origin for one cell: no control characters, so that it can neither steer a terminal nor break a row. */
export function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ').trim()
}

/** Text of foreign origin as it is, unless a terminal would obey it. */
export function harmless(output: Output, text: string): string {
  if (output.isTTY !== true) return text
  return text.replaceAll(/[\p{Cc}]/gu, (character) => (character === '\n' || character === '\t' ? character : ''))
}
