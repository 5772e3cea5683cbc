/**
 * Demo server: SQL over an embedded SQLite database with the data of an example shop, over stdio.
 * `query` reads only, `execute` changes in a transaction; `sales_report` is the long one, with progress and cancellation.
 * The data lives in memory and is the example again after a restart.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/sdk/server/mcp.js'
import { McpError, type CallToolResult } from '@modelcontextprotocol/sdk/types.js'
import { z } from 'zod'
import { SqlDatabase, SqlError } from './sql-database.ts'
import type { Rows } from './sql-worker.ts'
import { serveStdio } from './stdio.ts'

const rowsMax = 1000
const resultBytesMax = 512 * 1024
const statementMs = 5000
const sqlCharsMax = 20_000
/** MCP's code for a resource that is not there. */
const resourceNotFound = -32002

const valueSchema = z.union([z.string(), z.number(), z.null()])
const paramsSchema = z
  .union([z.array(valueSchema).max(100), z.record(z.string(), valueSchema)])
  .default([])
  .describe('Values for ? as an array, or for :name as an object with the keys ":name"')
const sqlSchema = z.string().min(1).max(sqlCharsMax)
const rowsSchema = {
  columns: z.array(z.string()),
  rows: z.array(z.array(valueSchema)),
  truncated: z.boolean(),
}
const reading = { readOnlyHint: true, openWorldHint: false }

type Slice = { month: string; orders: number; revenue: number; returned: number; topProduct: string }

function createServer(database: SqlDatabase): McpServer {
  const server = new McpServer(
    { name: 'quorate-demo-sql', version: '1.0.0', title: 'SQL over an example shop' },
    { instructions: 'SQLite. Call schema first. Dates are text, YYYY-MM-DD, from 2024-01-01 to 2025-12-31.' },
  )
  addQueryTools(server, database)
  addExecuteTool(server, database)
  addSalesReport(server, database)
  addResources(server, database)
  addPrompt(server, database)
  return server
}

function addQueryTools(server: McpServer, database: SqlDatabase): void {
  server.registerTool(
    'query',
    {
      description:
        `Runs one SELECT (or WITH ... SELECT). Read-only; at most ${rowsMax} rows and ${statementMs} ms. ` +
        `Blobs come as x'hex'.`,
      inputSchema: {
        sql: sqlSchema,
        params: paramsSchema,
        limit: z.number().int().min(1).max(rowsMax).default(100).describe('Most rows to return'),
      },
      outputSchema: rowsSchema,
      annotations: { title: 'Query', ...reading },
    },
    ({ sql, params, limit }, { signal }) =>
      answer(async () => {
        if (!startsWith(sql, ['SELECT', 'WITH', 'VALUES']))
          throw new SqlError('query takes a SELECT or WITH statement; execute is for changes')
        const request = { sql, params, rowsMax: limit, bytesMax: resultBytesMax }
        const result = await database.query(request, { signal, timeMs: statementMs })
        return { text: rowsText(result), structured: result }
      }),
  )
  server.registerTool(
    'explain',
    {
      description: 'Shows how SQLite would run a SELECT: which tables it scans, which indexes it uses.',
      inputSchema: { sql: sqlSchema, params: paramsSchema },
      outputSchema: { steps: z.array(z.string()) },
      annotations: { title: 'Explain a query', ...reading },
    },
    ({ sql, params }, { signal }) =>
      answer(async () => {
        if (!startsWith(sql, ['SELECT', 'WITH', 'VALUES']))
          throw new SqlError('explain takes a SELECT or WITH statement')
        const request = { sql: `EXPLAIN QUERY PLAN ${sql}`, params, rowsMax, bytesMax: resultBytesMax }
        const plan = await database.query(request, { signal, timeMs: statementMs })
        const steps = plan.rows.map((row) => String(row[3]))
        return { text: steps.join('\n'), structured: { steps } }
      }),
  )
  server.registerTool(
    'schema',
    {
      description: 'The CREATE statements and row counts of all tables.',
      outputSchema: { tables: z.array(z.object({ name: z.string(), rows: z.number(), sql: z.string() })) },
      annotations: { title: 'Schema', ...reading },
    },
    ({ signal }) =>
      answer(async () => {
        const tables = await readSchema(database, signal)
        return { text: schemaText(tables), structured: { tables } }
      }),
  )
}

