import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { answerOf, callTool, connectDemo, recordProgress, type Answer, type DemoServer } from './demo-client.ts'

let demo: DemoServer

beforeEach(async () => {
  demo = await connectDemo('sql')
})

afterEach(async () => {
  await demo.client.close()
})

const call = (name: string, args: Record<string, unknown> = {}): Promise<Answer> => callTool(demo.client, name, args)
const rowsOf = async (sql: string, params: unknown = []): Promise<unknown> =>
  (await call('query', { sql, params })).structured['rows']

/** Longer than any limit: a product of all orders with themselves, three times. */
const endless = 'SELECT count(*) FROM orders a, orders b, orders c'

describe('the sql server', () => {
  it('answers a query with columns and rows, and takes parameters by place and by name', async () => {
    const answer = await call('query', { sql: 'SELECT id, name FROM products WHERE id = ?', params: [1] })
    expect(answer.structured).toEqual({ columns: ['id', 'name'], rows: [[1, 'Desk lamp']], truncated: false })
    expect(await rowsOf('SELECT name FROM products WHERE id = :id', { ':id': 2 })).toEqual([['Floor lamp']])
    expect(await rowsOf("SELECT x'0aff', NULL")).toEqual([["x'0aff'", null]])
  })

  it('has the same example rows at every start', async () => {
    const sql = 'SELECT count(*), sum(quantity), round(sum(quantity * unit_price), 2) FROM order_lines'
    const other = await connectDemo('sql')
    const there = (await callTool(other.client, 'query', { sql })).structured['rows']
    await other.client.close()
    expect(await rowsOf(sql)).toEqual(there)
    expect(await rowsOf('SELECT count(*) FROM orders')).toEqual([[4000]])
  })

  it('answers at once to a statement of nothing but comments, however many', async () => {
    expect((await call('query', { sql: `${'/**/'.repeat(4000)}1` })).text).toContain('query takes a SELECT')
    expect(await rowsOf('/* a * b */ -- c\n/***/ SELECT 1')).toEqual([[1]])
  })

  it('notes that rows were left out', async () => {
    const answer = await call('query', { sql: 'SELECT id FROM orders ORDER BY id', limit: 3 })
    expect(answer.structured).toMatchObject({ truncated: true, rows: [[1], [2], [3]] })
    expect(answer.text).toContain('3 rows, more were left out')
  })

  it.each([
    'DELETE FROM orders',
    'WITH gone AS (SELECT 1) DELETE FROM order_lines',
    'SELECT 1; DELETE FROM order_lines',
    "/* SELECT */ UPDATE orders SET status = 'paid'",
    'PRAGMA query_only = OFF',
    "ATTACH DATABASE '/etc/passwd' AS x",
    'DROP TABLE order_lines',
  ])('refuses in query: %s', async (sql) => {
    expect((await call('query', { sql })).isError).toBe(true)
    expect(await rowsOf('SELECT (SELECT count(*) FROM orders), (SELECT count(*) > 0 FROM order_lines)')).toEqual([
      [4000, 1],
    ])
  })

  it.each([
    ['SELEC 1', 'SELECT or WITH'],
    ['SELECT FROM', 'syntax error'],
    ['SELECT nope FROM orders', 'no such column'],
    ['SELECT * FROM nope', 'no such table'],
    ['-- nothing', 'SELECT or WITH'],
  ])('answers bad SQL with what is wrong: %s', async (sql, reason) => {
    const answer = await call('query', { sql })
    expect(answer.isError).toBe(true)
    expect(answer.text).toContain(reason)
  })

  it('executes a change whole or not at all', async () => {
    const insert = "INSERT INTO products VALUES (50, 'Clock', 'accessories', 35), (51, 'Rug', 'accessories', 80)"
    expect((await call('execute', { sql: insert })).structured).toEqual({ changes: 2 })
    const half = "INSERT INTO products VALUES (52, 'Vase', 'accessories', 12), (53, 'Clock', 'accessories', 1)"
    expect((await call('execute', { sql: half })).text).toContain('UNIQUE')
    expect((await call('execute', { sql: 'DELETE FROM customers' })).text).toContain('FOREIGN KEY')
    expect(await rowsOf('SELECT id FROM products WHERE id >= 50')).toEqual([[50], [51]])
  })

  it.each(['PRAGMA foreign_keys = OFF', "ATTACH DATABASE 'x' AS x", 'VACUUM', 'COMMIT', 'SELECT 1'])(
    'refuses in execute: %s',
    async (sql) => {
      expect((await call('execute', { sql })).text).toContain('execute takes one of')
    },
  )

  it('does not let the database grow without end', async () => {
    const sql =
      'CREATE TABLE big AS WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) ' +
      'SELECT hex(randomblob(1000)) FROM r'
    expect((await call('execute', { sql })).text).toContain('full')
    expect(await rowsOf("SELECT count(*) FROM sqlite_schema WHERE name = 'big'")).toEqual([[0]])
  })

  it('refuses a row that is too large', async () => {
    expect((await call('query', { sql: 'SELECT zeroblob(3000000)' })).text).toContain('one row alone')
  })

  it('stops a statement that takes too long, and keeps what was committed before', async () => {
    await call('execute', { sql: "INSERT INTO products VALUES (60, 'Globe', 'accessories', 55)" })
    const slow = call('query', { sql: endless })
    // The server itself is not blocked meanwhile.
    await demo.client.ping()
    expect((await slow).text).toContain('was stopped after')
    expect(await rowsOf('SELECT name FROM products WHERE id = 60')).toEqual([['Globe']])
    expect((await call('execute', { sql: 'DELETE FROM products WHERE id = 60' })).structured).toEqual({ changes: 1 })
  })

  it('stops a statement that is cancelled', async () => {
    const abort = new AbortController()
    const slow = demo.client.callTool({ name: 'query', arguments: { sql: endless } }, undefined, {
      signal: abort.signal,
    })
    await Promise.all([expect(slow).rejects.toThrow('enough'), demo.client.ping().then(() => abort.abort('enough'))])
    const started = performance.now()
    expect(await rowsOf('SELECT 1')).toEqual([[1]])
    expect(performance.now() - started).toBeLessThan(4000)
  })

  it('reports the progress of a sales report month by month, then the result', async () => {
    const seen = recordProgress(demo)
    const params = { name: 'sales_report', arguments: { from: '2024-11', months: 4, delay_ms_per_step: 5 } }
    const { structured } = answerOf(await demo.client.callTool(params, undefined, { onprogress: () => {} }))
    expect(seen.map((step) => `${step.progress}/${step.total} ${step.message}`)).toEqual([
      '1/4 2024-11',
      '2/4 2024-12',
      '3/4 2025-01',
      '4/4 2025-02',
    ])
    const [expected] = (await rowsOf(
      'SELECT round(sum(quantity * unit_price), 2) FROM orders JOIN order_lines ON order_id = id ' +
        "WHERE ordered_on BETWEEN '2024-11-01' AND '2025-02-28' AND status IN ('paid', 'shipped')",
    )) as [[number]]
    expect(structured['revenue']).toBeCloseTo(expected[0], 1)
  })

  it('sends no more progress of a sales report that is cancelled', async () => {
    const abort = new AbortController()
    const seen = recordProgress(demo)
    const options = {
      signal: abort.signal,
      onprogress: ({ progress }: { progress: number }) => progress === 2 && abort.abort('enough'),
    }
    const params = { name: 'sales_report', arguments: { months: 24, delay_ms_per_step: 20 } }
    await expect(demo.client.callTool(params, undefined, options)).rejects.toThrow('enough')
    const afterCancel = seen.length
    // Another whole report of more time than the first had left: had it gone on, its progress would be here.
    await call('sales_report', { months: 24, delay_ms_per_step: 20 })
    expect(seen.length - afterCancel).toBeLessThanOrEqual(1)
  })

  it('explains a query and shows the schema', async () => {
    const { text } = await call('explain', { sql: "SELECT * FROM orders WHERE ordered_on = '2025-01-01'" })
    expect(text).toContain('orders_by_day')
    const { tables } = (await call('schema')).structured as { tables: { name: string; rows: number }[] }
    expect(tables.map((table) => table.name)).toEqual(['customers', 'order_lines', 'orders', 'products'])
    expect(tables[0]?.rows).toBe(400)
  })

  it('offers the schema and each table as resources', async () => {
    await call('execute', { sql: 'CREATE TABLE "odd name" (a)' })
    const { resources } = await demo.client.listResources()
    expect(resources.map((resource) => resource.uri)).toEqual([
      'sql://schema',
      'sql://tables/customers',
      'sql://tables/odd%20name',
      'sql://tables/order_lines',
      'sql://tables/orders',
      'sql://tables/products',
    ])
    for (const { uri } of resources) expect((await demo.client.readResource({ uri })).contents).toHaveLength(1)
    await expect(demo.client.readResource({ uri: 'sql://tables/nope' })).rejects.toMatchObject({ code: -32002 })
  })

  it('ends when its stdin ends, also in the middle of a statement', async () => {
    const script = new URL('../../dist/demo/sql.js', import.meta.url).pathname
    const child = spawn(process.execPath, [script], { stdio: ['pipe', 'pipe', 'inherit'] })
    const message = (id: number, method: string, params: unknown): string =>
      `${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`
    const client = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } }
    child.stdin.write(message(1, 'initialize', client))
    await once(child.stdout, 'data')
    child.stdin.write(message(2, 'tools/call', { name: 'query', arguments: { sql: endless } }))
    child.stdin.write(message(3, 'ping', {}))
    await once(child.stdout, 'data')
    child.stdin.end()
    expect((await once(child, 'exit'))[0]).toBe(0)
  })
})
