import { spawn, type ChildProcess } from 'node:child_process'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { waitFor } from '../wait.ts'
import { runAgainst } from './fake-node.ts'
import { answerJson, startNode } from './scripted-node.ts'

const main = path.resolve(import.meta.dirname, '../../src/cli/main.ts')

type Running = { child: ChildProcess; out: { stdout: string; stderr: string; code: number | null } }

function start(args: readonly string[]): Running {
  const child = spawn(process.execPath, ['--import', 'tsx', main, 'stdio', ...args], { stdio: 'pipe' })
  const out: Running['out'] = { stdout: '', stderr: '', code: null }
  child.stdout.on('data', (part: Buffer) => (out.stdout += part.toString()))
  child.stderr.on('data', (part: Buffer) => (out.stderr += part.toString()))
  child.on('exit', (code) => (out.code = code))
  onTestFinished(() => void child.kill('SIGKILL'))
  return { child, out }
}

const initialize = '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}\n'
const ended = ({ out }: Running): Promise<unknown> => waitFor('the end', () => out.code !== null, 30_000)

describe('quorate stdio', () => {
  it('answers on stdout, talks one line on stderr, and ends its session with stdin', async () => {
    const node = await startNode()
    const running = start(['--url', `http://127.0.0.1:1,${node.url.origin}`, '--path', '/mcp/files'])
    running.child.stdin?.end(`${initialize}\n{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
    await ended(running)
    const lines = running.out.stdout.trimEnd().split('\n')
    expect(lines.map((line) => (JSON.parse(line) as { id: unknown }).id)).toEqual([0, 1])
    expect(running.out.code).toBe(0)
    expect(running.out.stderr).toContain(`MCP on stdin and stdout for http://127.0.0.1:1/mcp/files, ${node.url.origin}`)
    expect(node.asked.map(({ name }) => name)).toEqual(['initialize', 'tools/list', 'HTTP DELETE'])
    expect(node.asked.map(({ path: asked }) => asked)).toEqual(['/mcp/files', '/mcp/files', '/mcp/files'])
  })

  it('answers a line that is too long to be read, and goes on with the next', async () => {
    const node = await startNode()
    const running = start(['--url', node.url.origin])
    running.child.stdin?.write(initialize)
    running.child.stdin?.write(`"${'x'.repeat(17 * 1024 * 1024)}"\n`)
    running.child.stdin?.end('{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n')
    await ended(running)
    const answers = running.out.stdout.trimEnd().split('\n')
    expect(answers.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { id: 0 },
      { id: null, error: { code: -32_600, message: expect.stringContaining('16777216') } },
      { id: 1 },
    ])
  })

  it('ends its session at a signal, also while a request has no answer', async () => {
    const node = await startNode(({ name }) => name === 'tools/call')
    const running = start(['--url', node.url.href])
    running.child.stdin?.write(initialize)
    running.child.stdin?.write('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}\n')
    await waitFor('the call', () => node.asked.find(({ name }) => name === 'tools/call'), 30_000)
    running.child.kill('SIGTERM')
    await ended(running)
    expect([running.out.code, node.asked.at(-1)?.name]).toEqual([0, 'HTTP DELETE'])
  })

  it('ends its session when its client is gone without a word', async () => {
    const node = await startNode(({ name }) => name === 'tools/call')
    const running = start(['--url', node.url.href])
    running.child.stdin?.write(initialize)
    running.child.stdin?.write('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}\n')
    const call = await waitFor('the call', () => node.asked.find(({ name }) => name === 'tools/call'), 30_000)
    running.child.stdout?.destroy()
    answerJson(call.response, { id: 1, result: {} })
    await ended(running)
    expect([running.out.code, node.asked.at(-1)?.name]).toEqual([0, 'HTTP DELETE'])
  })

  it.each([
    [['--url', 'ftp://x'], 'is no http address'],
    [['--path', 'files'], '--path is /mcp or begins with /mcp/'],
    [['--json'], 'stdio takes no --json'],
  ])('%j is bad usage', async (args, message) => {
    const { code, stdout, stderr } = await runAgainst('http://127.0.0.1:1', ['stdio', ...args])
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
  })
})
