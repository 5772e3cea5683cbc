/** The levels of MCP's logging, as RFC 5424 names them. */
/** From the most to the least talkative. Their places are numbers on the disk. */
export const logLevels = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'] as const
export type LogLevel = (typeof logLevels)[number]

export function isLogLevel(value: unknown): value is LogLevel {
  return logLevels.some((level) => level === value)
}
