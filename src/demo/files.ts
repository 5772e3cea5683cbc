/**
 * Demo server: the files of one sandbox folder as MCP tools and resources, over stdio.
 * `node files.js FOLDER`; the folder is made, with a few example files, when it is missing.
 * What may be touched is decided in sandbox.ts; here are names, schemas, progress and answers.
 */
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/sdk/server/mcp.js'
import type { RequestHandlerExtra } from '@modelcontextprotocol/sdk/shared/protocol.js'
import {
  McpError,
  type CallToolResult,
  type PromptMessage,
  type ServerNotification,
  type ServerRequest,
} from '@modelcontextprotocol/sdk/types.js'
import { z } from 'zod'
import { exampleFiles } from './example-files.ts'
import { Sandbox, SandboxError, codeOf, entriesMax, fileBytesMax, type Entry } from './sandbox.ts'
import { serveStdio } from './stdio.ts'

type Extra = RequestHandlerExtra<ServerRequest, ServerNotification>

/** MCP's code for a resource that is not there. */
const resourceNotFound = -32002
const matchesMax = 1000
const lineCharsMax = 500
/** How much of how many files the prompt carries. */
const promptFilesMax = 10
const promptCharsMax = 4000

const pathSchema = z.string().describe('Path inside the sandbox, with forward slashes, such as notes/ideas.md')
const folderSchema = z.string().default('').describe('Folder inside the sandbox; empty for all of it')
const entrySchema = z.object({
  path: z.string(),
  kind: z.enum(['file', 'folder', 'link', 'other']),
  bytes: z.number(),
  modified: z.string(),
})
const reading = { readOnlyHint: true, openWorldHint: false }

function createServer(sandbox: Sandbox): McpServer {
  const server = new McpServer(
    { name: 'quorate-demo-files', version: '1.0.0', title: 'Files of a sandbox folder' },
    { instructions: 'Reads, searches and changes the text files of one folder. Paths are relative to that folder.' },
  )
  addReadingTools(server, sandbox)
  addSearchTool(server, sandbox)
  addWritingTools(server, sandbox)
  addResources(server, sandbox)
  addPrompt(server, sandbox)
  return server
}

function addReadingTools(server: McpServer, sandbox: Sandbox): void {
  server.registerTool(
    'list',
    {
      description: `Lists a folder, sorted by path; at most ${entriesMax} entries.`,
      inputSchema: { path: folderSchema, recursive: z.boolean().default(false) },
      outputSchema: { entries: z.array(entrySchema), truncated: z.boolean() },
      annotations: { title: 'List a folder', ...reading },
    },
    ({ path, recursive }, extra) =>
      answer(async () => {
        const listing = await sandbox.list(path, { recursive, signal: extra.signal })
        return { text: listingText(listing.entries, listing.truncated), structured: listing }
      }),
  )
  server.registerTool(
    'read',
    {
      description: `Reads a file, or a range of its bytes; at most ${fileBytesMax} bytes at once. Text must be UTF-8.`,
      inputSchema: {
        path: pathSchema,
        encoding: z.enum(['text', 'base64']).default('text'),
        offset: z.number().int().min(0).default(0).describe('First byte'),
        length: z.number().int().min(4).max(fileBytesMax).default(fileBytesMax).describe('Most bytes to read'),
      },
      outputSchema: {
        path: z.string(),
        encoding: z.enum(['text', 'base64']),
        content: z.string(),
        offset: z.number().describe('First byte of the content'),
        bytes: z.number().describe('How many bytes the content is'),
        size: z.number().describe('Bytes of the whole file'),
        nextOffset: z.number().optional().describe('Where to go on; absent at the end'),
      },
      annotations: { title: 'Read a file', ...reading },
    },
    ({ path, encoding, offset, length }) =>
      answer(async () => {
        const piece = await sandbox.read(path, { offset, length })
        const { content, skipped, bytes } =
          encoding === 'base64'
            ? { content: piece.bytes.toString('base64'), skipped: 0, bytes: piece.bytes.length }
            : decodeText(piece.bytes, { path, atEnd: offset + piece.bytes.length >= piece.size })
        const start = offset + skipped
        const next = start + bytes < piece.size && piece.bytes.length > 0 ? { nextOffset: start + bytes } : {}
        return {
          text: content,
          structured: { path, encoding, content, offset: start, bytes, size: piece.size, ...next },
        }
      }),
  )
  server.registerTool(
    'stat',
    {
      description: 'Says what a path is: kind, size, times, permissions. A link is described itself.',
      inputSchema: { path: pathSchema },
      outputSchema: entrySchema.extend({ created: z.string(), mode: z.string() }).shape,
      annotations: { title: 'Describe a path', ...reading },
    },
    ({ path }) =>
      answer(async () => {
        const entry = await sandbox.stat(path)
        return { text: `${entry.kind} ${entry.path}, ${entry.bytes} bytes, mode ${entry.mode}`, structured: entry }
      }),
  )
}