function addExecuteTool(server: McpServer, database: SqlDatabase): void {
  server.registerTool(
    'execute',
    {
      description: `Runs one INSERT, UPDATE, DELETE or CREATE, DROP, ALTER in a transaction of its own; at most ${statementMs} ms.`,
      inputSchema: { sql: sqlSchema, params: paramsSchema },
      outputSchema: { changes: z.number().describe('Rows inserted, changed or deleted') },
      annotations: { title: 'Execute', destructiveHint: true, idempotentHint: false, openWorldHint: false },
    },
    ({ sql, params }, { signal }) =>
      answer(async () => {
        const allowed = ['INSERT', 'UPDATE', 'DELETE', 'REPLACE', 'CREATE', 'DROP', 'ALTER', 'WITH']
        if (!startsWith(sql, allowed)) throw new SqlError(`execute takes one of ${allowed.join(', ')}`)
        const changes = await database.execute({ sql, params }, { signal, timeMs: statementMs })
        if (startsWith(sql, ['CREATE', 'DROP', 'ALTER'])) server.sendResourceListChanged()
        return { text: `${changes} rows changed`, structured: { changes } }
      }),
  )
}

const sliceSql = `
WITH month_lines AS (
  SELECT o.id, o.status, l.quantity, l.quantity * l.unit_price AS amount, p.name AS product
  FROM orders o JOIN order_lines l ON l.order_id = o.id JOIN products p ON p.id = l.product_id
  WHERE o.ordered_on >= :month || '-01' AND o.ordered_on <= :month || '-31' AND o.status <> 'cancelled'
)
SELECT count(DISTINCT id),
  coalesce(round(sum(CASE WHEN status <> 'returned' THEN amount END), 2), 0),
  coalesce(round(sum(CASE WHEN status = 'returned' THEN amount END), 2), 0),
  coalesce((SELECT product FROM month_lines GROUP BY product ORDER BY sum(quantity) DESC, product LIMIT 1), '')
FROM month_lines`

function addSalesReport(server: McpServer, database: SqlDatabase): void {
  server.registerTool(
    'sales_report',
    {
      description:
        'Sales month by month, one query a month, with progress after each; can be cancelled between and within months. ' +
        'A delay per month makes a long call of it.',
      inputSchema: {
        from: z
          .string()
          .regex(/^\d{4}-(0[1-9]|1[0-2])$/)
          .default('2024-01')
          .describe('First month, YYYY-MM'),
        months: z.number().int().min(1).max(120).default(24),
        delay_ms_per_step: z.number().int().min(0).max(10_000).default(0).describe('Pause after each month, ms'),
      },
      outputSchema: {
        months: z.array(
          z.object({
            month: z.string(),
            orders: z.number(),
            revenue: z.number().describe('Without returned orders'),
            returned: z.number(),
            topProduct: z.string().describe('Most pieces sold'),
          }),
        ),
        revenue: z.number(),
      },
      annotations: { title: 'Sales report', ...reading },
    },
    ({ from, months: total, delay_ms_per_step: delayMs }, extra) =>
      answer(async () => {
        const months: Slice[] = []
        for (let month = from; months.length < total; month = monthAfter(month)) {
          const request = { sql: sliceSql, params: { ':month': month }, rowsMax: 1, bytesMax: resultBytesMax }
          const { rows } = await database.query(request, { signal: extra.signal, timeMs: statementMs })
          const [orders, revenue, returned, topProduct] = rows[0] ?? []
          months.push({
            month,
            orders: Number(orders),
            revenue: Number(revenue),
            returned: Number(returned),
            topProduct: String(topProduct),
          })
          const progressToken = extra._meta?.progressToken
          if (progressToken !== undefined) {
            const params = { progressToken, progress: months.length, total, message: month }
            await extra.sendNotification({ method: 'notifications/progress', params })
          }
          if (delayMs > 0) await wait(delayMs, undefined, { signal: extra.signal })
        }
        const revenue = Math.round(months.reduce((sum, slice) => sum + slice.revenue, 0) * 100) / 100
        return { text: reportText(months, revenue), structured: { months, revenue } }
      }),
  )
}

