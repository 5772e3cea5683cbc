import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { ResourceListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { waitFor } from '../wait.ts'
import { callTool, connectDemo, recordProgress, type Answer, type DemoServer } from './demo-client.ts'

let home: string
let sandbox: string
let demo: DemoServer

beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'quorate-files-'))
  sandbox = path.join(home, 'sandbox')
  await writeFile(path.join(home, 'secret.txt'), 'outside')
  demo = await connectDemo('files', [sandbox])
})

afterEach(async () => {
  await demo.client.close()
  await rm(home, { recursive: true })
})

const call = (name: string, args: Record<string, unknown> = {}): Promise<Answer> => callTool(demo.client, name, args)

describe('the files server', () => {
  it('makes a missing folder with example files and lists them', async () => {
    const { entries } = (await call('list', { recursive: true })).structured as { entries: { path: string }[] }
    expect(entries.map((entry) => entry.path)).toEqual([
      'README.md',
      'config',
      'config/shop.json',
      'notes',
      'notes/consensus.md',
      'notes/todo.md',
      'reports',
      'reports/stock.csv',
    ])
  })

  it('does not put examples into a folder that was there', async () => {
    const own = path.join(home, 'own')
    await mkdir(own)
    const other = await connectDemo('files', [own])
    expect((await callTool(other.client, 'list')).text).toBe('the folder is empty')
    await other.client.close()
  })

  it.each([
    ['a parent folder', '../secret.txt', 'leads out of the sandbox'],
    ['a parent folder in the middle', 'notes/../../secret.txt', 'leads out of the sandbox'],
    ['an absolute path', '/etc/passwd', 'is absolute'],
    ['a drive', 'C:\\secret.txt', 'is absolute'],
    ['a link to a file outside', 'link.txt', 'leads out of the sandbox'],
    ['a folder that is a link out', 'link-folder/secret.txt', 'leads out of the sandbox'],
    ['a NUL character', 'a\0b', 'NUL'],
  ])('refuses to read %s', async (_case, name, reason) => {
    await symlink(path.join(home, 'secret.txt'), path.join(sandbox, 'link.txt'))
    await symlink(home, path.join(sandbox, 'link-folder'))
    const answer = await call('read', { path: name })
    expect(answer.isError).toBe(true)
    expect(answer.text).toContain(reason)
    expect(answer.text).not.toContain('outside')
  })

  it.each([
    ['write', { path: 'link-folder/secret.txt', content: 'x', overwrite: true }],
    ['write', { path: '../secret.txt', content: 'x', overwrite: true }],
    ['write', { path: 'link.txt', content: 'x', overwrite: true }],
    ['edit', { path: 'link.txt', oldText: 'outside', newText: 'x' }],
    ['move', { from: 'link-folder/secret.txt', to: 'mine.txt' }],
    ['move', { from: 'README.md', to: '../README.md' }],
    ['move', { from: 'README.md', to: 'link-folder/README.md' }],
    ['delete', { path: 'link-folder/secret.txt' }],
    ['delete', { path: '', recursive: true }],
    ['list', { path: 'link-folder' }],
    ['search', { text: 'outside', path: 'link-folder' }],
  ])('refuses to %s outside of the folder: %j', async (tool, args) => {
    await symlink(path.join(home, 'secret.txt'), path.join(sandbox, 'link.txt'))
    await symlink(home, path.join(sandbox, 'link-folder'))
    expect((await call(tool, args)).isError).toBe(true)
    expect(await readFile(path.join(home, 'secret.txt'), 'utf8')).toBe('outside')
    expect((await readdir(home)).sort()).toEqual(['sandbox', 'secret.txt'])
    expect(await readdir(sandbox)).toContain('README.md')
  })

  it('finds nothing behind a link that leads out', async () => {
    await symlink(home, path.join(sandbox, 'link-folder'))
    await symlink(path.join(home, 'secret.txt'), path.join(sandbox, 'link.txt'))
    expect((await call('search', { text: 'outside of nothing' })).structured['matches']).toEqual([])
    const { matches } = (await call('search', { text: 'outside' })).structured as { matches: { path: string }[] }
    expect(matches.map((match) => match.path)).toEqual(['README.md'])
  })

  it('deletes a link, not what it points to', async () => {
    await symlink(home, path.join(sandbox, 'link-folder'))
    expect((await call('delete', { path: 'link-folder', recursive: true })).text).toBe('deleted link-folder')
    expect((await readdir(home)).sort()).toEqual(['sandbox', 'secret.txt'])
  })

  it('replaces a file only when told to', async () => {
    expect((await call('write', { path: 'a/b.txt', content: 'one' })).text).toContain('created')
    expect((await call('write', { path: 'a/b.txt', content: 'two' })).text).toContain('overwrite: true')
    expect((await call('read', { path: 'a/b.txt' })).text).toBe('one')
    expect((await call('write', { path: 'a/b.txt', content: 'two', overwrite: true })).text).toContain('replaced')
    expect((await call('read', { path: 'a/b.txt' })).text).toBe('two')
    expect(await readdir(path.join(sandbox, 'a'))).toEqual(['b.txt'])
  })

  it('edits a text that is there exactly once', async () => {
    await call('write', { path: 'a.txt', content: 'x=1 y=1' })
    expect((await call('edit', { path: 'a.txt', oldText: '=1', newText: '=$&' })).text).toContain('2 times')
    expect((await call('edit', { path: 'a.txt', oldText: 'z', newText: '' })).text).toContain('does not contain')
    await call('edit', { path: 'a.txt', oldText: '=1', newText: '=$&', all: true })
    expect((await call('read', { path: 'a.txt' })).text).toBe('x=$& y=$&')
  })

  it('reads ranges that put together give the file, whatever characters they cut', async () => {
    const text = 'aé€😀'.repeat(20)
    await call('write', { path: 'wide.txt', content: text })
    let read = ''
    let offset: number | undefined = 0
    while (offset !== undefined) {
      const { structured } = await call('read', { path: 'wide.txt', offset, length: 7 })
      read += String(structured['content'])
      offset = structured['nextOffset'] as number | undefined
    }
    expect(read).toBe(text)
  })

  it('refuses binary as text and gives it as base64', async () => {
    await writeFile(path.join(sandbox, 'b.bin'), Buffer.from([0xff, 0x00, 0xfe]))
    expect((await call('read', { path: 'b.bin' })).text).toContain('base64')
    expect((await call('read', { path: 'b.bin', encoding: 'base64' })).text).toBe('/wD+')
  })

  it('refuses more than 1 MiB in one file', async () => {
    const answer = await call('write', { path: 'big.txt', content: 'x'.repeat(1024 * 1024 + 1) })
    expect(answer.text).toContain('limit')
    await writeFile(path.join(sandbox, 'large.txt'), 'x'.repeat(1024 * 1024 + 1))
    expect((await call('edit', { path: 'large.txt', oldText: 'x', newText: 'y' })).text).toContain('limit')
  })

  it('moves without replacing, and not into itself', async () => {
    expect((await call('move', { from: 'README.md', to: 'notes/todo.md' })).text).toContain('exists already')
    expect((await call('move', { from: 'notes', to: 'notes/inner' })).text).toContain('into itself')
    expect((await call('move', { from: 'notes/todo.md', to: 'later/todo.md' })).isError).toBe(false)
    expect(await readdir(path.join(sandbox, 'later'))).toEqual(['todo.md'])
  })

  it('deletes a full folder only with recursive', async () => {
    expect((await call('delete', { path: 'notes' })).text).toContain('recursive: true')
    expect((await call('delete', { path: 'notes', recursive: true })).isError).toBe(false)
    expect(await readdir(sandbox)).not.toContain('notes')
  })

  it('says that a file is missing, and refuses arguments that break the schema', async () => {
    expect((await call('read', { path: 'nope.txt' })).text).toBe('nope.txt does not exist')
    expect((await call('read', { path: 5 })).isError).toBe(true)
    expect((await call('read', { path: 'README.md/x' })).isError).toBe(true)
  })

  it('offers each file as a resource and reads it by its URI', async () => {
    await call('write', { path: 'odd name #1.md', content: '# odd' })
    const { resources } = await demo.client.listResources()
    const odd = resources.find((resource) => resource.name === 'odd name #1.md')
    expect(odd?.mimeType).toBe('text/markdown')
    const { contents } = await demo.client.readResource({ uri: odd?.uri ?? '' })
    expect(contents[0]).toMatchObject({ text: '# odd' })
    for (const uri of ['sandbox:///..%2fsecret.txt', 'sandbox:///%E0%A4', 'sandbox:///nope', 'sandbox:////etc/passwd'])
      await expect(demo.client.readResource({ uri })).rejects.toMatchObject({ code: -32002 })
  })

  it('tells that the list of files changed when a tool adds, moves or deletes one, not when one is replaced', async () => {
    let changes = 0
    demo.client.setNotificationHandler(ResourceListChangedNotificationSchema, () => void (changes += 1))
    await call('write', { path: 'n.txt', content: '1' })
    await call('write', { path: 'n.txt', content: '2', overwrite: true })
    await call('move', { from: 'n.txt', to: 'm.txt' })
    await call('delete', { path: 'm.txt' })
    expect(changes).toBe(3)
  })

  it('reports progress for each file of a search, in order', async () => {
    const seen = recordProgress(demo)
    await demo.client.callTool({ name: 'search', arguments: { text: 'quorum' } }, undefined, { onprogress: () => {} })
    expect(seen.map(({ progress, total }) => `${progress}/${total}`)).toEqual(['1/5', '2/5', '3/5', '4/5', '5/5'])
  })

  it('bounds the matches of a search', async () => {
    const { structured } = await call('search', { text: 'a', maxMatches: 2 })
    expect(structured).toMatchObject({ truncated: true })
    expect(structured['matches']).toHaveLength(2)
  })

  it.runIf(process.platform === 'linux')('stops a search that is cancelled, and serves on', async () => {
    const folder = path.join(sandbox, 'many')
    await mkdir(folder)
    const files = Array.from({ length: 1500 }, (_, index) => path.join(folder, `${index}.txt`))
    for (const file of files) await writeFile(file, 'hay\n'.repeat(1000))
    const abort = new AbortController()
    const onprogress = ({ progress }: { progress: number }): void => {
      if (progress === 3) abort.abort('enough')
    }
    const params = { name: 'search', arguments: { text: 'needle', path: 'many' } }
    const cancelled = demo.client.callTool(params, undefined, { onprogress, signal: abort.signal })
    await expect(cancelled).rejects.toThrow('enough')
    // A second search reads everything once. Had the first gone on, it would have read the same beside it.
    const before = await bytesRead(demo.transport.pid)
    await call('search', { text: 'needle', path: 'many' })
    const once = 1500 * 4000
    expect((await bytesRead(demo.transport.pid)) - before).toBeGreaterThan(once * 0.9)
    expect((await bytesRead(demo.transport.pid)) - before).toBeLessThan(once * 1.3)
  })

  it('summarizes a folder by a prompt that carries its files', async () => {
    const { messages } = await demo.client.getPrompt({ name: 'summarize-folder', arguments: { path: 'notes' } })
    expect(messages).toHaveLength(3)
    expect(JSON.stringify(messages)).toContain('Any two quorums'.toLowerCase())
    const outside = demo.client.getPrompt({ name: 'summarize-folder', arguments: { path: '..' } })
    await expect(outside).rejects.toThrow('leads out')
  })

  it('ends when its stdin ends, and says how to use it without a folder', async () => {
    const script = new URL('../../dist/demo/files.js', import.meta.url).pathname
    const child = spawn(process.execPath, [script, sandbox], { stdio: ['pipe', 'ignore', 'inherit'] })
    child.stdin.end()
    const [code] = (await once(child, 'exit')) as [number]
    expect(code).toBe(0)
    const bare = spawn(process.execPath, [script], { stdio: 'ignore' })
    expect((await once(bare, 'exit'))[0]).toBe(2)
    await waitFor('no temporary file', async () => !(await readdir(sandbox)).some((name) => name.endsWith('.tmp')))
  })
})

/** What a process has read by system calls so far, in bytes. */
async function bytesRead(pid: number | null): Promise<number> {
  return Number(/^rchar: (\d+)$/m.exec(await readFile(`/proc/${pid}/io`, 'utf8'))?.[1])
}