function addSearchTool(server: McpServer, sandbox: Sandbox): void {
  server.registerTool(
    'search',
    {
      description:
        `Finds a text in the files of a folder and its folders, line by line, with progress per file. ` +
        `Visits at most ${entriesMax} entries; passes over binary files and files above ${fileBytesMax} bytes.`,
      inputSchema: {
        text: z.string().min(1).max(1000),
        path: folderSchema,
        caseSensitive: z.boolean().default(false),
        maxMatches: z.number().int().min(1).max(matchesMax).default(100),
      },
      outputSchema: {
        matches: z.array(
          z.object({
            path: z.string(),
            line: z.number(),
            offset: z.number().describe('First byte of the line, for read'),
            text: z.string(),
          }),
        ),
        filesSearched: z.number(),
        filesSkipped: z.number(),
        truncated: z.boolean(),
      },
      annotations: { title: 'Search in files', ...reading },
    },
    (input, extra) =>
      answer(async () => {
        const found = await search(sandbox, input, extra)
        const lines = found.matches.map((match) => `${match.path}:${match.line}: ${match.text}`)
        const summary =
          `${found.matches.length} matches in ${found.filesSearched} files` +
          (found.truncated ? ', more were left out' : '')
        return { text: [...lines, summary].join('\n'), structured: found }
      }),
  )
}

type SearchInput = { text: string; path: string; caseSensitive: boolean; maxMatches: number }
type Match = { path: string; line: number; offset: number; text: string }

async function search(sandbox: Sandbox, input: SearchInput, extra: Extra) {
  const listing = await sandbox.list(input.path, { recursive: true, signal: extra.signal })
  const files = listing.entries.filter((entry) => entry.kind === 'file')
  const matches: Match[] = []
  let filesSkipped = 0
  let visited = 0
  for (const file of files) {
    extra.signal.throwIfAborted()
    const text = file.bytes > fileBytesMax ? null : await textOf(sandbox, file.path)
    if (text === null) filesSkipped += 1
    else collectMatches(matches, { file: file.path, text, input })
    visited += 1
    await reportProgress(extra, { progress: visited, total: files.length, message: file.path })
    if (matches.length > input.maxMatches) break
  }
  const truncated = listing.truncated || matches.length > input.maxMatches
  return { matches: matches.slice(0, input.maxMatches), filesSearched: visited - filesSkipped, filesSkipped, truncated }
}

/** Adds the file's matches, up to one more than asked for, which tells that there are more. */
function collectMatches(matches: Match[], where: { file: string; text: string; input: SearchInput }): void {
  const { file, text, input } = where
  const fold = (value: string): string => (input.caseSensitive ? value : value.toLowerCase())
  const wanted = fold(input.text)
  let offset = 0
  for (const [index, line] of text.split('\n').entries()) {
    if (fold(line).includes(wanted))
      matches.push({ path: file, line: index + 1, offset, text: line.slice(0, lineCharsMax) })
    if (matches.length > input.maxMatches) return
    offset += Buffer.byteLength(line) + 1
  }
}

