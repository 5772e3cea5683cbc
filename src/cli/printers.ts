/** Rows for people and for programs: a table on a terminal, tab-separated lines without one, JSON when asked. */
import Table from 'cli-table3'
import { createColors } from 'picocolors'
import { hasColour, oneLine, type Terminal } from './terminal.ts'

export type Column<Row> = {
  readonly title: string
  readonly text: (row: Row) => string
  /** Longest text on a terminal, in characters; without a terminal nothing is cut. */
  readonly max?: number
}

export function printJson(terminal: Terminal, value: unknown): void {
  terminal.stdout.write(`${JSON.stringify(value, null, terminal.stdout.isTTY === true ? 2 : undefined)}\n`)
}

/** Tab-separated lines carry no titles, so that they need no cutting off. */
export function printRows<Row>(terminal: Terminal, rows: readonly Row[], columns: readonly Column<Row>[]): void {
  const { stdout } = terminal
  const cells = rows.map((row) => columns.map((column) => oneLine(column.text(row))))
  if (stdout.isTTY !== true) {
    for (const line of cells) stdout.write(`${line.join('\t')}\n`)
    return
  }
  const colours = createColors(hasColour(terminal, stdout))
  const table = new Table({ head: columns.map((column) => colours.bold(column.title)), chars: noLines, style: noStyle })
  for (const line of cells) table.push(line.map((cell, index) => cut(cell, columns[index]?.max ?? 60)))
  stdout.write(`${table.toString()}\n`)
}

/** Name and value, one a line. */
export function printPairs(terminal: Terminal, pairs: readonly (readonly [string, string])[]): void {
  const width = Math.max(0, ...pairs.map(([name]) => name.length))
  for (const [name, value] of pairs) {
    const line =
      terminal.stdout.isTTY === true ? `${name.padEnd(width)}  ${oneLine(value)}` : `${name}\t${oneLine(value)}`
    terminal.stdout.write(`${line}\n`)
  }
}

/** A wall time in ms, as all who read logs know it. */
export function timeText(ms: unknown): string {
  return typeof ms === 'number' && Math.abs(ms) < 8.64e15 ? new Date(ms).toISOString() : '-'
}

const noStyle = { head: [], border: [], 'padding-left': 0, 'padding-right': 2, compact: true }

const noLines = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '',
}

function cut(text: string, max: number): string {
  return text.length > max ? `${text.slice(0, max - 3)}...` : text
}
