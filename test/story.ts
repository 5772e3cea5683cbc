import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'

/**
 * A story is a text: lines that begin with `>` are commands, what follows is what happened by them, up to a blank line, a
 * comment (`#`) or the next command. This returns the text with what happens now; a command after `quiet` says nothing.
 */
export function renderStory(text: string, run: (words: readonly string[]) => readonly string[]): string {
  const lines: string[] = []
  let inOutput = false
  for (const line of text.trimEnd().split('\n')) {
    if (line.startsWith('> ')) {
      inOutput = true
      const words = line.slice(2).trim().split(/\s+/)
      const isQuiet = words[0] === 'quiet'
      const output = run(isQuiet ? words.slice(1) : words)
      lines.push(line, ...(isQuiet ? [] : output))
      continue
    }
    if (line === '' || line.startsWith('#')) inOutput = false
    if (!inOutput) lines.push(line)
  }
  return lines.join('\n') + '\n'
}

/** Each file of the folder is a story; UPDATE_SCENARIOS=1 writes what happens now (read the diff before you commit it). */
export function describeStories(folder: string, render: (text: string) => string): void {
  describe('scenarios', () => {
    for (const name of readdirSync(folder).filter((name) => name.endsWith('.txt'))) {
      it(`${name.replace('.txt', '').replaceAll('-', ' ')} goes as written`, () => {
        const file = path.join(folder, name)
        const rendered = render(readFileSync(file, 'utf8'))
        if (process.env['UPDATE_SCENARIOS'] === '1') writeFileSync(file, rendered)
        expect(rendered).toBe(readFileSync(file, 'utf8'))
      })
    }
  })
}