function addWritingTools(server: McpServer, sandbox: Sandbox): void {
  const filesChanged = (): void => server.sendResourceListChanged()
  server.registerTool(
    'write',
    {
      description: `Creates a file, with its folders, or replaces a whole one; at most ${fileBytesMax} bytes.`,
      inputSchema: {
        path: pathSchema,
        content: z.string().max(2 * fileBytesMax),
        encoding: z.enum(['text', 'base64']).default('text'),
        overwrite: z.boolean().default(false).describe('Replace the file when it exists'),
      },
      annotations: { title: 'Write a file', destructiveHint: true, idempotentHint: true, openWorldHint: false },
    },
    ({ path, content, encoding, overwrite }) =>
      answer(async () => {
        const bytes = encoding === 'text' ? Buffer.from(content) : decodeBase64(content)
        const { created } = await sandbox.write(path, bytes, { overwrite })
        if (created) filesChanged()
        return { text: `${created ? 'created' : 'replaced'} ${path}, ${bytes.length} bytes` }
      }),
  )
  server.registerTool(
    'edit',
    {
      description: 'Replaces an exact text in a file. Fails when the text is not there, or is there more than once.',
      inputSchema: {
        path: pathSchema,
        oldText: z.string().min(1).max(fileBytesMax),
        newText: z.string().max(fileBytesMax),
        all: z.boolean().default(false).describe('Replace every occurrence'),
      },
      annotations: { title: 'Edit a file', destructiveHint: true, idempotentHint: false, openWorldHint: false },
    },
    ({ path, oldText, newText, all }) =>
      answer(async () => {
        const bytes = await sandbox.readWhole(path)
        const parts = decodeText(bytes, { path, atEnd: true }).content.split(oldText)
        const count = parts.length - 1
        if (count === 0) throw new SandboxError(`${path} does not contain that text`)
        if (count > 1 && !all)
          throw new SandboxError(`${path} contains that text ${count} times; make it unique or pass all: true`)
        await sandbox.write(path, Buffer.from(parts.join(newText)), { overwrite: true })
        return { text: `replaced ${count} of ${count} in ${path}` }
      }),
  )
  server.registerTool(
    'move',
    {
      description: 'Moves or renames a file, folder or link. Makes missing folders.',
      inputSchema: { from: pathSchema, to: pathSchema, overwrite: z.boolean().default(false) },
      annotations: { title: 'Move', destructiveHint: true, idempotentHint: false, openWorldHint: false },
    },
    ({ from, to, overwrite }) =>
      answer(async () => {
        await sandbox.move(from, to, { overwrite })
        filesChanged()
        return { text: `moved ${from} to ${to}` }
      }),
  )
  server.registerTool(
    'delete',
    {
      description: 'Deletes a file, a link or an empty folder; with recursive, a folder and all in it.',
      inputSchema: { path: pathSchema, recursive: z.boolean().default(false) },
      annotations: { title: 'Delete', destructiveHint: true, idempotentHint: false, openWorldHint: false },
    },
    ({ path, recursive }) =>
      answer(async () => {
        await sandbox.delete(path, { recursive })
        filesChanged()
        return { text: `deleted ${path}` }
      }),
  )
}

function addResources(server: McpServer, sandbox: Sandbox): void {
  const template = new ResourceTemplate('sandbox:///{+path}', {
    list: async (extra) => {
      const { entries } = await sandbox.list('', { recursive: true, signal: extra.signal })
      return {
        resources: entries
          .filter((entry) => entry.kind === 'file')
          .map((entry) => ({
            uri: uriOf(entry.path),
            name: entry.path,
            mimeType: mimeOf(entry.path),
            size: entry.bytes,
          })),
      }
    },
  })
  server.registerResource(
    'file',
    template,
    { title: 'A file of the sandbox', description: 'Text files as text, others as base64.' },
    async (uri) => {
      const path = pathOf(uri)
      const bytes = await sandbox.readWhole(path).catch((cause: unknown) => {
        throw cause instanceof SandboxError ? new McpError(resourceNotFound, cause.message) : cause
      })
      const known = { uri: uri.href, mimeType: mimeOf(path) }
      const text = textOrNull(bytes)
      return { contents: [text === null ? { ...known, blob: bytes.toString('base64') } : { ...known, text }] }
    },
  )
}

function addPrompt(server: McpServer, sandbox: Sandbox): void {
  server.registerPrompt(
    'summarize-folder',
    {
      title: 'Summarize a folder',
      description: `The files of a folder, the beginning of up to ${promptFilesMax} of them, and the request to summarize.`,
      argsSchema: { path: z.string().optional().describe('Folder inside the sandbox; all of it when left out') },
    },
    async ({ path = '' }) => {
      const { entries, truncated } = await sandbox.list(path, { recursive: true })
      const request =
        `Summarize what the folder "${path === '' ? '/' : path}" is for: one sentence on the whole, then one line on ` +
        `each file that matters. Say what you could not tell.\n\n${listingText(entries, truncated)}`
      const messages: PromptMessage[] = [{ role: 'user', content: { type: 'text', text: request } }]
      for (const entry of entries.filter((entry) => entry.kind === 'file' && entry.bytes <= fileBytesMax)) {
        if (messages.length > promptFilesMax) break
        const text = await textOf(sandbox, entry.path)
        if (text === null) continue
        const resource = { uri: uriOf(entry.path), mimeType: mimeOf(entry.path), text: text.slice(0, promptCharsMax) }
        messages.push({ role: 'user', content: { type: 'resource', resource } })
      }
      return { messages }
    },
  )
}

