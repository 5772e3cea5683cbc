/** Tables and the two numbers that the measurements are told in. */

/** Columns as wide as their widest cell; all but the first that hold numbers only are aligned right. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  for (const line of tableLines(head, rows)) console.log(line)
}

export function tableLines(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const numeric = head.map((_, column) => rows.every((row) => /^[-\d.x]*$/.test(row[column] ?? '')))
  const widths = head.map((cell, column) => Math.max(cell.length, ...rows.map((row) => (row[column] ?? '').length)))
  return [head, ...rows].map((row) => {
    const cells = row.map((cell, column) =>
      numeric[column] === true ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
    )
    return cells.join('  ').trimEnd()
  })
}

/** The value that this share (0 to 1) of the values does not exceed; NaN of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[sorted.length / 2 - 1] ?? Number.NaN) + upper) / 2
}