function addResources(server: McpServer, database: SqlDatabase): void {
  server.registerResource(
    'schema',
    'sql://schema',
    { title: 'Schema', description: 'All CREATE statements', mimeType: 'application/sql' },
    async (uri, { signal }) => ({
      contents: [{ uri: uri.href, mimeType: 'application/sql', text: schemaText(await readSchema(database, signal)) }],
    }),
  )
  const template = new ResourceTemplate('sql://tables/{table}', {
    list: async ({ signal }) => ({
      resources: (await readSchema(database, signal)).map(({ name, rows }) => ({
        uri: `sql://tables/${encodeURIComponent(name)}`,
        name,
        description: `The first ${Math.min(100, rows)} of ${rows} rows`,
        mimeType: 'application/json',
      })),
    }),
  })
  server.registerResource(
    'table',
    template,
    { title: 'A table', description: 'The first 100 rows, as JSON', mimeType: 'application/json' },
    async (uri, _variables, { signal }) => {
      const tables = await readSchema(database, signal)
      const table = tables.find(({ name }) => uri.href === `sql://tables/${encodeURIComponent(name)}`)
      if (table === undefined) throw new McpError(resourceNotFound, `there is no table ${uri.href}`)
      const request = { sql: `SELECT * FROM ${quoted(table.name)}`, params: [], rowsMax: 100, bytesMax: resultBytesMax }
      const result = await database.query(request, { signal, timeMs: statementMs })
      return { contents: [{ uri: uri.href, mimeType: 'application/json', text: JSON.stringify(result) }] }
    },
  )
}

function addPrompt(server: McpServer, database: SqlDatabase): void {
  server.registerPrompt(
    'analyze',
    {
      title: 'Analyze the shop',
      description: 'The schema and a question, with the request to answer it by queries.',
      argsSchema: { question: z.string().min(1).max(2000).describe('What you want to know') },
    },
    async ({ question }, { signal }) => {
      const text =
        `Answer this question about the shop's data: ${question}\n\n` +
        `Use the query tool (SQLite, read-only). Show the queries that the answer rests on, and say what the data cannot tell.\n\n` +
        schemaText(await readSchema(database, signal))
      return { messages: [{ role: 'user', content: { type: 'text', text } }] }
    },
  )
}

type Table = { name: string; rows: number; sql: string }

async function readSchema(database: SqlDatabase, signal: AbortSignal): Promise<Table[]> {
  const limits = { signal, timeMs: statementMs }
  const bounds = { params: [], rowsMax, bytesMax: resultBytesMax }
  const listed = await database.query(
    {
      sql: `SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`,
      ...bounds,
    },
    limits,
  )
  const tables: Table[] = []
  for (const [name, sql] of listed.rows) {
    const counted = await database.query({ sql: `SELECT count(*) FROM ${quoted(String(name))}`, ...bounds }, limits)
    tables.push({ name: String(name), rows: Number(counted.rows[0]?.[0] ?? 0), sql: String(sql) })
  }
  return tables
}

/** What the client can put right becomes an error result with a sentence; the rest is a fault of the server. */
async function answer(work: () => Promise<{ text: string; structured: object }>): Promise<CallToolResult> {
  try {
    const { text, structured } = await work()
    return { content: [{ type: 'text', text }], structuredContent: { ...structured } }
  } catch (cause) {
    if (cause instanceof SqlError) return { content: [{ type: 'text', text: cause.message }], isError: true }
    throw cause
  }
}

/**
 * Whether the first word of the statement, behind comments, is one of these. SQLite itself enforces the rest. A comment can
 * end in one place only, so that no text makes the search try many.
 */
function startsWith(sql: string, words: readonly string[]): boolean {
  const first = /^(?:\s|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)*([A-Za-z]+)/.exec(sql)?.[1]
  return first !== undefined && words.includes(first.toUpperCase())
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

function monthAfter(month: string): string {
  const [year = 0, index = 0] = month.split('-').map(Number)
  return index === 12
    ? `${String(year + 1).padStart(4, '0')}-01`
    : `${month.slice(0, 5)}${String(index + 1).padStart(2, '0')}`
}

function rowsText({ columns, rows, truncated }: Rows): string {
  const lines = [columns, ...rows.map((row) => row.map((value) => value ?? 'NULL'))].map((row) => row.join(' | '))
  return [...lines, `${rows.length} rows${truncated ? ', more were left out' : ''}`].join('\n')
}

function schemaText(tables: readonly Table[]): string {
  return tables.map(({ rows, sql }) => `-- ${rows} rows\n${sql};`).join('\n\n')
}

function reportText(months: readonly Slice[], revenue: number): string {
  const lines = months.map(
    (slice) =>
      `${slice.month}: ${slice.orders} orders, revenue ${slice.revenue.toFixed(2)}, ` +
      `returned ${slice.returned.toFixed(2)}, most sold: ${slice.topProduct === '' ? '-' : slice.topProduct}`,
  )
  return [...lines, `total revenue ${revenue.toFixed(2)}`].join('\n')
}

await serveStdio(createServer(new SqlDatabase()))