/** What the client can put right becomes an error result with a sentence; the rest is a fault of the server. */
async function answer(work: () => Promise<{ text: string; structured?: object }>): Promise<CallToolResult> {
  try {
    const { text, structured } = await work()
    const content = [{ type: 'text' as const, text }]
    return structured === undefined ? { content } : { content, structuredContent: { ...structured } }
  } catch (cause) {
    if (cause instanceof SandboxError) return { content: [{ type: 'text', text: cause.message }], isError: true }
    const code = codeOf(cause)
    if (code === '') throw cause
    return { content: [{ type: 'text', text: `the file system refused it (${code})` }], isError: true }
  }
}

async function reportProgress(extra: Extra, step: { progress: number; total: number; message: string }): Promise<void> {
  const progressToken = extra._meta?.progressToken
  if (progressToken === undefined) return
  await extra.sendNotification({ method: 'notifications/progress', params: { progressToken, ...step } })
}

/** The file as text; null when it is binary, or has gone or grown since it was listed. */
async function textOf(sandbox: Sandbox, path: string): Promise<string | null> {
  try {
    return textOrNull(await sandbox.readWhole(path))
  } catch (cause) {
    if (cause instanceof SandboxError || codeOf(cause) !== '') return null
    throw cause
  }
}

function textOrNull(bytes: Buffer): string | null {
  if (bytes.includes(0)) return null
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return null
  }
}

/** A range may begin and end inside a character: what is cut is left to the range before and after. */
function decodeText(
  bytes: Buffer,
  where: { path: string; atEnd: boolean },
): { content: string; skipped: number; bytes: number } {
  let skipped = 0
  while (skipped < Math.min(3, bytes.length) && ((bytes[skipped] ?? 0) & 0xc0) === 0x80) skipped += 1
  const cuts = where.atEnd ? [0] : [0, 1, 2, 3]
  for (const cut of cuts) {
    const whole = bytes.subarray(skipped, Math.max(skipped, bytes.length - cut))
    const content = textOrNull(whole)
    if (content !== null) return { content, skipped, bytes: whole.length }
  }
  throw new SandboxError(`${where.path} is not UTF-8 text; read it with encoding: base64`)
}

function decodeBase64(content: string): Buffer {
  if (content.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(content))
    throw new SandboxError('the content is not base64')
  return Buffer.from(content, 'base64')
}

function listingText(entries: readonly Entry[], truncated: boolean): string {
  const lines = entries.map((entry) =>
    entry.kind === 'file'
      ? `${entry.path} (${entry.bytes} bytes)`
      : `${entry.path}${entry.kind === 'folder' ? '/' : ''}`,
  )
  if (lines.length === 0) return 'the folder is empty'
  return [...lines, ...(truncated ? [`only the first ${entriesMax} entries are shown`] : [])].join('\n')
}

function uriOf(path: string): string {
  return `sandbox:///${path.split('/').map(encodeURIComponent).join('/')}`
}

function pathOf(uri: URL): string {
  try {
    return decodeURIComponent(uri.pathname.replace(/^\//, ''))
  } catch {
    throw new McpError(resourceNotFound, `${uri.href} is not a well-formed URI`)
  }
}

const mimeTypes: Readonly<Record<string, string>> = {
  md: 'text/markdown',
  txt: 'text/plain',
  csv: 'text/csv',
  json: 'application/json',
  yaml: 'application/yaml',
  html: 'text/html',
  png: 'image/png',
  jpg: 'image/jpeg',
  pdf: 'application/pdf',
}

function mimeOf(path: string): string {
  return mimeTypes[path.split('.').at(-1)?.toLowerCase() ?? ''] ?? 'application/octet-stream'
}

const folder = process.argv[2]
if (folder === undefined) {
  console.error('usage: node files.js FOLDER')
  process.exit(2)
}
await serveStdio(createServer(await Sandbox.open(folder, exampleFiles)))
